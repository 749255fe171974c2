//! Rooms and an echo on socketioxide, behind axum.
//!
//! ```text
//! denrei-bench-socketioxide PORT [nodelay]
//!
//! join ROOM                    joins a room, and says so to who asks for an ack
//! publish ROOM EVENT ARGUMENT  emits to the others in a room
//! echo ARGUMENT                sends it back in the ack
//! ```

use std::convert::Infallible;

use axum::{Router, serve::ListenerExt};
use serde_json::{Value, json};
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef},
    handler::ConnectHandler,
};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().expect("usage: denrei-bench-socketioxide PORT [nodelay]");
    // axum::serve leaves Nagle's algorithm on unless it is told otherwise.
    let nodelay = arguments.next().is_some_and(|word| word == "nodelay");
    let (layer, io) = SocketIo::new_layer();
    // Not in the connect handler, as most would write it: that is spawned when the client has its answer already, and
    // what the client emits at once is dropped. A middleware is over before the answer.
    io.ns("/", (async || {}).with(register));
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("a free port");
    let listener = listener.tap_io(move |socket| drop(socket.set_nodelay(nodelay)));
    axum::serve(listener, Router::new().layer(layer)).await.expect("a listener that lasts");
}

async fn register(socket: SocketRef) -> Result<(), Infallible> {
    socket.on("join", async |socket: SocketRef, Data::<String>(room), ack: AckSender| {
        socket.join(room);
        // An error says that the client has gone.
        drop(ack.send(&json!({"status": "ok"})));
    });
    socket.on("publish", async |socket: SocketRef, Data::<(String, String, Value)>((room, event, message))| {
        drop(socket.to(room).emit(event, &message).await);
    });
    socket.on("echo", async |Data::<Value>(message), ack: AckSender| drop(ack.send(&message)));
    Ok(())
}
