//! The servers that other people's Socket.IO test suites want: `cargo run -p denrei --example conformance -- eio4`.
//!
//! | suite | server |
//! |---|---|
//! | `eio4`, `eio3` | Engine.IO at `/engine.io/` on port 3000, which says everything back |
//! | `sio5` | Socket.IO on port 3000 |
//! | `client` | Socket.IO on port 3210 with what the client's own tests speak to |
//!
//! `conformance/socketio` runs them.

mod handlers;

use std::time::Duration;

use axum::Router;
use denrei::socketio::engine::{Client, Data, Engine};
use denrei::socketio::{InvalidNamespace, Io};
use denrei::{Config, Denrei, Parts, Place};
use denrei_hub::Hub;
use tokio::net::TcpListener;

/// Says everything back.
struct Echo;

impl Engine for Echo {
    fn message(&self, client: &Client, message: Data) {
        client.send(&message);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let suite = words.next().unwrap_or_default();
    let mut config = Config::default();
    config.access.anonymous = true;
    let socketio = &mut config.socketio;
    let mut parts = Parts::default();
    let mut port = 3000;
    let mut register: fn(&Io) -> Result<(), InvalidNamespace> = |_| Ok(());
    match &*suite {
        "eio4" | "eio3" => {
            socketio.path = "/engine.io/".into();
            socketio.ping_interval = Duration::from_millis(300);
            socketio.ping_timeout = Duration::from_millis(200);
            socketio.max_payload = 1_000_000;
            socketio.allow_v3 = suite == "eio3";
            parts.engine = Some(Box::new(Echo));
        }
        "sio5" => {
            socketio.ping_interval = Duration::from_millis(300);
            socketio.ping_timeout = Duration::from_millis(200);
            socketio.max_payload = 1_000_000;
            socketio.connect_timeout = Duration::from_secs(1);
            register = handlers::sio5;
        }
        "client" => {
            socketio.ping_interval = Duration::from_secs(2);
            // So that the client's own time-out can be tested.
            parts.allow_request = Some(Box::new(|_| {
                Box::pin(async {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok(())
                })
            }));
            register = handlers::client;
            port = 3210;
        }
        other => return Err(format!("{other} is none of eio4, eio3, sio5, client").into()),
    }
    if let Some(asked) = words.next() {
        port = asked.parse()?;
    }
    let (denrei, shards) = Denrei::with(config, parts);
    register(denrei.io())?;
    serve(&denrei, shards, port).await?;
    Ok(())
}

async fn serve(denrei: &Denrei, shards: Vec<denrei_hub::Shard>, port: u16) -> std::io::Result<()> {
    let mut places = Vec::new();
    for shard in shards {
        places.push(Place { shard: shard.handle().clone(), runtime: tokio::runtime::Handle::current() });
        tokio::spawn(shard.run());
    }
    tokio::spawn(Hub::run(denrei.hub().clone()));
    // Dual stack: Node tries ::1 first for `localhost`.
    let listener = TcpListener::bind(("::", port)).await?;
    denrei.serve([listener.into()], places, Router::new(), std::future::pending()).await;
    Ok(())
}
