//! Frames from the server.

use std::io::Write;

use crate::ws::{self, FrameWriter, Opcode, frame, ping, pong};

#[test]
fn a_close_frame_is_exact_to_the_byte() {
    // CVE-2026-45736 and CVE-2016-10518 sent memory that nobody had written.
    assert_eq!(ws::close(1000, "")[..], [0x88, 0x02, 0x03, 0xE8]);
    assert_eq!(ws::close(1009, "bye")[..], [0x88, 0x05, 0x03, 0xF1, b'b', b'y', b'e']);
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    assert_eq!(ws::close(1000, &"x".repeat(124))[..], [&[0x88, 125, 0x03, 0xE8][..], &[b'x'; 123]].concat());
    // 123 is odd: the sixty-second "é" does not fit.
    assert_eq!(ws::close(1000, &"é".repeat(100))[..], [&[0x88, 124, 0x03, 0xE8], "é".repeat(61).as_bytes()].concat());
}

#[test]
fn codes_that_must_not_be_sent_are_not_sent() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 5000] {
        assert_eq!(ws::close(code, "reason")[..], [0x88, 0x00]);
    }
}

#[test]
fn control_frames_are_cut_to_what_they_may_carry() {
    assert_eq!(pong(b"Hello")[..], [0x8A, 5, b'H', b'e', b'l', b'l', b'o']);
    assert_eq!(pong(&[7; 200])[..], [&[0x8A, 125][..], &[7; 125]].concat());
    assert_eq!(ping(&[7; 126])[..2], [0x89, 125]);
}

#[test]
fn a_payload_written_in_place_makes_the_same_frame() {
    for len in [0, 1, 125, 126, 65535, 65536] {
        let payload = vec![b'x'; len];
        let mut writer = FrameWriter::with_capacity(8);
        writer.write_all(&payload[..len / 2]).unwrap();
        writer.buffer().extend_from_slice(&payload[len / 2..]);
        assert_eq!(writer.payload(), payload);
        assert_eq!(writer.finish(Opcode::Text), frame(Opcode::Text, &payload));
    }
}

#[test]
fn a_writer_whose_vector_was_cut_short_makes_an_empty_frame() {
    let mut writer = FrameWriter::with_capacity(8);
    writer.buffer().clear();
    assert_eq!(writer.payload(), b"");
    assert_eq!(writer.finish(Opcode::Text)[..], [0x81, 0x00]);
}
