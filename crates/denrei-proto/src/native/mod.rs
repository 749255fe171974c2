//! The native protocol in two syntaxes: JSON, one object with a `type` per frame, and Protobuf.
//!
//! [`request`] is what a client asks, [`answer`] what the server says to one client, [`event`] what goes to many;
//! [`syntax`] says how a connection spells them. The outside of the protocol is specified in `docs/protocol.md`, its
//! Protobuf in `proto/denrei/v1`.

pub mod syntax;

pub mod request;

pub mod answer;
pub mod event;

mod protobuf;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use event::Event;
pub use request::{Invalid, Ref, Request};
pub use syntax::{Data, Syntax};
