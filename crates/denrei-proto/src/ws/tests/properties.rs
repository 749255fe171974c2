//! What holds for any stream, however it is cut into reads.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ws::{Opcode, deflated};

/// A message and how a client sends it.
#[derive(Clone, Debug)]
enum Sent {
    Text { text: String, compressed: bool, cuts: Vec<u16>, control: Option<Vec<u8>> },
    Binary { data: Vec<u8>, compressed: bool, cuts: Vec<u16>, control: Option<Vec<u8>> },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn sent() -> impl Strategy<Value = Sent> {
    let control = || vec(any::<u8>(), 0..=125);
    let how = || (any::<bool>(), vec(any::<u16>(), 0..4), proptest::option::of(control()));
    let text = prop_oneof!["\\PC{0,300}", "[a-c]{0,400}", "[é😀𠜎\u{0}]{0,100}"];
    let data = prop_oneof![8 => vec(any::<u8>(), 0..400), 4 => vec(0..3u8, 0..3000), 1 => vec(0..3u8, 65_000..70_000)];
    prop_oneof![
        3 => (text, how()).prop_map(|(text, (compressed, cuts, control))| Sent::Text { text, compressed, cuts, control }),
        3 => (data, how())
            .prop_map(|(data, (compressed, cuts, control))| Sent::Binary { data, compressed, cuts, control }),
        1 => control().prop_map(Sent::Ping),
        1 => control().prop_map(Sent::Pong),
    ]
}

/// The client's compressor, which keeps its context or does not.
enum Compressor {
    Fresh,
    Keeping(KeepingContext),
}

impl Compressor {
    /// The payload, and the bit that says whether it is compressed.
    fn compress(&mut self, data: &[u8]) -> (u8, Vec<u8>) {
        let frame = match self {
            Compressor::Fresh => deflated(Opcode::Binary, data, 3, 15),
            Compressor::Keeping(_) if data.is_empty() => None,
            Compressor::Keeping(compressor) => return (RSV1, compressor.payload(data)),
        };
        match frame {
            Some(frame) => {
                let header = [2, 4, 10][usize::from(frame[1]).saturating_sub(125)];
                (frame[0] & RSV1, frame[header..].to_vec())
            }
            None => (0, data.to_vec()),
        }
    }
}

/// Writes what is sent as a stream, and the events that must come of it.
fn encode(messages: &[Sent], compressor: &mut Compressor) -> (Vec<u8>, Vec<Got>) {
    let (mut stream, mut expected) = (Vec::new(), Vec::new());
    for message in messages {
        let (first, data, compressed, cuts, control, got) = match message.clone() {
            Sent::Ping(payload) => {
                stream.extend(from_client(PING, &payload));
                expected.push(Got::Ping(payload));
                continue;
            }
            Sent::Pong(payload) => {
                stream.extend(from_client(PONG, &payload));
                expected.push(Got::Pong(payload));
                continue;
            }
            Sent::Text { text, compressed, cuts, control } => {
                (TEXT_FIRST, text.clone().into_bytes(), compressed, cuts, control, Got::Text(text))
            }
            Sent::Binary { data, compressed, cuts, control } => {
                (BINARY_FIRST, data.clone(), compressed, cuts, control, Got::Binary(data))
            }
        };
        let (rsv1, payload) = if compressed { compressor.compress(&data) } else { (0, data) };
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| usize::from(cut) % (payload.len() + 1)).collect();
        cuts.extend([0, payload.len()]);
        cuts.sort_unstable();
        let pieces = cuts.len() - 1;
        for (n, piece) in cuts.windows(2).enumerate() {
            let opcode = if n == 0 { first | rsv1 } else { 0 };
            let fin = if n + 1 == pieces { 0x80 } else { 0 };
            stream.extend(from_client(opcode | fin, &payload[piece[0]..piece[1]]));
            if let Some(control) = &control
                && n + 1 < pieces
            {
                stream.extend(from_client(PING, control));
                expected.push(Got::Ping(control.clone()));
            }
        }
        expected.push(got);
    }
    (stream, expected)
}

/// Cuts a stream into reads of the given sizes, again and again.
fn reads<'s>(stream: &'s [u8], sizes: &[usize]) -> Vec<&'s [u8]> {
    let (mut rest, mut reads) = (stream, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (read, behind) = rest.split_at((*size).min(rest.len()));
        reads.push(read);
        rest = behind;
    }
    reads
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_arrive_the_same_however_the_stream_is_cut(
        messages in vec(sent(), 0..8),
        sizes in vec(1..2000usize, 1..20),
        keep_context in any::<bool>(),
    ) {
        let negotiated = if keep_context { CONTEXT } else { NO_CONTEXT };
        let mut compressor =
            if keep_context { Compressor::Keeping(KeepingContext::new()) } else { Compressor::Fresh };
        let (stream, expected) = encode(&messages, &mut compressor);
        let decoder = || Decoder::new(Limits::default(), Some(negotiated));
        for reads in [vec![&stream[..]], reads(&stream, &sizes), stream.chunks(1).collect()] {
            let mut decoder = decoder();
            let (events, violation) = feed(&mut decoder, reads);
            prop_assert_eq!(violation, None);
            prop_assert!(events == expected);
            prop_assert!(!decoder.is_mid_message());
            prop_assert_eq!(decoder.reserved(), 0);
        }
    }

    #[test]
    fn any_bytes_are_judged_the_same_however_they_are_cut_and_hold_no_more_than_the_limit(
        frames in vec((any::<u8>(), any::<bool>(), vec(any::<u8>(), 0..300)), 0..8),
        garbage in vec(any::<u8>(), 0..300),
        sizes in vec(1..50usize, 1..10),
        deflate in proptest::option::of(prop_oneof![Just(NO_CONTEXT), Just(CONTEXT)]),
    ) {
        let limits = Limits { message: 500, frame: 400, fragments: 4 };
        // Some order among the garbage, or nothing would pass the second byte.
        let mut stream = Vec::new();
        for (first, odd, payload) in frames {
            let first = if odd { first } else { [TEXT, BINARY, TEXT_FIRST, LAST, MORE, PING, TEXT | RSV1][usize::from(first) % 7] };
            stream.extend(from_client(first, payload));
        }
        stream.extend(garbage);
        let whole = feed(&mut Decoder::new(limits, deflate), [&stream[..]]);
        for reads in [reads(&stream, &sizes), stream.chunks(1).collect()] {
            let mut decoder = Decoder::new(limits, deflate);
            let mut all = Vec::new();
            let mut end = None;
            for read in reads {
                let (events, violation) = feed(&mut decoder, [read]);
                prop_assert!(decoder.reserved() <= limits.message + 125 + 1);
                all.extend(events);
                end = end.or(violation);
            }
            prop_assert_eq!(&(all, end), &whole);
        }
    }

    #[test]
    fn wrong_text_is_told_when_the_standard_library_knows_it(
        text in vec(prop_oneof![Just(b'a'), Just(0xE2), Just(0x82), Just(0xAC), Just(0xF0), Just(0x9F), any::<u8>()], 0..12),
    ) {
        // The first prefix that can no longer become text.
        let certain = (1..=text.len()).find(|&len| {
            std::str::from_utf8(&text[..len]).is_err_and(|error| error.error_len().is_some())
        });
        let mut decoder = plain();
        let frame = from_client(TEXT_FIRST, &text);
        let mut told = None;
        for (at, byte) in frame.chunks(1).enumerate() {
            if let (_, Some(violation)) = feed(&mut decoder, [byte]) {
                prop_assert_eq!(violation, Violation::InvalidUtf8);
                told = Some(at + 1 - 6);
                break;
            }
        }
        prop_assert_eq!(told, certain);
    }

    #[test]
    fn masking_is_the_xor_of_the_rfc(data in vec(any::<u8>(), 0..100), key in any::<[u8; 4]>(), cut in 0..100usize) {
        let expected: Vec<u8> = data.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
        let mut masked = data;
        let cut = cut.min(masked.len());
        let (head, tail) = masked.split_at_mut(cut);
        crate::ws::mask::apply(head, key);
        crate::ws::mask::apply(tail, crate::ws::mask::advance(key, cut));
        prop_assert_eq!(masked, expected);
    }
}
