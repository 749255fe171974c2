//! The native protocol in JSON: one object with a `type` per frame, in text or binary messages.
//!
//! [`request`] reads what a client sends, [`answer`] writes what the server sends to one client, [`event`] writes what
//! goes to many. The outside of the protocol is specified in `docs/protocol.md`.

pub mod answer;
pub mod event;
pub mod request;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Frame};
pub use event::Event;
pub use request::{Invalid, Ref, Request};
