//! What a file is, by its first bytes: names and what clients say of them prove nothing.

/// So many bytes of a file are looked at.
pub(super) const LOOKED_AT: usize = 4096;

/// What anything is that is nothing else.
const UNKNOWN: &str = "application/octet-stream";

/// How kinds begin that have a signature: where it stands, and what it is.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (8, b"AVI ", "video/x-msvideo"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"MZ", "application/x-msdownload"),
];

/// What browsers make a page of, however it goes on.
const MARKUP: &[(&str, &str)] = &[
    ("<?xml", "text/xml"),
    ("<svg", "image/svg+xml"),
    ("<!doctype html", "text/html"),
    ("<!--", "text/html"),
    ("<html", "text/html"),
    ("<head", "text/html"),
    ("<body", "text/html"),
    ("<script", "text/html"),
    ("<iframe", "text/html"),
    ("<img", "text/html"),
];

/// The media type of a file that begins so.
pub(super) fn of(head: &[u8]) -> &'static str {
    let signed =
        SIGNATURES.iter().find(|(at, signature, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(signature)));
    match signed {
        // The first four bytes of these say that there is a container.
        Some((8, ..)) if !head.starts_with(b"RIFF") => UNKNOWN,
        Some((.., kind)) => kind,
        None => text(head),
    }
}

fn text(head: &[u8]) -> &'static str {
    let head = &head[..head.len().min(LOOKED_AT)];
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // What was cut in the middle of a character goes on behind what is looked at.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or(""),
        Err(_) => return UNKNOWN,
    };
    if valid.is_empty() || valid.chars().any(|sign| sign.is_control() && !matches!(sign, '\t' | '\n' | '\r' | '\x0c')) {
        return UNKNOWN;
    }
    let begins = valid.trim_start();
    let markup = MARKUP
        .iter()
        .find(|(tag, _)| begins.get(..tag.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(tag)));
    match markup {
        Some((_, "text/xml")) if valid.contains("<svg") => "image/svg+xml",
        Some((_, kind)) => kind,
        None => "text/plain",
    }
}

/// Whether a browser may show it where it is linked, instead of saving it: what draws or plays, and runs nothing.
pub(crate) fn is_inline(kind: &str) -> bool {
    is_picture(kind) || kind.starts_with("audio/") || kind.starts_with("video/")
}

/// Whether its size can be told, and a thumbnail made.
pub(crate) fn is_picture(kind: &str) -> bool {
    matches!(kind, "image/png" | "image/jpeg" | "image/gif" | "image/webp")
}

/// Whether a kind is one of a list, in which `image/*` is all images and `*/*` is anything.
pub(super) fn fits(patterns: &[String], kind: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some("*/") => true,
        Some(family) => kind.starts_with(family),
        None => pattern == kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_is_stands_in_its_first_bytes() {
        assert_eq!(of(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "image/png");
        assert_eq!(of(b"RIFF\x24\0\0\0WEBPVP8 "), "image/webp");
        assert_eq!(of(b"RIFF\x24\0\0\0WAVEfmt "), "audio/wav");
        assert_eq!(of(b"\0\0\0\x20ftypisom"), "video/mp4");
        assert_eq!(of(b"%PDF-1.7"), "application/pdf");
        assert_eq!(of("grüße".as_bytes()), "text/plain");
    }

    #[test]
    fn what_only_looks_like_a_container_is_none() {
        assert_eq!(of(b"xxxx\x24\0\0\0WEBPVP8 "), UNKNOWN);
    }

    #[test]
    fn a_page_is_a_page_whatever_it_is_called() {
        for page in ["<!DOCTYPE HTML><p>", " \n<html>", "\u{feff}<ScRiPt>alert(1)</script>", "<!-- x --><script>"] {
            assert_eq!(of(page.as_bytes()), "text/html", "{page}");
        }
        assert_eq!(of(b"<?xml version='1.0'?><svg onload='alert(1)'/>"), "image/svg+xml");
        assert_eq!(of(b"<svg/onload=alert(1)>"), "image/svg+xml");
    }

    #[test]
    fn nothing_that_runs_is_inline() {
        for kind in ["text/html", "image/svg+xml", "text/xml", "application/pdf", "text/plain", UNKNOWN] {
            assert!(!is_inline(kind), "{kind}");
        }
    }

    #[test]
    fn text_that_is_cut_within_a_character_is_text() {
        let mut head = vec![b'a'; LOOKED_AT - 1];
        head.extend("ü".as_bytes());
        assert_eq!(of(&head[..LOOKED_AT]), "text/plain");
        assert_eq!(of(b""), UNKNOWN);
        assert_eq!(of(b"a\0b"), UNKNOWN);
    }

    #[test]
    fn patterns_name_families_and_kinds() {
        let patterns = ["image/*".to_owned(), "application/pdf".to_owned()];
        assert!(fits(&patterns, "image/png") && fits(&patterns, "application/pdf"));
        assert!(!fits(&patterns, "text/html") && !fits(&patterns, "application/pdfx"));
        assert!(fits(&["*/*".to_owned()], UNKNOWN));
    }
}
