//! Socket.IO without IO: packets of namespaces over one engine session (socket.io-protocol v5; what differs for v3
//! clients is told where it does).
//!
//! What an event carries is an [`Args`], the same whatever the client's [`Parser`]: a JSON array and the attachments
//! that it refers to. Messages go into a [`Decoder`] and [`Packet`]s come out; an [`Outgoing`] packet is written as
//! WebSocket frames or as records for a poll, in one pass and one allocation.
//!
//! # Reading order
//!
//! `header` is the text in front of the JSON, `decoder` makes packets, `args` is what they carry, with `encode` and
//! `decode` between it and Rust values. `outgoing` is the way out, `msgpack` the other parser. `scan` finds placeholders.

mod args;
mod decode;
mod decoder;
mod encode;
mod header;
mod msgpack;
mod outgoing;
mod scan;

#[cfg(test)]
mod tests;

pub use args::{Args, ArgsError};
pub use decoder::{Body, Decoder, Limits, Packet, Parser};
pub use header::{Header, Kind, Malformed};
pub use outgoing::Outgoing;
