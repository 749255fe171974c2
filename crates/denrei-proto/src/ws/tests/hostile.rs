//! What attackers send: lengths that lie, limits, floods of fragments.

use super::*;

fn limited(message: usize) -> Decoder {
    Decoder::new(Limits { message, ..Limits::default() }, None)
}

fn header(first: u8, second: u8, length: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | second], length, &KEY].concat()
}

#[test]
fn a_length_that_is_not_in_its_shortest_form_is_refused() {
    for len in [0, 1, 125u16] {
        let frame = header(TEXT, 126, &len.to_be_bytes());
        refused(&[frame], &[], Violation::NonMinimalLength(len.into()));
    }
    for len in [0, 125, 126, 65535u64] {
        let frame = header(TEXT, 127, &len.to_be_bytes());
        refused(&[frame], &[], Violation::NonMinimalLength(len));
    }
}

#[test]
fn a_declared_length_reserves_no_memory() {
    // CVE-2026-27889, RUSTSEC-2022-0035.
    for (len, violation) in [
        (1 << 63, Violation::LengthTopBit),
        (u64::MAX, Violation::LengthTopBit),
        (1 << 62, Violation::FrameTooBig { len: 1 << 62, limit: 1 << 20 }),
        (4 << 30, Violation::FrameTooBig { len: 4 << 30, limit: 1 << 20 }),
    ] {
        refused(&[header(BINARY, 127, &u64::to_be_bytes(len))], &[], violation);
    }

    let generous = Limits { message: usize::MAX, frame: usize::MAX, ..Limits::default() };
    let mut decoder = Decoder::new(generous, None);
    let mut read = header(BINARY, 127, &(4u64 << 30).to_be_bytes());
    read.extend([0; 8]);
    assert_eq!(feed(&mut decoder, [&read[..]]), (vec![], None));
    assert!(decoder.reserved() <= 16);
    // What has arrived may cost twice its size, not more.
    for _ in 0..100 {
        assert_eq!(feed(&mut decoder, [&[0; 1000][..]]), (vec![], None));
    }
    assert!(decoder.reserved() <= 2 * 100_008);
}

#[test]
fn a_message_of_exactly_the_limit_passes_and_one_more_byte_is_refused() {
    for len in [1000, 1001] {
        let data = vec![b'x'; len];
        let expected = if len <= 1000 {
            (vec![Got::Binary(data.clone())], None)
        } else {
            (vec![], Some(Violation::MessageTooBig { len: 1001, limit: 1000 }))
        };
        assert_eq!(run(|| limited(1000), &[from_client(BINARY, &data)]), expected);
        let halves = [from_client(BINARY_FIRST, &data[..500]), from_client(LAST, &data[500..])];
        assert_eq!(run(|| limited(1000), &halves), expected);
        let tail = [from_client(BINARY_FIRST, &data), from_client(LAST, "")];
        assert_eq!(run(|| limited(1000), &tail), expected);
    }
    assert_eq!(Violation::MessageTooBig { len: 1, limit: 1 }.close_code(), 1009);
}

#[test]
fn a_message_beyond_the_limit_is_refused_at_its_header() {
    // 101 fragments of 1000 bytes against 2048: fastwebsockets 0.10 delivers 100,001 bytes.
    let mut decoder = limited(2048);
    let two = [from_client(BINARY_FIRST, [0; 1000]), from_client(MORE, [0; 1000])].concat();
    assert_eq!(feed(&mut decoder, [&two[..]]), (vec![], None));
    let third = header(MORE, 126, &1000u16.to_be_bytes());
    let outcome = feed(&mut decoder, [&third[..]]);
    assert_eq!(outcome, (vec![], Some(Violation::MessageTooBig { len: 3000, limit: 2048 })));
}

#[test]
fn a_frame_beyond_the_limit_is_refused_at_its_header() {
    let decoder = || Decoder::new(Limits { frame: 100, ..Limits::default() }, None);
    assert_eq!(run(decoder, &[from_client(BINARY, [0; 100])]), (vec![Got::Binary(vec![0; 100])], None));
    let violation = Violation::FrameTooBig { len: 101, limit: 100 };
    assert_eq!(run(decoder, &[header(BINARY, 101, &[])]), (vec![], Some(violation)));
    assert_eq!(violation.close_code(), 1009);
    // Control frames have a limit of their own.
    let decoder = || Decoder::new(Limits { frame: 1, ..Limits::default() }, None);
    assert_eq!(run(decoder, &[from_client(PING, "Hello")]), (vec![Got::Ping(b"Hello".into())], None));
}

#[test]
fn a_flood_of_fragments_is_refused_even_if_they_are_empty() {
    // CVE-2026-48779, whose first fix forgot the empty ones.
    for payload in ["", "x"] {
        let mut decoder = plain();
        let first = from_client(BINARY_FIRST, payload);
        assert_eq!(feed(&mut decoder, [&first[..]]), (vec![], None));
        let more = from_client(MORE, payload).repeat(1023);
        assert_eq!(feed(&mut decoder, [&more[..]]), (vec![], None));
        assert!(decoder.reserved() <= 2 * 1024);
        let violation = Violation::TooManyFragments { limit: 1024 };
        assert_eq!(feed(&mut decoder, [&from_client(LAST, "")[..]]), (vec![], Some(violation)));
        assert_eq!(violation.close_code(), 1008);
    }
}

#[test]
fn a_flood_of_pings_keeps_nothing() {
    let mut decoder = plain();
    let pings = from_client(PING, [0; 125]).repeat(1000);
    let (events, violation) = feed(&mut decoder, pings.chunks(100));
    assert_eq!((events.len(), violation, decoder.reserved()), (1000, None, 0));
}

#[test]
fn the_sentence_for_the_peer_fits_a_close_frame() {
    for violation in [
        Violation::ReservedBits(7),
        Violation::NonMinimalLength(u64::MAX),
        Violation::FrameTooBig { len: u64::MAX, limit: usize::MAX },
        Violation::MessageTooBig { len: u64::MAX, limit: usize::MAX },
        Violation::TooManyFragments { limit: u32::MAX },
    ] {
        assert!(violation.to_string().len() <= 123, "{violation}");
    }
    let violation = Violation::FrameTooBig { len: 70000, limit: 65536 };
    assert_eq!(violation.to_string(), "frame of 70000 bytes exceeds the limit of 65536");
}
