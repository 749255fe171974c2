//! Rooms and an echo in Socket.IO's handlers: what `bench/` measures beside its peers, which have the same events.
//!
//! `cargo run --release -p denrei --example handlers -- 3000`
//!
//! | event | what it does |
//! |---|---|
//! | `join`, a room | joins it, and says so to who asks for an ack |
//! | `publish`, a room, an event, an argument | emits to the others in the room |
//! | `echo`, an argument | sends it back in the ack |
//!
//! On a runtime of one thread, as each shard of the server has one.

use axum::Router;
use denrei::socketio::Socket;
use denrei::{Config, Denrei, Parts, Place};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).ok_or("usage: handlers PORT")?.parse()?;
    let mut config = Config::default();
    config.access.anonymous = true;
    let (denrei, shards) = Denrei::with(config, Parts::default());
    let mut places = Vec::new();
    for shard in shards {
        places.push(Place { shard: shard.handle().clone(), runtime: Handle::current() });
        tokio::spawn(shard.run());
    }
    tokio::spawn(denrei.clone().run());
    denrei.io().on_connect(async |socket| register(&socket));
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    denrei.serve([listener.into()], places, Router::new(), std::future::pending()).await;
    Ok(())
}

fn register(socket: &Socket) {
    socket.on("join", async |socket, room: String, ack| {
        socket.join(room)?;
        ack.send(&json!({"status": "ok"}));
        Ok(())
    });
    socket.on("publish", async |socket, (room, event, message): (String, String, Value), _| {
        socket.to(room).emit(&event, &message)?;
        Ok(())
    });
    socket.on("echo", async |_, message: Value, ack| ack.send(&message));
}
