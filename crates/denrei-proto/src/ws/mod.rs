//! WebSocket without IO: RFC 6455 framing, RFC 7692 permessage-deflate, the opening handshake.
//!
//! Bytes go in, [`Event`]s come out; [`Bytes`](bytes::Bytes) made here go out. The module owns no
//! socket, task or clock, and takes the server's side: what it reads must be masked, what it writes
//! is not. Answering pings, closing in time and counting control frames is the session's work.
//!
//! # The drain law
//!
//! [`Decoder::decode`] consumes from the front of what it is given and stops behind the first event.
//! **No event means that every byte was consumed.** So a reader needs no buffer of its own between
//! reads and drains each one like this:
//!
//! ```
//! # use denrei_proto::ws::{Decoder, Event, Limits, Violation, testing};
//! # let mut decoder = Decoder::new(Limits::default(), None);
//! # let mut read = testing::masked(0x81, [1, 2, 3, 4], b"hello");
//! let mut rest = &mut read[..];
//! loop {
//!     let (used, event) = decoder.decode(rest)?;
//!     let Some(event) = event else { break };
//!     // act on the event
//! #   assert!(matches!(event, Event::Text("hello")));
//!     rest = &mut rest[used..];
//! }
//! # Ok::<(), Violation>(())
//! ```
//!
//! The call that brings no event also frees what the last event borrowed: an idle decoder owns no
//! heap, except an inflate context when the client was allowed to keep one.
//!
//! # Reading order
//!
//! `frame` and `mask` say what one frame is, `decode` makes messages of frames, `inflate` opens the
//! compressed ones. `encode` and `deflate` are the way out. `extension` and `handshake` come before
//! the first frame, `close` after the last.

mod close;
mod decode;
mod deflate;
mod encode;
mod extension;
mod frame;
mod handshake;
mod inflate;
mod mask;
mod violation;

#[doc(hidden)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use close::{CloseFrame, is_valid_close_code};
pub use decode::{Decoder, Event, Limits};
pub use deflate::deflated;
pub use encode::{Coding, FrameWriter, Header, close, frame, header, ping, pong};
pub use extension::{DeflateConfig, Negotiated, negotiate};
pub use frame::Opcode;
pub use handshake::{HandshakeError, UpgradeRequest, accept_key, choose_subprotocol, write_response};
pub use violation::Violation;
