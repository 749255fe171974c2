//! What a client sends by a WebSocket, whether it keeps to the protocol or not.

use denrei_proto::ws::{Decoder, Event, Limits, Negotiated, Violation, is_valid_close_code};

/// What was agreed on (`n` for deflate without context, `c` with it, else none), `t` for tight limits, a seed of the
/// cuts, and the stream. A mask of zeros leaves a frame readable.
pub fn run(data: &[u8]) {
    let Some((&[deflate, limits, seed], stream)) = data.split_first_chunk() else { return };
    let agreed = |client_no_context_takeover| Negotiated { client_no_context_takeover, server_max_window_bits: 15 };
    let deflate = match deflate {
        b'n' => Some(agreed(true)),
        b'c' => Some(agreed(false)),
        _ => None,
    };
    let limits = if limits == b't' { Limits { message: 40, frame: 30, fragments: 3 } } else { Limits::default() };
    let decoder = || Decoder::new(limits, deflate);

    let whole = feed(&mut decoder(), [stream], &limits);
    assert_eq!(feed(&mut decoder(), stream.chunks(1), &limits), whole, "reads of one byte tell another story");
    assert_eq!(feed(&mut decoder(), cut(stream, seed), &limits), whole, "cuts tell another story");
    if deflate.is_none() {
        like_a_naive_reader(&whole, stream, &limits);
    }
}

/// An event that owns what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Vec<u8>),
}

impl Got {
    fn of(event: Event<'_>, limits: &Limits) -> Self {
        match event {
            Event::Text(text) => {
                assert!(text.len() <= limits.message);
                Got::Text(text.into())
            }
            Event::Binary(data) => {
                assert!(data.len() <= limits.message);
                Got::Binary(data.into())
            }
            Event::Ping(data) => {
                assert!(data.len() <= 125);
                Got::Ping(data.into())
            }
            Event::Pong(data) => {
                assert!(data.len() <= 125);
                Got::Pong(data.into())
            }
            Event::Close(None) => Got::Close(Vec::new()),
            Event::Close(Some(close)) => {
                assert!(is_valid_close_code(close.code) && close.reason.len() <= 123);
                Got::Close([&close.code.to_be_bytes(), close.reason.as_bytes()].concat())
            }
        }
    }
}

/// The events before the end or a violation, the violation, and whether the peer owes the rest of something.
type Story = (Vec<Got>, Option<Violation>, bool);

fn feed<'s>(decoder: &mut Decoder, reads: impl IntoIterator<Item = &'s [u8]>, limits: &Limits) -> Story {
    let (mut events, mut violation) = (Vec::new(), None);
    for read in reads {
        let mut read = read.to_vec();
        let mut rest = &mut read[..];
        loop {
            let over = violation.is_some() || matches!(events.last(), Some(Got::Close(_)));
            match decoder.decode(rest) {
                Ok((used, Some(event))) => {
                    assert!(!over, "{event:?} after the end");
                    events.push(Got::of(event, limits));
                    rest = &mut rest[used..];
                }
                Ok((used, None)) => {
                    assert_eq!(used, rest.len(), "no event means that everything was consumed");
                    break;
                }
                Err(error) => {
                    assert!(!over, "{error} after the end");
                    assert!(is_valid_close_code(error.close_code()) && error.to_string().len() <= 123);
                    violation = Some(error);
                    break;
                }
            }
        }
    }
    let owes = decoder.is_mid_message();
    assert!(!owes || violation.is_none(), "a peer that broke the protocol owes nothing");
    (events, violation, owes)
}

/// Reads of 1 to 16 bytes.
fn cut(stream: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut state) = (stream, u32::from(seed) + 1);
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (read, behind) = rest.split_at((1 + (state >> 28) as usize).min(rest.len()));
        rest = behind;
        (!read.is_empty()).then_some(read)
    })
}

/// Compares with a reader that has all of the stream and keeps everything. It may know less: text that is wrong before it
/// is complete, and headers before they are there, the decoder tells at once.
fn like_a_naive_reader((events, violation, owes): &Story, stream: &[u8], limits: &Limits) {
    let (expected, end) = naive(stream, limits);
    if *violation == Some(Violation::InvalidUtf8) {
        assert!(expected.starts_with(events), "{events:?} and {expected:?}");
        assert!(expected.len() > events.len() || end != End::Clean, "{violation:?} of a stream that is in order");
        return;
    }
    assert_eq!(*events, expected, "{violation:?} and {end:?}");
    match violation {
        Some(_) => assert_ne!(end, End::Clean, "{violation:?} of a stream that is in order"),
        None => assert_eq!((end != End::Wrong, end == End::Partial), (true, *owes), "{end:?}"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// At the end of a message, or after a close.
    Clean,
    /// Something is missing.
    Partial,
    Wrong,
}

fn naive(mut rest: &[u8], limits: &Limits) -> (Vec<Got>, End) {
    let mut events = Vec::new();
    let mut open: Option<(bool, Vec<u8>, u32)> = None;
    loop {
        let Some((&[first, second], behind)) = rest.split_first_chunk() else {
            let end = if rest.is_empty() && open.is_none() { End::Clean } else { End::Partial };
            return (events, end);
        };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
        let control = opcode >= 8;
        if first & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) || second & 0x80 == 0 || (control && !fin) {
            return (events, End::Wrong);
        }
        let (wide, size) = match second & 0x7F {
            126 => (2, None),
            127 => (8, None),
            len => (0, Some(u64::from(len))),
        };
        let Some((digits, behind)) = behind.split_at_checked(wide) else { return (events, End::Partial) };
        let len = size.unwrap_or_else(|| digits.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)));
        let shortest = match wide {
            0 => true,
            2 => len > 125,
            _ => len > 0xFFFF && len >> 63 == 0,
        };
        let Some((mask, behind)) = behind.split_first_chunk::<4>() else { return (events, End::Partial) };
        let fragments = open.as_ref().map_or(0, |(_, _, fragments)| *fragments);
        let so_far = open.as_ref().map_or(0, |(_, message, _)| message.len());
        let fits = if control {
            len <= 125
        } else {
            len <= limits.frame as u64 && so_far as u64 + len <= limits.message as u64 && fragments < limits.fragments
        };
        let in_turn = control || open.is_some() == (opcode == 0);
        if !shortest || !fits || !in_turn {
            return (events, End::Wrong);
        }
        let Some((payload, behind)) = behind.split_at_checked(len as usize) else { return (events, End::Partial) };
        rest = behind;
        let payload: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        match opcode {
            8 => {
                let end = match payload.split_first_chunk() {
                    None => payload.is_empty(),
                    Some((code, reason)) => {
                        is_valid_close_code(u16::from_be_bytes(*code)) && std::str::from_utf8(reason).is_ok()
                    }
                };
                if !end {
                    return (events, End::Wrong);
                }
                events.push(Got::Close(payload));
                return (events, End::Clean);
            }
            9 => events.push(Got::Ping(payload)),
            10 => events.push(Got::Pong(payload)),
            _ => {
                let (text, mut message, fragments) = open.take().unwrap_or((opcode == 1, Vec::new(), 0));
                message.extend(payload);
                if !fin {
                    open = Some((text, message, fragments + 1));
                } else if !text {
                    events.push(Got::Binary(message));
                } else if std::str::from_utf8(&message).is_ok() {
                    events.push(Got::Text(message));
                } else {
                    return (events, End::Wrong);
                }
            }
        }
    }
}
