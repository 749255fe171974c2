//! Walks JSON that is known to be valid, for what serde cannot tell without building a tree: where objects begin and end.

use super::header::Malformed;

/// An array or object, told when it ends; those inside come first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Container<'a> {
    /// Where its first byte is.
    pub(super) start: usize,
    /// Behind its last byte.
    pub(super) end: usize,
    /// Elements, or pairs.
    pub(super) members: u32,
    /// What stands, as written, behind the keys that were looked for. Of a key that comes twice the last counts, as in
    /// JavaScript; `None` too where an array or object stands there.
    pub(super) values: [Option<&'a str>; 2],
}

/// Tells every array and object of `json` and what its `keys` are.
///
/// Time is linear. On text that is not JSON the result is of no use, but there is one.
pub(super) fn containers<'a>(json: &'a str, keys: [&str; 2], mut visit: impl FnMut(Container<'a>)) {
    let bytes = json.as_bytes();
    let mut open: Vec<Open<'a>> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' | b'[' => {
                if let Some(parent) = open.last_mut() {
                    parent.value(None);
                }
                open.push(Open { start, object: byte == b'{', ..Open::default() });
            }
            b'}' | b']' => {
                if let Some(Open { start, members, values, .. }) = open.pop() {
                    visit(Container { start, end: at, members, values });
                }
            }
            b':' => {
                if let Some(parent) = open.last_mut() {
                    parent.after_key = true;
                }
            }
            b',' | b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => {
                at = if byte == b'"' { string_end(bytes, at) } else { scalar_end(bytes, at) };
                // Strings and scalars begin and end with ASCII.
                let token = json.get(start..at).unwrap_or_default();
                if let Some(parent) = open.last_mut() {
                    if parent.object && !parent.after_key {
                        parent.key = keys.iter().position(|key| is_key(token, key));
                    } else {
                        parent.value(Some(token));
                    }
                }
            }
        }
    }
}

#[derive(Default)]
struct Open<'a> {
    start: usize,
    object: bool,
    after_key: bool,
    members: u32,
    /// Which of the keys that were looked for came last.
    key: Option<usize>,
    values: [Option<&'a str>; 2],
}

impl<'a> Open<'a> {
    fn value(&mut self, token: Option<&'a str>) {
        self.members = self.members.saturating_add(1);
        self.after_key = false;
        if let Some(key) = self.key.take() {
            self.values[key] = token;
        }
    }
}

fn is_key(token: &str, key: &str) -> bool {
    let inside = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    inside == key || (inside.contains('\\') && serde_json::from_str::<String>(token).is_ok_and(|text| text == key))
}

/// The place behind the quote that ends the string in which `at` is.
pub(super) fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The place behind a number, `true`, `false` or `null`.
pub(super) fn scalar_end(bytes: &[u8], at: usize) -> usize {
    let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\n' | b'\r');
    bytes[at..].iter().position(ends).map_or(bytes.len(), |len| at + len)
}

/// A place in the JSON where an attachment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placeholder {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) num: usize,
}

/// What stands in the JSON for an attachment: any object with a `_placeholder` that is true, as Node has it.
///
/// # Errors
///
/// A placeholder's `num` is not the number of one of `attachments` (CVE-2022-2421), or there are more than attachments.
/// Node lets a number come twice, so that is taken. But 28 bytes that bring a megabyte, thirty thousand times in one
/// message, fill the memory of whoever writes binary in place of its placeholder.
pub(super) fn placeholders(json: &str, attachments: usize) -> Result<Vec<Placeholder>, Malformed> {
    let mut found: Vec<Placeholder> = Vec::new();
    let mut result = Ok(());
    containers(json, PLACEHOLDER, |Container { start, end, values, .. }| {
        if let [Some("true"), num] = values {
            // What is inside a placeholder goes away with it.
            while found.last().is_some_and(|inner| inner.start > start) {
                found.pop();
            }
            match num.and_then(index).filter(|&num| num < attachments) {
                Some(num) => found.push(Placeholder { start, end, num }),
                None => result = Err(Malformed::Placeholder),
            }
        }
    });
    result?;
    if found.len() > attachments { Err(Malformed::Placeholder) } else { Ok(found) }
}

/// Refuses JSON in which more looks like a placeholder than what was written for as many attachments, also around or
/// inside of those: no receiver could tell them apart.
pub(super) fn check_lookalikes(json: &str, attachments: usize) -> Result<(), Malformed> {
    let mut count = 0;
    containers(json, PLACEHOLDER, |container| count += usize::from(container.values[0] == Some("true")));
    if count == attachments { Ok(()) } else { Err(Malformed::Placeholder) }
}

pub(super) const PLACEHOLDER: [&str; 2] = ["_placeholder", "num"];

/// The number that a token is, if it is one of digits only.
pub(super) fn index(token: &str) -> Option<usize> {
    token.bytes().all(|byte| byte.is_ascii_digit()).then(|| token.parse().ok())?
}

/// How many arrays and objects may be inside one another: what `serde_json` reads.
pub(super) const MAX_DEPTH: usize = 127;

/// Refuses JSON that is deeper than what can be decoded and written for other parsers.
pub(super) fn check_depth(json: &str) -> Result<(), Malformed> {
    // Almost always there are not even so many that begin, and in most texts there is no room for so many.
    let begin = |byte: &&u8| **byte | 0x20 == b'{';
    if json.len() <= 2 * MAX_DEPTH || json.as_bytes().iter().filter(begin).count() <= MAX_DEPTH {
        return Ok(());
    }
    let (bytes, mut at, mut depth) = (json.as_bytes(), 0, 0usize);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = string_end(bytes, at),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Malformed::TooDeep { limit: MAX_DEPTH });
        }
    }
    Ok(())
}
