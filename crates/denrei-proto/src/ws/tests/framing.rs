//! Autobahn groups 1 to 5, 9 and 10: lengths, pings, reserved bits and opcodes, fragments, large messages.

use super::*;

#[test]
fn messages_of_every_length_class_arrive_whole() {
    for len in [0, 1, 125, 126, 127, 128, 65535, 65536] {
        let data = vec![b'*'; len];
        accepted(&[from_client(TEXT, &data)], &[Got::Text("*".repeat(len))]);
        accepted(&[from_client(BINARY, &data)], &[Got::Binary(data)]);
    }
}

#[test]
fn a_message_chopped_into_reads_of_997_bytes_arrives_whole() {
    let data = vec![0xFE; 65536];
    let outcome = feed(&mut plain(), from_client(BINARY, &data).chunks(997));
    assert_eq!(outcome, (vec![Got::Binary(data)], None));
}

#[test]
fn pings_and_pongs_of_up_to_125_bytes_arrive() {
    for payload in [&b""[..], b"Hello, world!", &[0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF], &[0xFE; 125]] {
        accepted(&[from_client(PING, payload)], &[Got::Ping(payload.into())]);
        accepted(&[from_client(PONG, payload)], &[Got::Pong(payload.into())]);
    }
    let pings: Vec<_> = (0..10u8).map(|n| from_client(PING, [n])).collect();
    accepted(&pings, &(0..10u8).map(|n| Got::Ping(vec![n])).collect::<Vec<_>>());
}

#[test]
fn control_frames_of_more_than_125_bytes_are_refused_before_they_arrive() {
    for first in [PING, PONG, CLOSE] {
        refused(&[vec![first, 0x80 | 126]], &[], Violation::ControlTooLong);
        refused(&[vec![first, 0x80 | 127]], &[], Violation::ControlTooLong);
        refused(&[from_client(first, [b'x'; 200])], &[], Violation::ControlTooLong);
    }
}

#[test]
fn reserved_bits_without_an_extension_are_refused() {
    for bits in 1..=7u8 {
        for first in [TEXT, BINARY, CLOSE, PING, PONG, TEXT_FIRST, MORE] {
            let frames = [from_client(TEXT, "before"), from_client(first | bits << 4, "x"), from_client(PING, "after")];
            refused(&frames, &[text("before")], Violation::ReservedBits(bits));
        }
    }
}

#[test]
fn with_deflate_only_the_first_frame_of_a_message_may_set_the_first_bit() {
    for first in [PING, PONG, CLOSE] {
        let outcome = run(deflating, &[from_client(first | RSV1, "")]);
        assert_eq!(outcome, (vec![], Some(Violation::ReservedBits(0b100))));
    }
    let outcome = run(deflating, &[from_client(TEXT_FIRST, "a"), from_client(LAST | RSV1, "b")]);
    assert_eq!(outcome, (vec![], Some(Violation::ReservedBits(0b100))));
    for bits in [0b001, 0b010, 0b011, 0b101, 0b110, 0b111u8] {
        let outcome = run(deflating, &[from_client(TEXT | bits << 4, "")]);
        assert_eq!(outcome, (vec![], Some(Violation::ReservedBits(bits))));
    }
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in (3..=7).chain(11..=15u8) {
        for fin in [0x00, 0x80] {
            let frames = [from_client(TEXT, "before"), from_client(fin | opcode, "x")];
            refused(&frames, &[text("before")], Violation::ReservedOpcode(opcode));
        }
    }
}

#[test]
fn fragmented_control_frames_are_refused() {
    for opcode in [0x08, 0x09, 0x0A] {
        let frames = [from_client(opcode, "fragment"), from_client(LAST, "rest")];
        refused(&frames, &[], Violation::FragmentedControl);
    }
}

#[test]
fn fragments_make_one_message() {
    accepted(&[from_client(TEXT_FIRST, "frag"), from_client(LAST, "ment")], &[text("fragment")]);
    let frames = [from_client(BINARY_FIRST, [1]), from_client(MORE, [2, 3]), from_client(LAST, [4])];
    accepted(&frames, &[Got::Binary(vec![1, 2, 3, 4])]);
    let frames = [from_client(TEXT_FIRST, ""), from_client(MORE, ""), from_client(LAST, "")];
    accepted(&frames, &[text("")]);
    let frames = [from_client(TEXT_FIRST, ""), from_client(MORE, "middle"), from_client(LAST, "")];
    accepted(&frames, &[text("middle")]);
}

#[test]
fn control_frames_between_fragments_come_first_and_leave_the_message_alone() {
    let frames = [
        from_client(TEXT_FIRST, "frag"),
        from_client(PING, "1"),
        from_client(MORE, "men"),
        from_client(PONG, [7; 125]),
        from_client(PING, ""),
        from_client(LAST, "t"),
    ];
    let pong = Got::Pong(vec![7; 125]);
    accepted(&frames, &[Got::Ping(b"1".into()), pong, Got::Ping(vec![]), text("fragment")]);
    let frames = [from_client(TEXT_FIRST, "never"), from_client(CLOSE, 1001u16.to_be_bytes())];
    accepted(&frames, &[Got::Close(Some((1001, String::new())))]);
}

#[test]
fn a_continuation_of_nothing_is_refused() {
    for first in [LAST, MORE] {
        let alone = [from_client(first, "non-continuation payload"), from_client(TEXT, "Hello")];
        refused(&alone, &[], Violation::UnexpectedContinuation);
        let after = [from_client(TEXT_FIRST, "a"), from_client(LAST, "b"), from_client(first, "c")];
        refused(&after, &[text("ab")], Violation::UnexpectedContinuation);
    }
}

#[test]
fn a_new_message_inside_a_fragmented_one_is_refused() {
    for first in [TEXT, TEXT_FIRST, BINARY, BINARY_FIRST] {
        let frames = [from_client(TEXT_FIRST, "fragment1"), from_client(first, "fragment2")];
        refused(&frames, &[], Violation::UnfinishedMessage);
    }
}

#[test]
fn large_messages_arrive_whole_and_in_fragments() {
    let limits = Limits { message: 16 << 20, frame: 16 << 20, fragments: 1 << 20 };
    for size in [64 << 10, 1 << 20, 16 << 20] {
        let data: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        for fragment in [size, size / 4, 1300.max(size / 1024)] {
            let mut stream = Vec::new();
            let last = data.chunks(fragment).count() - 1;
            for (n, piece) in data.chunks(fragment).enumerate() {
                let opcode = if n == 0 { BINARY_FIRST } else { MORE };
                let fin = if n == last { 0x80 } else { 0 };
                stream.extend(from_client(opcode | fin, piece));
            }
            for read in [stream.len(), 65536, 1500] {
                let (events, violation) = feed(&mut Decoder::new(limits, None), stream.chunks(read));
                assert_eq!(violation, None);
                assert!(events == [Got::Binary(data.clone())], "{size} bytes in fragments of {fragment}");
            }
        }
    }
}

#[test]
fn a_decoder_knows_whether_the_peer_owes_it_something() {
    let mut decoder = plain();
    assert!(!decoder.is_mid_message());
    feed(&mut decoder, [&[TEXT_FIRST][..]]);
    assert!(decoder.is_mid_message(), "part of a header");
    feed(&mut decoder, [&[0x82, 0, 0, 0, 0, b'a'][..]]);
    assert!(decoder.is_mid_message(), "part of a payload");
    feed(&mut decoder, [&b"b"[..]]);
    assert!(decoder.is_mid_message(), "part of a message");
    feed(&mut decoder, [&from_client(PING, "")[..]]);
    assert!(decoder.is_mid_message(), "a ping changes nothing");
    assert_eq!(feed(&mut decoder, [&from_client(LAST, "c")[..]]), (vec![text("abc")], None));
    assert!(!decoder.is_mid_message());
}

#[test]
fn a_decoder_is_small_and_owns_nothing_between_messages() {
    assert!(size_of::<Decoder>() <= 128, "{} bytes", size_of::<Decoder>());
    fn moves_between_threads(_: &impl Send) {}
    let mut decoder = deflating();
    moves_between_threads(&decoder);
    let stream = [
        from_client(TEXT, "whole"),
        from_client(TEXT_FIRST, "frag"),
        from_client(PING, "1234"),
        from_client(LAST, "ment"),
        from_client(TEXT | RSV1, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
    ]
    .concat();
    let (events, violation) = feed(&mut decoder, stream.chunks(3));
    assert_eq!((events.len(), violation), (4, None));
    assert_eq!(decoder.reserved(), 0);
}

#[test]
fn a_whole_message_is_handed_out_where_it_lies() {
    let mut decoder = plain();
    let mut read = [from_client(TEXT, "Hello"), from_client(PING, "there")].concat();
    let (start, len) = (read.as_ptr().addr(), read.len());
    let (used, event) = decoder.decode(&mut read).unwrap();
    let Some(Event::Text(text)) = event else { panic!("{event:?}") };
    assert_eq!((text, text.as_ptr().addr() - start, used), ("Hello", 6, 11));
    let (used, event) = decoder.decode(&mut read[11..]).unwrap();
    let Some(Event::Ping(payload)) = event else { panic!("{event:?}") };
    assert_eq!((payload, payload.as_ptr().addr() - start, used), (&b"there"[..], 17, len - 11));
    assert_eq!(decoder.reserved(), 0);
}
