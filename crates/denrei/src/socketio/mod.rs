//! Socket.IO: namespaces, rooms and handlers, as in Node and on the same hub as every other transport.
//!
//! ```no_run
//! # async fn run(denrei: denrei::Denrei) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use serde::Deserialize;
//! use serde_json::json;
//!
//! #[derive(Deserialize)]
//! struct Order {
//!     item: String,
//! }
//!
//! let io = denrei.io();
//! io.of("/shop")?.on_connect(async |socket| {
//!     socket.join("customers")?;
//!     socket.on("createOrder", async |socket, order: Order, ack| {
//!         socket.to("customers").emit("ordered", &(&order.item, 1))?;
//!         let sure: bool = socket.timeout(Duration::from_secs(5)).emit_with_ack("sure?", &order.item).await?;
//!         ack.send(&json!({"status": if sure { "ok" } else { "cancelled" }}));
//!         Ok(())
//!     });
//!     Ok(())
//! });
//! io.of("/shop")?.to("customers").except("banned").emit("news", "open")?;
//! # Ok(())
//! # }
//! ```
//!
//! Rooms are rooms of the hub: what is emitted to the room `news` of `/chat` goes to all readers of `sio:/chat:news`,
//! encoded once for all Socket.IO clients. The room of a socket's own id is none of the hub: only that socket is in it.
//!
//! # Reading order
//! `io` finds a client its namespace and lets it in; `namespace` knows who is where and sends; `socket` is one client;
//! `queue` runs its handlers, which `listeners` keeps; `emit` and `ack` are what an application says and hears;
//! `recovery` brings back who was cut off; `cluster` is the seam to other nodes: to those of the hub in `nodes`, to servers
//! of Node in `compat`. `lane` is the boundary to the connection.
//!
//! Below it: `opening` says what a request is for, `desk` is where requests find their session, `connection` is the one
//! loop of a client's connection, whatever carries it, `channel` its WebSocket, `rooms` namespace `/` where no application
//! has taken it, `relay` a namespace that is shared with servers of Node and has no handlers.

mod ack;
pub(crate) mod admin;
mod args;
pub(crate) mod bundle;
pub(crate) mod channel;
mod chat;
mod client;
mod cluster;
mod compat;
pub(crate) mod connection;
mod data;
pub(crate) mod desk;
mod emit;
pub mod engine;
mod failure;
mod handshake;
mod io;
pub(crate) mod lane;
mod listeners;
mod mailbox;
mod names;
mod namespace;
pub(crate) mod nodes;
pub(crate) mod opening;
mod pattern;
mod queue;
mod reason;
mod recovery;
pub(crate) mod relay;
mod remote;
pub(crate) mod rooms;
mod socket;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use ack::{Ack, AckError, Answer, Answers};
pub use args::{FromArgs, Raw, ToArgs};
pub use compat::{Compat, Subscriptions};
pub use data::Data;
pub use denrei_proto::socketio::{Args, ArgsError, Parser};
pub use emit::{Broadcast, Direct, EmitError};
pub use failure::{Failure, Outcome};
pub use handshake::Handshake;
pub use io::Io;
pub(crate) use io::{Limits, shared_room};
pub use listeners::Listener;
pub use names::{InvalidNamespace, Rooms, SocketId};
pub use namespace::{Namespace, Share};
pub use reason::Reason;
pub use recovery::{ExpiredSession, Recovery};
pub use remote::{Fetched, NodeAnswers, RemoteSocket};
pub use socket::{JoinError, Socket};

/// No code that runs under these locks leaves them half changed when it panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
