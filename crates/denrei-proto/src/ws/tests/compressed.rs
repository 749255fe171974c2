//! Autobahn groups 12 and 13, and hostile permessage-deflate.

use flate2::{Compress, Compression, FlushCompress};

use super::*;
use crate::ws::{Opcode, deflated};

/// A compressed payload as a client makes it, without context.
fn compress(data: &[u8], window_bits: u8) -> Vec<u8> {
    let mut compress = Compress::new_with_window_bits(Compression::new(6), false, window_bits);
    let mut out = Vec::with_capacity(data.len() + data.len() / 8 + 64);
    compress.compress_vec(data, &mut out, FlushCompress::Sync).unwrap();
    assert_eq!(compress.total_in(), data.len() as u64);
    out.truncate(out.len() - 4);
    out
}

/// Cuts a compressed payload into frames.
fn fragments(first: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(size).max(1);
    (0..count)
        .map(|n| {
            let piece = &payload[n * size..payload.len().min((n + 1) * size)];
            let opcode = if n == 0 { (first & 0x0F) | RSV1 } else { 0 };
            from_client(opcode | if n + 1 == count { 0x80 } else { 0 }, piece)
        })
        .collect()
}

/// Compresses well, but not to nothing.
fn sample(len: usize) -> String {
    let line =
        |n: usize| format!(r#"{{"type":"message","room":"lobby","seq":{n},"payload":{{"x":{}}}}}"#, n * n % 7919);
    (0..).map(line).flat_map(String::into_bytes).take(len).map(char::from).collect()
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The payload of a server's frame.
fn payload_of(frame: &[u8]) -> &[u8] {
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    &frame[header..]
}

/// The frame of a server as its client would have sent it: masked.
fn masked_again(frame: &[u8]) -> Vec<u8> {
    from_client(frame[0], payload_of(frame))
}

#[test]
fn messages_of_many_sizes_windows_and_fragments_arrive() {
    for size in [0, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131_072] {
        for window_bits in 9..=15 {
            let sample = sample(size);
            let payload = compress(sample.as_bytes(), window_bits);
            for fragment in [payload.len().max(1), 256.max(payload.len() / 1000)] {
                let stream = fragments(TEXT, &payload, fragment).concat();
                let outcome = feed(&mut deflating(), stream.chunks(1500));
                assert!(outcome == (vec![text(&sample)], None), "{size} bytes, window {window_bits}");
            }
        }
    }
}

#[test]
fn a_thousand_messages_arrive_with_and_without_context() {
    for negotiated in [NO_CONTEXT, CONTEXT] {
        let mut decoder = Decoder::new(Limits::default(), Some(negotiated));
        let mut keeping = KeepingContext::new();
        for n in 0..1000 {
            let sample = sample(200 + n);
            let frame = if negotiated == CONTEXT {
                from_client(TEXT | RSV1, keeping.payload(sample.as_bytes()))
            } else {
                masked_again(&deflated(Opcode::Text, sample.as_bytes(), 3, 15).unwrap())
            };
            assert_eq!(feed(&mut decoder, frame.chunks(64)), (vec![text(&sample)], None));
        }
    }
}

#[test]
fn a_connection_with_deflate_may_send_plain_messages_too() {
    let frames = [
        from_client(TEXT, "plain"),
        from_client(TEXT | RSV1, compress(b"compressed", 15)),
        from_client(BINARY_FIRST, "plain "),
        from_client(LAST, "again"),
    ];
    let expected = vec![text("plain"), text("compressed"), Got::Binary(b"plain again".into())];
    assert_eq!(run(deflating, &frames), (expected, None));
}

#[test]
fn control_frames_between_compressed_fragments_leave_the_message_alone() {
    let payload = compress(sample(5000).as_bytes(), 15);
    let mut frames = fragments(TEXT, &payload, payload.len() / 2 + 1);
    frames.insert(1, from_client(PING, b"\xff\x00\x00"));
    assert_eq!(run(deflating, &frames), (vec![Got::Ping(vec![0xFF, 0, 0]), text(&sample(5000))], None));
}

#[test]
fn an_empty_message_may_be_an_empty_block_a_last_block_or_nothing() {
    for payload in [&[0x00][..], &[0x02, 0x00], &[0x03, 0x00], &[0x03, 0x00, 0x00], &[]] {
        let frames = [from_client(TEXT | RSV1, payload), from_client(BINARY | RSV1, compress(b"next", 15))];
        let expected = vec![text(""), Got::Binary(b"next".into())];
        assert_eq!(run(deflating, &frames), (expected, None), "{payload:x?}");
    }
}

#[test]
fn several_last_blocks_make_one_message() {
    let hello = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let payload = [&hello[..], &hello, &[0x00]].concat();
    assert_eq!(run(deflating, &[from_client(TEXT | RSV1, payload)]), (vec![text("HelloHello")], None));
}

#[test]
fn a_bomb_is_refused_at_the_limit_without_growing_beyond_it() {
    // CVE-2026-27571, CVE-2026-39804.
    let limit = 64 * 1024;
    let bomb = compress(&vec![0; 64 << 20], 15);
    assert!(bomb.len() < 72 * 1024);
    let whole = fragments(BINARY, &bomb, bomb.len()).concat();
    let pieces = fragments(BINARY, &bomb, bomb.len() / 1000).concat();
    for (stream, read) in [(&whole, whole.len()), (&whole, 100), (&pieces, pieces.len()), (&pieces, 7)] {
        let mut decoder = Decoder::new(Limits { message: limit, ..Limits::default() }, Some(NO_CONTEXT));
        let mut refused = false;
        for piece in stream.chunks(read) {
            let (events, violation) = feed(&mut decoder, [piece]);
            assert!(events.is_empty());
            assert!(decoder.reserved() <= limit + 1, "{} bytes reserved", decoder.reserved());
            if let Some(violation) = violation {
                assert_eq!(violation, Violation::MessageTooBig { len: limit as u64 + 1, limit });
                refused = true;
                break;
            }
        }
        assert!(refused);
    }
}

#[test]
fn the_limit_counts_what_comes_out() {
    let limit = 1000;
    let decoder = || Decoder::new(Limits { message: limit, ..Limits::default() }, Some(NO_CONTEXT));
    // Incompressible data grows a little on the wire, which must not cost it its last bytes.
    for data in [sample(limit).into_bytes(), noise(limit)] {
        let frame = from_client(BINARY | RSV1, compress(&data, 15));
        assert_eq!(run(decoder, &[frame]), (vec![Got::Binary(data)], None));
    }
    let violation = Violation::MessageTooBig { len: 1001, limit };
    for data in [sample(limit + 1).into_bytes(), noise(limit + 1)] {
        let frame = from_client(BINARY | RSV1, compress(&data, 15));
        assert_eq!(run(decoder, &[frame]), (vec![], Some(violation)));
    }
    // Blocks that inflate to nothing count as what they are on the wire.
    let nothing = [0x02, 0x00].repeat(600);
    let outcome = run(decoder, &[from_client(BINARY | RSV1, nothing)]);
    assert_eq!(outcome, (vec![], Some(Violation::MessageTooBig { len: 1200, limit })));
}

#[test]
fn garbage_is_refused_with_1007() {
    for payload in [
        &[0x07][..],                           // the reserved block type
        &[0xff; 20],                           // the same, longer
        &[0x00, 0x05, 0x00, 0x05, 0x00, 0x00], // a stored block whose length and complement disagree
        &[0x02, 0x06, 0x00, 0x00],             // a reference to before the beginning
        &[0x04, 0xfd, 0xff, 0xff, 0xff, 0xff], // impossible code lengths
    ] {
        let outcome = run(deflating, &[from_client(BINARY | RSV1, payload)]);
        assert_eq!(outcome, (vec![], Some(Violation::InvalidDeflate)), "{payload:x?}");
    }
    assert_eq!(Violation::InvalidDeflate.close_code(), 1007);
}

#[test]
fn a_message_cut_off_inside_a_block_is_refused() {
    let payload = compress(sample(2000).as_bytes(), 15);
    for len in 1..payload.len() - 1 {
        let mut decoder = deflating();
        let (events, violation) = feed(&mut decoder, [&from_client(BINARY | RSV1, &payload[..len])[..]]);
        assert_eq!((events, violation), (vec![], Some(Violation::InvalidDeflate)), "cut after {len} bytes");
    }
}

#[test]
fn wrong_text_inside_is_told_as_it_is_inflated() {
    let payload = compress(b"fine so far \xff and never read", 15);
    let outcome = run(deflating, &[from_client(TEXT | RSV1, &payload)]);
    assert_eq!(outcome, (vec![], Some(Violation::InvalidUtf8)));
    // A flush in the middle lets the first half out before the second is there.
    let mut compress = Compress::new(Compression::new(6), false);
    let mut half = Vec::with_capacity(100);
    compress.compress_vec(b"fine so far \xff", &mut half, FlushCompress::Sync).unwrap();
    let mut decoder = deflating();
    let outcome = feed(&mut decoder, [&from_client(TEXT_FIRST | RSV1, &half)[..]]);
    assert_eq!(outcome, (vec![], Some(Violation::InvalidUtf8)));
    let cut = self::compress(b"cut \xc3", 15);
    assert_eq!(run(deflating, &[from_client(TEXT | RSV1, cut)]), (vec![], Some(Violation::InvalidUtf8)));
}

#[test]
fn a_pooled_context_shows_nothing_of_the_connection_before() {
    let mut first = deflating();
    let secret = compress(b"the secret of another connection", 15);
    assert_eq!(feed(&mut first, [&from_client(TEXT | RSV1, secret)[..]]).1, None);
    // Copies 3 bytes from 4 bytes back, where the last message was.
    let mut second = deflating();
    let outcome = feed(&mut second, [&from_client(TEXT | RSV1, [0x02, 0x06, 0x00])[..]]);
    assert_eq!(outcome, (vec![], Some(Violation::InvalidDeflate)));
}

#[test]
fn a_violation_leaves_no_trace_for_the_next_user_of_the_pool() {
    for _ in 0..20 {
        let mut decoder = deflating();
        let half = compress(sample(1000).as_bytes(), 15);
        feed(&mut decoder, [&from_client(TEXT_FIRST | RSV1, &half[..half.len() / 2])[..]]);
        feed(&mut decoder, [&from_client(TEXT, "a violation")[..]]);
        let next = from_client(TEXT | RSV1, compress(b"Hello", 15));
        assert_eq!(feed(&mut deflating(), [&next[..]]), (vec![text("Hello")], None));
    }
}

#[test]
fn a_shared_frame_never_refers_back_beyond_its_window() {
    // Repeats at a distance of 300 to 20,000 bytes tempt the compressor.
    for period in [300, 1000, 5000, 20_000] {
        let data: Vec<u8> = noise(period).into_iter().cycle().take(60_000).collect();
        for window_bits in 9..=15u8 {
            let Some(frame) = deflated(Opcode::Binary, &data, 6, window_bits) else { continue };
            let (longest, window) = (distance::longest(payload_of(&frame)), 1 << window_bits);
            assert!(longest <= window, "{longest} bytes back in a window of {window}");
            // zlib leaves the last 262 bytes of a window unused.
            assert!(longest >= period || window < period + 262, "the repeats do not tempt it");
        }
    }
}

#[test]
fn a_small_message_is_within_any_window_whatever_it_was_made_with() {
    for len in [256, 257] {
        let data: Vec<u8> = noise(200).into_iter().cycle().take(len).collect();
        let frame = deflated(Opcode::Binary, &data, 6, 15).unwrap();
        assert_eq!(distance::longest(payload_of(&frame)), 200);
        assert_eq!(deflated(Opcode::Binary, &data, 6, 8), (len <= 256).then_some(frame));
    }
}

#[test]
fn what_would_not_be_smaller_is_not_compressed() {
    for data in [&b""[..], b"Hello", &noise(5000)] {
        assert_eq!(deflated(Opcode::Binary, data, 3, 15), None);
    }
    let json = sample(2000);
    let frame = deflated(Opcode::Text, json.as_bytes(), 3, 15).unwrap();
    assert!(frame.len() < 1000 && frame[0] == TEXT | RSV1);
    // A thread's context is as good as new each time.
    assert_eq!(deflated(Opcode::Text, json.as_bytes(), 3, 15).unwrap(), frame);
}

#[test]
fn what_is_only_stored_is_not_made() {
    // zlib-rs 0.6.8 panics on some of these, in `zng_tr_stored_block`; none would be smaller.
    for len in [0, 1, 5000, 16_000, 30_000, 70_000, 300_000] {
        for _ in 0..3 {
            assert_eq!(deflated(Opcode::Binary, &noise(len), 0, 15), None, "{len} bytes");
        }
    }
}

#[test]
fn messages_of_a_kept_context_that_outgrow_the_window_arrive() {
    let mut keeping = KeepingContext::new();
    let mut decoder = Decoder::new(Limits::default(), Some(CONTEXT));
    for data in [noise(100_000), vec![0; 100_000], sample(3000).into_bytes(), noise(3)] {
        let frame = from_client(BINARY | RSV1, keeping.payload(&data));
        assert!(feed(&mut decoder, [&frame[..]]) == (vec![Got::Binary(data)], None));
    }
}
