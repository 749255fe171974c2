//! Masking, RFC 6455 §5.3: the same operation in both directions.

/// Flips `data` with the repeated `mask`, eight bytes at a time.
///
/// The loop over whole chunks has no dependency between rounds, so the compiler vectorises it.
#[inline]
pub(super) fn apply(data: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, tail) = data.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

/// The mask as it stands `by` bytes further on.
#[inline]
pub(super) fn advance(mut mask: [u8; 4], by: usize) -> [u8; 4] {
    mask.rotate_left(by % 4);
    mask
}
