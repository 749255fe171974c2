//! Engine.IO without IO: a session between two engines that begins with polling or a WebSocket, and may change from
//! the first to the second (engine.io-protocol v4; v3 for Socket.IO 2 clients).
//!
//! # Reading order
//!
//! `packet` is what is said, `payload` how several share a body, `record` how they wait for a poll. `handshake` is
//! what comes before a session, and [`Session`] is the machine: who is answered when, and why it ends.

mod answer;
mod handshake;
mod packet;
mod payload;
mod record;
mod session;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Response};
pub use handshake::{Ask, Handshake, Method, Purpose, Rejection, Rules, Transport};
pub use packet::{Invalid, Packet, Version, Wire};
pub use payload::{Body, Packets, Payload, encode_payload};
pub use record::{Record, Records, frames, message_frames, message_records, record, records, write_record};
pub use session::{Config, Message, Output, Outputs, ProbeRefused, Reason, Session};
