//! Socket.IO: namespaces, rooms and handlers, as in Node and on the same hub as every other transport.

mod failure;
mod handshake;
mod io;
pub(crate) mod lane;
mod reason;
mod socket;

use denrei_hub::Dialect;

pub use denrei_proto::socketio::{Args, ArgsError};
pub use failure::{Failure, Outcome};
pub use handshake::Handshake;
pub use io::Io;
pub use reason::Reason;
pub use socket::Socket;

/// How a socket wants messages told: as an event of its namespace.
pub(crate) const EMITS: Dialect = Dialect(1);
