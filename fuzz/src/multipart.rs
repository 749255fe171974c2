//! Forms with a file.

use denrei_proto::multipart::{Form, Malformed, Said};

/// The first line is the content type, the next byte the size of the pieces, the rest the body.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(2, |&byte| byte == b'\n');
    let kind = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let Some((size, body)) = parts.next().unwrap_or_default().split_first() else { return };
    let Some(whole) = read(&kind, body, body.len().max(1)) else { return };
    let cut = read(&kind, body, usize::from(*size).max(1)).expect("the content type is the same");
    assert_eq!(whole, cut, "how it was cut");
    let (_, boundary) = kind.split_once(['=']).unwrap_or_default();
    let boundary = boundary.trim();
    if kind.matches('=').count() == 1 && !boundary.contains(['"', ';']) {
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        assert!(!whole.file.windows(delimiter.len()).any(|part| part == delimiter), "a boundary in the file");
    }
    assert!(whole.file.len() <= body.len(), "more than there was");
}

#[derive(Debug, PartialEq, Default)]
struct Read {
    name: Option<String>,
    file: Vec<u8>,
    is_over: bool,
    error: Option<Malformed>,
}

/// None when the content type is that of no form.
fn read(kind: &str, body: &[u8], size: usize) -> Option<Read> {
    let mut form = Form::of(kind)?;
    let mut read = Read::default();
    for piece in body.chunks(size) {
        form.take(piece);
        loop {
            match form.read() {
                Ok(Said::Begins(name)) => assert!(read.name.replace(name).is_none(), "two files"),
                Ok(Said::Piece(piece)) => {
                    assert!(read.name.is_some() && !piece.is_empty(), "a piece of nothing");
                    read.file.extend_from_slice(&piece);
                }
                Ok(Said::Ends) => return Some(Read { is_over: true, ..read }),
                Ok(Said::More) => break,
                Err(error) => return Some(Read { error: Some(error), ..read }),
            }
        }
    }
    Some(read)
}
