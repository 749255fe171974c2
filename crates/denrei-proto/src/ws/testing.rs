//! The client's side of framing, for tests and benches only.

use super::mask;

/// A client's frame: `first` is the byte with FIN, reserved bits and opcode.
pub fn masked(first: u8, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&key);
    let start = frame.len();
    frame.extend_from_slice(payload);
    mask::apply(&mut frame[start..], key);
    frame
}

/// Flips `data` with the repeated `key`, for the bench.
pub fn mask(data: &mut [u8], key: [u8; 4]) {
    mask::apply(data, key);
}
