//! Agreeing on permessage-deflate, RFC 7692 §5 and §7.1; the header's grammar is RFC 6455 §9.1.

use std::fmt::Write;

/// Offers that are looked at in one handshake. A browser sends one; CVE-2024-37890 and others sent thousands.
const MAX_OFFERS: usize = 16;

/// What the server wants of permessage-deflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateConfig {
    /// 1 (fast) to 9 (small). Default 3.
    pub level: u32,
    /// Shorter payloads are sent as they are. In bytes, default 1024.
    pub threshold: usize,
    /// Have the client compress each message for itself. Default true; false costs 48 KB per connection.
    pub client_no_context_takeover: bool,
    /// The window to compress with, 9 to 15 (8 works for messages of at most 256 bytes). Default 15.
    pub server_max_window_bits: u8,
    /// The window to ask of clients that let themselves be asked, 8 to 15. Default 15.
    pub client_max_window_bits: u8,
}

impl Default for DeflateConfig {
    fn default() -> Self {
        DeflateConfig {
            level: 3,
            threshold: 1024,
            client_no_context_takeover: true,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
        }
    }
}

/// What both sides agreed on, as far as it binds the server.
///
/// The server's messages never refer to earlier ones: so one frame serves all readers, and a connection owns no
/// compressor, which would be up to 380 KB of it. A server may renounce its context unasked (RFC 7692 §7.1.1.1).
///
/// The client's window is not here: inflating with the largest reads all of them and costs the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The client's messages do not refer to earlier ones.
    pub client_no_context_takeover: bool,
    /// The server's messages refer back at most 2^n bytes; 8 to 15.
    pub server_max_window_bits: u8,
}

impl Negotiated {
    /// Says whether the client can read a frame that [`deflated`](super::deflated) made of `len` bytes with
    /// `window_bits`.
    ///
    /// Such a message refers back into itself only, at most `len` bytes, whatever window it was made with.
    pub fn accepts_shared(&self, window_bits: u8, len: usize) -> bool {
        window_bits <= self.server_max_window_bits || len <= 1 << self.server_max_window_bits.min(15)
    }
}

/// Chooses the first offer that can be accepted, in the client's order of preference, and writes the value of the
/// answer's `Sec-WebSocket-Extensions`.
///
/// `headers` are the values of all `Sec-WebSocket-Extensions` lines. `None` means to go on without compression, which
/// is always right: offers with unknown, repeated or malformed parameters are declined (RFC 7692 §7), and so is what
/// follows a breach of the grammar. Of many offers the first sixteen are looked at.
///
/// `server_max_window_bits=8` is accepted although zlib cannot make such a window: messages of up to 256 bytes are
/// within it anyway, and longer ones are sent as they are.
pub fn negotiate<'a>(
    headers: impl IntoIterator<Item = &'a str>,
    config: &DeflateConfig,
) -> Option<(Negotiated, String)> {
    let mut left = MAX_OFFERS;
    for value in headers {
        let mut scanner = Scanner { rest: value };
        while left > 0 {
            left -= 1;
            match scanner.offer()? {
                Element::Deflate(offer) => return Some(accept(offer, config)),
                Element::Other => {}
                Element::End => break,
            }
        }
    }
    None
}

/// An offer of permessage-deflate whose parameters are all in order.
#[derive(Clone, Copy, Debug, Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// Without a value the client only says that it may be asked.
    client_max_window_bits: Option<Option<u8>>,
}

impl Offer {
    /// Takes up a parameter; `None` if it declines the offer (RFC 7692 §7.1).
    fn parameter(&mut self, name: &str, value: Option<&str>) -> Option<()> {
        let repeated = match (name, value) {
            ("server_no_context_takeover", None) => std::mem::replace(&mut self.server_no_context_takeover, true),
            ("client_no_context_takeover", None) => std::mem::replace(&mut self.client_no_context_takeover, true),
            ("server_max_window_bits", Some(bits)) => self.server_max_window_bits.replace(window_bits(bits)?).is_some(),
            ("client_max_window_bits", None) => self.client_max_window_bits.replace(None).is_some(),
            ("client_max_window_bits", Some(bits)) => {
                self.client_max_window_bits.replace(Some(window_bits(bits)?)).is_some()
            }
            _ => return None,
        };
        (!repeated).then_some(())
    }
}

/// A decimal from 8 to 15 without leading zeros, RFC 7692 §7.1.2.
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

fn accept(offer: Offer, config: &DeflateConfig) -> (Negotiated, String) {
    let bits = config.server_max_window_bits.clamp(8, 15).min(offer.server_max_window_bits.unwrap_or(15));
    let negotiated = Negotiated {
        client_no_context_takeover: config.client_no_context_takeover || offer.client_no_context_takeover,
        server_max_window_bits: bits,
    };
    let mut answer = String::from("permessage-deflate; server_no_context_takeover");
    if negotiated.client_no_context_takeover {
        answer.push_str("; client_no_context_takeover");
    }
    if offer.server_max_window_bits.is_some() || bits < 15 {
        let _ = write!(answer, "; server_max_window_bits={bits}");
    }
    // Only a client that offered it may be asked (RFC 7692 §7.1.2.2).
    let asked = config.client_max_window_bits.clamp(8, 15);
    if let Some(most) = offer.client_max_window_bits
        && asked < 15
    {
        let _ = write!(answer, "; client_max_window_bits={}", asked.min(most.unwrap_or(15)));
    }
    (negotiated, answer)
}

enum Element {
    Deflate(Offer),
    /// Another extension, an offer that is declined, or an empty place between two commas.
    Other,
    End,
}

/// Reads the header's grammar from left to right, once.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// The next element of the list; `None` if it breaks the grammar.
    fn offer(&mut self) -> Option<Element> {
        self.skip_space();
        if self.rest.is_empty() {
            return Some(Element::End);
        }
        if self.eat(',') {
            return Some(Element::Other);
        }
        let mut offer = (self.token()? == "permessage-deflate").then(Offer::default);
        while self.eat(';') {
            self.skip_space();
            let name = self.token()?;
            let value = if self.eat('=') { Some(self.value()?) } else { None };
            offer = offer.and_then(|mut offer| offer.parameter(name, value).map(|()| offer));
        }
        if !self.eat(',') && !self.rest.is_empty() {
            return None;
        }
        Some(offer.map_or(Element::Other, Element::Deflate))
    }

    fn value(&mut self) -> Option<&'a str> {
        self.skip_space();
        let Some(quoted) = self.rest.strip_prefix('"') else { return self.token() };
        // An escape stays in the value, where it makes no number; here it only must not end the string.
        let mut escaped = false;
        let end = quoted.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        let (value, rest) = (&quoted[..end], &quoted[end + 1..]);
        self.rest = rest;
        Some(value)
    }

    /// A token of RFC 7230 §3.2.6.
    fn token(&mut self) -> Option<&'a str> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let end = self.rest.bytes().position(|byte| !is_token(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// Skips the character, and the space before it, if it is next.
    fn eat(&mut self, character: char) -> bool {
        self.skip_space();
        let Some(rest) = self.rest.strip_prefix(character) else { return false };
        self.rest = rest;
        true
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }
}
