//! `rfc` holds the RFCs' own examples; `framing`, `text`, `close` and `compressed` follow Autobahn's case groups;
//! `hostile` is the catalogue of attacks; `distance` helps `compressed`; `properties` is what holds for any input.

mod close;
mod compressed;
mod distance;
mod encode;
mod extension;
mod framing;
mod handshake;
mod hostile;
mod properties;
mod rfc;
mod text;

use flate2::{Compress, Compression, FlushCompress};

use super::testing::masked;
use super::{Decoder, Event, Limits, Negotiated, Violation};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

const TEXT: u8 = 0x81;
const TEXT_FIRST: u8 = 0x01;
const BINARY: u8 = 0x82;
const BINARY_FIRST: u8 = 0x02;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
const RSV1: u8 = 0x40;

/// What the handshake agrees on by default.
const NO_CONTEXT: Negotiated = Negotiated { client_no_context_takeover: true, server_max_window_bits: 15 };
const CONTEXT: Negotiated = Negotiated { client_no_context_takeover: false, server_max_window_bits: 15 };

/// A client's compressor that keeps its context from message to message, as [`CONTEXT`] lets it.
struct KeepingContext(Compress);

impl KeepingContext {
    fn new() -> Self {
        Self(Compress::new_with_window_bits(Compression::new(3), false, 15))
    }

    /// The payload of the next message, which is not empty: a flush with nothing new writes nothing, and that is not
    /// an empty message (RFC 7692 §7.2.3.6).
    fn payload(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + data.len() / 8 + 64);
        let before = self.0.total_in();
        self.0.compress_vec(data, &mut out, FlushCompress::Sync).unwrap();
        assert_eq!(self.0.total_in() - before, data.len() as u64);
        out.truncate(out.len() - 4);
        out
    }
}

/// An event that owns what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Got {
        match event {
            Event::Text(text) => Got::Text(text.into()),
            Event::Binary(data) => Got::Binary(data.into()),
            Event::Ping(data) => Got::Ping(data.into()),
            Event::Pong(data) => Got::Pong(data.into()),
            Event::Close(close) => Got::Close(close.map(|close| (close.code, close.reason.into()))),
        }
    }
}

fn text(text: &str) -> Got {
    Got::Text(text.into())
}

/// What came of a stream: the events before the end or the violation, if there was one.
type Outcome = (Vec<Got>, Option<Violation>);

/// Feeds one read after another, each drained as the module's documentation says.
fn feed<'r>(decoder: &mut Decoder, reads: impl IntoIterator<Item = &'r [u8]>) -> Outcome {
    let mut events = Vec::new();
    for read in reads {
        let mut read = read.to_vec();
        let mut rest = &mut read[..];
        loop {
            match decoder.decode(rest) {
                Ok((used, Some(event))) => {
                    events.push(event.into());
                    rest = &mut rest[used..];
                }
                Ok((used, None)) => {
                    assert_eq!(used, rest.len(), "no event means that everything was consumed");
                    break;
                }
                Err(violation) => return (events, Some(violation)),
            }
        }
    }
    (events, None)
}

fn plain() -> Decoder {
    Decoder::new(Limits::default(), None)
}

fn deflating() -> Decoder {
    Decoder::new(Limits::default(), Some(NO_CONTEXT))
}

/// Decodes the frames in one read, and checks that reads of one byte make no difference.
fn run(decoder: impl Fn() -> Decoder, frames: &[Vec<u8>]) -> Outcome {
    let stream = frames.concat();
    let whole = feed(&mut decoder(), [&stream[..]]);
    let bytewise = feed(&mut decoder(), stream.chunks(1));
    assert_eq!(whole, bytewise, "reads of one byte tell another story");
    whole
}

fn accepted(frames: &[Vec<u8>], expected: &[Got]) {
    assert_eq!(run(plain, frames), (expected.to_vec(), None));
}

fn refused(frames: &[Vec<u8>], before: &[Got], violation: Violation) {
    assert_eq!(run(plain, frames), (before.to_vec(), Some(violation)));
}

fn from_client(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    masked(first, KEY, payload.as_ref())
}
