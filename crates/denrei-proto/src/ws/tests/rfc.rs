//! The examples of RFC 6455 §5.7 and RFC 7692 §7.2.3, byte for byte.

use super::*;
use crate::ws::{Coding, Opcode, frame, header, ping};

#[test]
fn a_single_frame_text_message() {
    // The unmasked form is what a server sends.
    assert_eq!(frame(Opcode::Text, b"Hello")[..], [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    accepted(&[vec![0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]], &[text("Hello")]);
}

#[test]
fn a_fragmented_unmasked_text_message_is_refused_from_a_client() {
    refused(&[vec![0x01, 0x03, 0x48, 0x65, 0x6c]], &[], Violation::Unmasked);
}

#[test]
fn a_ping_and_its_masked_pong() {
    assert_eq!(ping(b"Hello")[..], [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    let pong = vec![0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    accepted(&[pong], &[Got::Pong(b"Hello".into())]);
}

#[test]
fn headers_of_256_and_65536_bytes() {
    assert_eq!(header(Opcode::Binary, Coding::Plain, 256)[..], [0x82, 0x7E, 0x01, 0x00]);
    assert_eq!(header(Opcode::Binary, Coding::Plain, 65536)[..], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn one_compressed_message() {
    hello(&[(TEXT | RSV1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00])]);
}

#[test]
fn a_compressed_message_in_two_fragments() {
    hello(&[(TEXT_FIRST | RSV1, &[0xf2, 0x48, 0xcd]), (LAST, &[0xc9, 0xc9, 0x07, 0x00])]);
}

#[test]
fn a_second_message_that_refers_to_the_first() {
    let stream = [
        from_client(TEXT | RSV1, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        from_client(TEXT | RSV1, [0xf2, 0x00, 0x11, 0x00, 0x00]),
    ];
    let with_context = || Decoder::new(Limits::default(), Some(CONTEXT));
    assert_eq!(run(with_context, &stream), (vec![text("Hello"), text("Hello")], None));
    // Without takeover there is nothing to refer to.
    assert_eq!(run(deflating, &stream), (vec![text("Hello")], Some(Violation::InvalidDeflate)));
}

#[test]
fn a_block_without_compression() {
    hello(&[(TEXT | RSV1, &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00])]);
}

#[test]
fn a_block_marked_as_the_last() {
    hello(&[(TEXT | RSV1, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00])]);
}

#[test]
fn two_blocks_in_one_message() {
    let payload = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    hello(&[(TEXT | RSV1, &payload)]);
}

#[test]
fn an_empty_last_fragment() {
    // The first fragment ends with a flush of its own.
    let first = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff];
    hello(&[(TEXT_FIRST | RSV1, &first), (LAST, &[0x00])]);
}

fn hello(frames: &[(u8, &[u8])]) {
    let frames: Vec<_> = frames.iter().map(|&(first, payload)| from_client(first, payload)).collect();
    assert_eq!(run(deflating, &frames), (vec![text("Hello")], None));
}
