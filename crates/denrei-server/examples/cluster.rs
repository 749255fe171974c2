//! Several processes of an application that are one system, and whose clients find what they missed on any of them.
//!
//! `cargo run -p denrei-server --example cluster -- one 3001 redis://127.0.0.1:6379`, and the same as `two` on port 3002.
//! The bus may be `nats://127.0.0.1:4222`.
//!
//! | event | what it does |
//! |---|---|
//! | `join`, a room | joins it |
//! | `say`, a room, a text | emits `said` there |
//! | `keep`, a name, a value | keeps it with the socket |
//! | `who` | answers what is known of the socket: `{ node, recovered, rooms, data }` |

use std::sync::Arc;

use axum::Router;
use denrei::socketio::{Namespace, Recovery};
use denrei::{Config, Denrei, Parts, Place};
use denrei_bus::{Joined, Options};
use denrei_hub::{Name, Node};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(id), Some(port), Some(bus)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("cluster NAME PORT BUS".into());
    };
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    let address = format!("http://{}", listener.local_addr()?);

    let mut config = Config::default();
    config.access.anonymous = true;
    // The name must be another one on each node. The address is where the others send what is for this node's clients.
    config.hub.node = Node::new(Name::parse(&id)?, Some(&address));
    let classes = Arc::new(config.hub.classes.clone());
    let joining = Options { node: config.hub.node.id.clone(), prefix: "example".into(), classes };
    let Joined { bus, log, leases, shelf, channels } = denrei_bus::join(&bus, joining).await?;
    let mut parts = Parts { shelf: Some(shelf), channels: Some(channels), ..Parts::default() };
    parts.backends.bus = Some(bus);
    parts.backends.memory = Some(log);
    parts.backends.leases = Some(leases);

    let (denrei, shards) = Denrei::with(config, parts);
    let mut places = Vec::new();
    for shard in shards {
        places.push(Place { shard: shard.handle().clone(), runtime: Handle::current() });
        tokio::spawn(shard.run());
    }
    tokio::spawn(denrei.clone().run());
    register(&denrei.io().of("/")?, id);
    say(&address);
    denrei.serve([listener.into()], places, Router::new(), std::future::pending()).await;
    Ok(())
}

fn register(namespace: &Namespace, node: String) {
    namespace.recovery(Recovery::default());
    namespace.on("join", async |socket, room: String, ack| {
        socket.join(room)?;
        ack.send(&());
        Ok(())
    });
    namespace.on("say", async |socket, (room, text): (String, String), ack| {
        socket.namespace().broadcast().to(room).emit("said", &text)?;
        ack.send(&());
        Ok(())
    });
    namespace.on("keep", async |socket, (name, value): (String, Value), ack| {
        socket.data().set(&name, &value)?;
        ack.send(&());
        Ok(())
    });
    namespace.on("who", move |socket, (), ack| {
        let (recovered, rooms, data) = (socket.recovered(), socket.rooms(), socket.data().to_json());
        ack.send(&json!({ "node": node, "recovered": recovered, "rooms": rooms, "data": data }));
        async {}
    });
}

#[allow(clippy::print_stdout, reason = "who has started this reads there where it listens")]
fn say(text: &str) {
    println!("{text}");
}
