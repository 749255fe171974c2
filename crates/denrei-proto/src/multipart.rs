//! `multipart/form-data` (RFC 7578) as it comes, for the one file in it. Of what does not belong to the file, at most
//! [`Form::MOST`] bytes are taken.

use bytes::{Bytes, BytesMut};

/// Reads a form piece by piece.
#[derive(Debug)]
pub struct Form {
    /// A line break, two dashes and the boundary: what ends a part.
    delimiter: Vec<u8>,
    held: BytesMut,
    place: Place,
    passed: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Before the first boundary, or in a part that is no file.
    Elsewhere,
    /// In the head of a part.
    Head,
    File,
    /// Behind the file.
    Over,
}

/// What a form says.
#[derive(PartialEq, Eq, Debug)]
pub enum Said {
    /// Here the file begins; this is its name, which may be empty.
    Begins(String),
    /// A piece of it.
    Piece(Bytes),
    /// The file is over.
    Ends,
    /// More has to come.
    More,
}

/// It is no form, or one that asks too much: a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

impl Form {
    /// Bytes of heads, and of parts that are no file.
    pub const MOST: usize = 64 * 1024;

    /// A form with the boundary of a content type; none if it has none that can be one (RFC 2046 §5.1.1).
    pub fn of(content_type: &str) -> Option<Self> {
        let (kind, parameters) = content_type.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameter(parameters, "boundary")?;
        if boundary.is_empty() || boundary.len() > 70 || !boundary.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
            return None;
        }
        // The first boundary may stand at the very beginning.
        let held = BytesMut::from(&b"\r\n"[..]);
        Some(Self { delimiter: format!("\r\n--{boundary}").into_bytes(), held, place: Place::Elsewhere, passed: 0 })
    }

    /// Takes what has come; [`Form::read`] says what it means.
    pub fn take(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
    }

    /// What has come, as far as it is known what it means. Behind [`Said::Ends`] and an error there is nothing more.
    ///
    /// # Errors
    /// It is no form, or there is too much beside its file.
    pub fn read(&mut self) -> Result<Said, Malformed> {
        loop {
            match self.place {
                Place::Elsewhere => {
                    let (passed, is_over) = self.up_to_delimiter();
                    self.pass(passed.len())?;
                    if !is_over {
                        return Ok(Said::More);
                    }
                    self.place = Place::Head;
                }
                Place::Head => {
                    if self.held.starts_with(b"--") {
                        return Err(Malformed("the form has no file"));
                    }
                    let Some(end) = find(&self.held, b"\r\n\r\n") else {
                        // A blank line may be cut.
                        return if self.held.len() > Self::MOST + 3 { Err(TOO_MUCH) } else { Ok(Said::More) };
                    };
                    self.pass(end)?;
                    let head = self.held.split_to(end + 4);
                    self.place = Place::Elsewhere;
                    if let Some(name) = filename(&String::from_utf8_lossy(&head)) {
                        self.place = Place::File;
                        return Ok(Said::Begins(name));
                    }
                    // A part may be empty: its end then begins with the end of its head.
                    self.held = [b"\r\n", &self.held[..]].concat().as_slice().into();
                }
                Place::File => {
                    let (piece, is_over) = self.up_to_delimiter();
                    if is_over {
                        self.place = Place::Over;
                    }
                    if !piece.is_empty() {
                        return Ok(Said::Piece(piece));
                    }
                    if !is_over {
                        return Ok(Said::More);
                    }
                }
                Place::Over => return Ok(Said::Ends),
            }
        }
    }

    /// What belongs to the part for certain, and whether it is over.
    fn up_to_delimiter(&mut self) -> (Bytes, bool) {
        match find(&self.held, &self.delimiter) {
            Some(at) => {
                let part = self.held.split_to(at).freeze();
                let _ = self.held.split_to(self.delimiter.len());
                (part, true)
            }
            None => {
                let certain = self.held.len().saturating_sub(self.delimiter.len() - 1);
                (self.held.split_to(certain).freeze(), false)
            }
        }
    }

    fn pass(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.passed += bytes;
        if self.passed > Self::MOST { Err(TOO_MUCH) } else { Ok(()) }
    }
}

const TOO_MUCH: Malformed = Malformed("the form has too much beside its file");

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    // Jumping from one first byte to the next: few bytes of a file are that of a line break.
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == wanted[0]) {
        let at = from + at;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// The name of the file that a part with this head is; none for a field.
fn filename(head: &str) -> Option<String> {
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let (_, parameters) = disposition.split_once(';')?;
    // What browsers escape in it (WHATWG HTML, multipart/form-data).
    let name = parameter(parameters, "filename")?;
    Some(name.replace("%22", "\"").replace("%0D", "").replace("%0A", ""))
}

/// A parameter, as in `boundary=x; charset="y"`.
fn parameter(mut parameters: &str, wanted: &str) -> Option<String> {
    loop {
        let (name, rest) = parameters.split_once('=')?;
        let rest = rest.trim_start();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"')?;
                (&quoted[..end], quoted[end + 1..].trim_start().strip_prefix(';').unwrap_or(""))
            }
            None => rest.split_once(';').unwrap_or((rest, "")),
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value.trim_end_matches(['\r', '\n', ' ']).to_owned());
        }
        parameters = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: &str = "multipart/form-data; boundary=XX";

    /// Reads a form that comes in pieces of some size.
    fn read(body: &[u8], size: usize) -> Result<(String, Vec<u8>), Malformed> {
        let mut form = Form::of(KIND).expect("it has a boundary");
        let (mut name, mut file) = (None, Vec::new());
        for piece in body.chunks(size) {
            form.take(piece);
            loop {
                match form.read()? {
                    Said::Begins(begins) => name = Some(begins),
                    Said::Piece(piece) => file.extend_from_slice(&piece),
                    Said::Ends => return Ok((name.expect("it has begun"), file)),
                    Said::More => break,
                }
            }
        }
        Err(Malformed("it has no end"))
    }

    fn form(name: &str, file: &[u8]) -> Vec<u8> {
        let head = format!(
            "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--XX\r\nContent-Disposition: form-data; \
             name=\"file\"; filename=\"{name}\"\r\nContent-Type: image/png\r\n\r\n"
        );
        [head.as_bytes(), file, b"\r\n--XX--\r\n"].concat()
    }

    #[test]
    fn a_file_is_found_behind_fields() {
        assert_eq!(read(&form("a b.png", b"bytes"), 1000), Ok(("a b.png".into(), b"bytes".to_vec())));
    }

    #[test]
    fn an_empty_file_and_an_empty_field_are_no_trouble() {
        assert_eq!(read(&form("x", b""), 1000).map(|(_, file)| file), Ok(Vec::new()));
        let body =
            [b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n".as_slice(), &form("x", b"y")].concat();
        assert_eq!(read(&body, 3).map(|(_, file)| file), Ok(b"y".to_vec()));
    }

    #[test]
    fn a_form_without_a_file_is_refused() {
        let body = b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--XX--\r\n";
        assert_eq!(read(body, 1000), Err(Malformed("the form has no file")));
    }

    #[test]
    fn a_head_without_an_end_is_given_up() {
        let body = [b"--XX\r\nX: ".as_slice(), &vec![b'x'; 2 * Form::MOST]].concat();
        assert_eq!(read(&body, 1000), Err(TOO_MUCH));
        let fields = b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n".repeat(2000);
        assert_eq!(read(&fields, 1000), Err(TOO_MUCH));
    }

    #[test]
    fn what_has_no_boundary_is_no_form() {
        for kind in ["multipart/form-data", "multipart/form-data; boundary=", "image/png; boundary=x", "x"] {
            assert!(Form::of(kind).is_none(), "{kind}");
        }
        assert!(Form::of(&format!("multipart/form-data; boundary={}", "x".repeat(71))).is_none());
        assert!(Form::of("Multipart/Form-Data; charset=x; boundary=\"a b\"").is_some());
    }

    proptest! {
        #[test]
        fn a_file_is_the_same_however_it_is_cut(file in proptest::collection::vec(prop_oneof![
            Just(b"\r\n--X".to_vec()), Just(b"\r".to_vec()), proptest::collection::vec(any::<u8>(), 0..20)
        ], 0..20), size in 1_usize..40) {
            let file = file.concat();
            // Senders choose a boundary that is not in the file (RFC 2046 §5.1.1).
            prop_assume!(find(&file, b"\r\n--XX").is_none());
            prop_assert_eq!(read(&form("x", &file), size), Ok(("x".into(), file)));
        }

        #[test]
        fn nothing_that_comes_panics(pieces in proptest::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut form = Form::of(KIND).expect("it has a boundary");
            'all: for piece in pieces {
                form.take(&piece);
                loop {
                    match form.read() {
                        Ok(Said::More) => break,
                        Ok(Said::Ends) | Err(_) => break 'all,
                        Ok(_) => {}
                    }
                }
            }
        }
    }
}
