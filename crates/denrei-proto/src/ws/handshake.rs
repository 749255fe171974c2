//! The opening handshake, RFC 6455 §4.2.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use thiserror::Error;

/// Says why a request is not an upgrade to WebSocket, and what to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{sentence}")]
pub struct HandshakeError {
    /// The HTTP status of the answer: 400, 405 or 426.
    pub status: u16,
    /// For the body of the answer.
    pub sentence: &'static str,
    /// The header that the status asks for, if it does.
    pub header: Option<(&'static str, &'static str)>,
}

impl HandshakeError {
    const fn bad(sentence: &'static str) -> Self {
        HandshakeError { status: 400, sentence, header: None }
    }
}

/// The facts of a request that decide whether it opens a WebSocket over HTTP/1.1.
///
/// Feed it every header line, in any order; it keeps the few that matter and borrows the key.
///
/// ```
/// # use denrei_proto::ws::{UpgradeRequest, accept_key};
/// let mut request = UpgradeRequest::new("GET", 1);
/// for (name, value) in [
///     ("Upgrade", "websocket"),
///     ("Connection", "keep-alive, Upgrade"),
///     ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
///     ("Sec-WebSocket-Version", "13"),
/// ] {
///     request.header(name, value.as_bytes());
/// }
/// assert_eq!(accept_key(request.check()?), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// # Ok::<(), denrei_proto::ws::HandshakeError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'a> {
    get: bool,
    http_1_1: bool,
    upgrade: bool,
    connection: bool,
    key: Header<'a>,
    version: Header<'a>,
}

/// A header that must come once.
#[derive(Clone, Copy, Debug)]
enum Header<'a> {
    Missing,
    Once(&'a [u8]),
    Repeated,
}

impl<'a> Header<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Header::Missing => Header::Once(value.trim_ascii()),
            Header::Once(_) | Header::Repeated => Header::Repeated,
        };
    }
}

impl<'a> UpgradeRequest<'a> {
    /// Starts with the request line: the method and the 1 of `HTTP/1.1`.
    pub fn new(method: &str, minor_version: u8) -> Self {
        UpgradeRequest {
            get: method == "GET",
            http_1_1: minor_version >= 1,
            upgrade: false,
            connection: false,
            key: Header::Missing,
            version: Header::Missing,
        }
    }

    /// Takes note of a header line; the name's case does not matter.
    pub fn header(&mut self, name: &str, value: &'a [u8]) {
        if name.eq_ignore_ascii_case("upgrade") {
            self.upgrade |= has_token(value, "websocket");
        } else if name.eq_ignore_ascii_case("connection") {
            self.connection |= has_token(value, "upgrade");
        } else if name.eq_ignore_ascii_case("sec-websocket-key") {
            self.key.add(value);
        } else if name.eq_ignore_ascii_case("sec-websocket-version") {
            self.version.add(value);
        }
    }

    /// The client's key, for [`write_response`], if the request is in order (RFC 6455 §4.2.1).
    ///
    /// # Errors
    ///
    /// What to answer instead. Origin and authentication are the caller's.
    pub fn check(&self) -> Result<&'a str, HandshakeError> {
        if !self.get {
            let header = Some(("Allow", "GET"));
            return Err(HandshakeError { status: 405, sentence: "a WebSocket is opened with GET", header });
        }
        if !self.http_1_1 {
            return Err(HandshakeError::bad("a WebSocket needs HTTP/1.1"));
        }
        if !self.upgrade {
            let header = Some(("Upgrade", "websocket"));
            return Err(HandshakeError { status: 426, sentence: "the header Upgrade: websocket is missing", header });
        }
        if !self.connection {
            return Err(HandshakeError::bad("the header Connection: Upgrade is missing"));
        }
        match self.version {
            Header::Once(b"13") => {}
            _ => {
                let header = Some(("Sec-WebSocket-Version", "13"));
                return Err(HandshakeError { status: 426, sentence: "Sec-WebSocket-Version must be 13, once", header });
            }
        }
        match self.key {
            Header::Once(key) => parse_key(key),
            Header::Missing | Header::Repeated => None,
        }
        .ok_or(HandshakeError::bad("Sec-WebSocket-Key must be 16 bytes in base64, once"))
    }
}

/// Sixteen bytes make 22 characters and two of padding. The last character's four unused bits are not looked at:
/// clients that draw the characters instead of the bytes set them.
fn parse_key(key: &[u8]) -> Option<&str> {
    let digits = key.strip_suffix(b"==").filter(|digits| digits.len() == 22)?;
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if digits.iter().all(is_digit) { std::str::from_utf8(key).ok() } else { None }
}

fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|&byte| byte == b',').any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The value of `Sec-WebSocket-Accept` (RFC 6455 §4.2.2): 28 characters.
pub fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// The first subprotocol in the client's order that the server supports, so never one that was not offered.
///
/// `offered` are the values of all `Sec-WebSocket-Protocol` lines. `None` means to answer without the header; whether
/// the connection makes sense then is the caller's decision (RFC 6455 §4.2.2). Names are compared exactly.
pub fn choose_subprotocol<'a, 's>(
    offered: impl IntoIterator<Item = &'a str>,
    supported: &[&'s str],
) -> Option<&'s str> {
    offered
        .into_iter()
        .flat_map(|value| value.split(','))
        .find_map(|name| supported.iter().copied().find(|supported| *supported == name.trim_matches([' ', '\t'])))
}

/// Writes the answer that switches protocols, RFC 6455 §4.2.2.
///
/// `key` comes from [`UpgradeRequest::check`], `subprotocol` from [`choose_subprotocol`], `extensions` from
/// [`negotiate`](super::negotiate).
pub fn write_response(out: &mut Vec<u8>, key: &str, subprotocol: Option<&str>, extensions: Option<&str>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept_key(key).as_bytes());
    for (name, value) in [("Sec-WebSocket-Protocol", subprotocol), ("Sec-WebSocket-Extensions", extensions)] {
        if let Some(value) = value {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n\r\n");
}
