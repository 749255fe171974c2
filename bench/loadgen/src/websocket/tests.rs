use super::*;

#[test]
fn frames_of_all_three_lengths_are_split_only_when_whole() {
    for (head, length) in
        [(&[0x81, 5][..], 5), (&[0x81, 126, 1, 0], 256), (&[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65536)]
    {
        let mut bytes = head.to_vec();
        bytes.resize(head.len() + length, b'x');
        for cut in [0, 1, head.len() - 1, head.len(), bytes.len() - 1] {
            assert_eq!(Frame::split(&bytes[..cut]), None, "cut at {cut} of {}", bytes.len());
        }
        let whole = bytes.len();
        bytes.push(0x81);
        let (frame, used) = Frame::split(&bytes).expect("a whole frame");
        assert_eq!((frame.opcode(), frame.payload.len(), used), (TEXT, length, whole));
    }
}

#[test]
fn a_length_beyond_memory_waits_instead_of_overflowing() {
    assert_eq!(Frame::split(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255, 0]), None);
}

// RFC 6455 §5.7, with its mask.
#[test]
fn the_masked_hello_of_the_rfc() {
    let mut out = Vec::new();
    encode(&mut out, TEXT, b"Hello");
    assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
}
