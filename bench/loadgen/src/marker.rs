//! The marker by which a message is known again, however the server wraps it: `~S` and eight digits.

use memchr::memchr;

use crate::options::Payload;

/// Bytes of a marker.
pub(crate) const LENGTH: usize = 10;

/// The number in the marker that begins at `at`.
#[inline]
pub(crate) fn number_at(bytes: &[u8], at: usize) -> Option<u64> {
    let digits = bytes.get(at..at + LENGTH)?.strip_prefix(b"~S")?;
    digits.iter().try_fold(0, |number, b| b.is_ascii_digit().then(|| number * 10 + u64::from(b - b'0')))
}

/// The first marker: where it begins, and its number.
pub(crate) fn find(bytes: &[u8]) -> Option<(usize, u64)> {
    let mut at = 0;
    loop {
        at += memchr(b'~', bytes.get(at..)?)?;
        if let Some(number) = number_at(bytes, at) {
            return Some((at, number));
        }
        at += 1;
    }
}

/// Calls `seen` with the number of each marker; returns where an unfinished one begins, else the length.
pub(crate) fn scan(bytes: &[u8], mut seen: impl FnMut(u64)) -> usize {
    let mut at = 0;
    while let Some(found) = memchr(b'~', &bytes[at..]) {
        at += found;
        if at + LENGTH > bytes.len() {
            return at;
        }
        match number_at(bytes, at) {
            Some(number) => {
                seen(number);
                at += LENGTH;
            }
            None => at += 1,
        }
    }
    bytes.len()
}

/// What `{payload}` stands for: `size` bytes on the wire, with the marker in front (text) or inside (JSON).
pub(crate) fn payload(kind: Payload, size: usize) -> String {
    match kind {
        Payload::Text => {
            let letters = (b'a'..=b'z').cycle().take(size.saturating_sub(LENGTH));
            "~S{seq}".chars().chain(letters.map(char::from)).collect()
        }
        Payload::Json => json_payload(size),
    }
}

/// An object like those that applications send: repeated keys, words and random numbers. It deflates to a third.
fn json_payload(size: usize) -> String {
    const WORDS: [&str; 10] = ["status", "alpha", "order", "user", "delta", "ready", "north", "queue", "paid", "blue"];
    const END: &str = "],\"pad\":\"";
    let mut state = 12345u32;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let mut text = String::from("{\"m\":\"~S{seq}\",\"items\":[");
    let mut separator = "";
    while text.len() + 90 < size || separator.is_empty() {
        let id = random(100_000);
        let (first, second) = (WORDS[random(10) as usize], WORDS[random(10) as usize]);
        let (whole, cents, tag) = (random(1000), random(100), random(1 << 24));
        text += &format!(
            "{separator}{{\"id\":{id},\"name\":\"{first} {second}\",\"price\":{whole}.{cents:02},\"tag\":\"{tag:08x}\"}}"
        );
        separator = ",";
    }
    // `{seq}` has five characters here and eight on the wire.
    let length = text.len() + 3 + END.len() + 2;
    text += END;
    text += &"p".repeat(size.saturating_sub(length));
    text += "\"}";
    text
}

#[cfg(test)]
mod tests;
