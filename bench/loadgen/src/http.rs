//! As much of HTTP/1.1 as a client of a few known servers needs.

use std::borrow::Cow;

use memchr::memmem;

/// A response.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) head: Cow<'a, str>,
    pub(crate) body: Cow<'a, [u8]>,
}

impl<'a> Response<'a> {
    /// The response at the front of `bytes`, and its length; `None` until it is whole.
    pub(crate) fn split(bytes: &'a [u8]) -> Option<(Response<'a>, usize)> {
        let (head, start) = split_head(bytes)?;
        if header(&head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            let (body, end) = dechunk(bytes, start)?;
            return Some((Response { head, body: body.into() }, end));
        }
        let bodiless = matches!(status(&head), 204 | 304);
        let length = header(&head, "content-length").filter(|_| !bodiless).and_then(|value| value.parse().ok());
        let body = bytes.get(start..)?.get(..length.unwrap_or(0))?;
        Some((Response { head, body: body.into() }, start + body.len()))
    }
}

/// The head at the front of `bytes`, blank line included, and its length.
pub(crate) fn split_head(bytes: &[u8]) -> Option<(Cow<'_, str>, usize)> {
    let end = memmem::find(bytes, b"\r\n\r\n")? + 4;
    Some((String::from_utf8_lossy(&bytes[..end]), end))
}

pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

pub(crate) fn status_line(head: &str) -> &str {
    head.lines().next().unwrap_or_default()
}

pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn dechunk(bytes: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = start;
    loop {
        let line = &bytes[at..at + memmem::find(&bytes[at..], b"\r\n")?];
        let length = usize::from_str_radix(std::str::from_utf8(line).ok()?.trim(), 16).ok()?;
        at += line.len() + 2;
        body.extend_from_slice(bytes.get(at..)?.get(..length)?);
        at += length + 2;
        if at > bytes.len() {
            return None;
        }
        if length == 0 {
            return Some((body, at));
        }
    }
}

#[cfg(test)]
mod tests;
