//! A server beside servers of Node: what a client asks for is done in the whole cluster.
//!
//! `cargo run -p denrei-server --example mixed -- 3000 redis://127.0.0.1:6379`
//!
//! Namespace `/` has the classic adapter, `/dynamic` and `/static` the sharded one. `whom` is `{ rooms?, except? }`.
//!
//! | event | what it does |
//! |---|---|
//! | `join`, rooms | joins them |
//! | `emit`, whom, `{ volatile? }`, an event, arguments | emits |
//! | `ask`, whom, milliseconds, an event, an argument | emits with an ack, and answers what was answered |
//! | `socketsJoin`, `socketsLeave`, whom, rooms; `disconnectSockets`, whom, whether to close | the same |
//! | `fetchSockets`, whom | answers who is there |
//! | `serverSideEmit`, an event, an argument; `serverSideAsk`, the same | tells or asks the other servers |
//! | `set`, a name, a value | keeps it with the socket |
//!
//! The event `note` of another server is emitted to the clients here as `noted`; `sum` is answered.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use denrei::socketio::{Args, Broadcast, Compat, Namespace, Raw, Socket, Subscriptions};
use denrei::{Config, Denrei, Parts, Place};
use denrei_bus::Options;
use denrei_hub::Node;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

#[derive(Deserialize)]
struct Whom {
    rooms: Option<Vec<String>>,
    #[serde(default)]
    except: Vec<String>,
}

#[derive(Deserialize)]
struct How {
    #[serde(default)]
    volatile: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(redis)) = (arguments.next(), arguments.next()) else { return Err("mixed PORT REDIS".into()) };
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    let mut config = Config::default();
    config.access.anonymous = true;
    let classes = Arc::new(config.hub.classes.clone());
    let joining = Options { node: Node::default().id, prefix: "mixed".into(), classes };
    let channels = denrei_bus::join(&redis, joining).await?.channels;
    let (denrei, shards) = Denrei::with(config, Parts { channels: Some(channels), ..Parts::default() });
    let mut places = Vec::new();
    for shard in shards {
        places.push(Place { shard: shard.handle().clone(), runtime: Handle::current() });
        tokio::spawn(shard.run());
    }
    tokio::spawn(denrei.clone().run());
    let sharded = |subscriptions| Compat::node().sharded(subscriptions);
    register(denrei.io().of("/")?.compat(Compat::node()));
    register(denrei.io().of("/dynamic")?.compat(sharded(Subscriptions::Dynamic)));
    register(denrei.io().of("/static")?.compat(sharded(Subscriptions::Static)));
    say(&format!("http://{}", listener.local_addr()?));
    denrei.serve([listener.into()], places, Router::new(), std::future::pending()).await;
    Ok(())
}

#[allow(clippy::print_stdout, reason = "who has started this reads there where it listens")]
fn say(text: &str) {
    println!("{text}");
}

fn register(namespace: &Namespace) {
    let here = namespace.clone();
    namespace.on_server_side("note", move |args: Raw| {
        let told = here.local().emit("noted", &args);
        async move { drop(told) }
    });
    namespace.on_server_side("sum", async |numbers: Vec<i64>| numbers.iter().sum::<i64>());
    namespace.on("join", async |socket, rooms: Vec<String>, ack| {
        socket.join(rooms)?;
        ack.send(&());
        Ok(())
    });
    namespace.on("emit", async |socket, args: Raw, ack| {
        let (whom, how, event): (Whom, How, String) = args.0.decode()?;
        let mut chain = to(&socket, whom);
        if how.volatile {
            chain = chain.volatile();
        }
        chain.emit(&event, &Raw(behind(&args.0, 3)?))?;
        ack.send(&());
        Ok(())
    });
    namespace.on("ask", async |socket, (whom, ms, event, arg): (Whom, u64, String, Value), ack| {
        let chain = to(&socket, whom).timeout(Duration::from_millis(ms));
        // Its own client is among those that are asked, so this must not wait here.
        let answers = chain.emit_with_ack::<Value>(&event, &arg);
        tokio::spawn(async move {
            if let Ok(answers) = answers.await {
                let missing = answers.missing.len() as u64 + answers.missing_elsewhere;
                let servers = answers.missing_nodes.len();
                ack.send(&json!({ "missing": missing, "servers": servers, "received": answers.into_values() }));
            }
        });
        Ok(())
    });
    namespace.on("socketsJoin", async |socket, (whom, rooms): (Whom, Vec<String>), ack| {
        to(&socket, whom).sockets_join(rooms);
        ack.send(&());
    });
    namespace.on("socketsLeave", async |socket, (whom, rooms): (Whom, Vec<String>), ack| {
        to(&socket, whom).sockets_leave(rooms);
        ack.send(&());
    });
    namespace.on("disconnectSockets", async |socket, (whom, close): (Whom, bool), ack| {
        to(&socket, whom).disconnect_sockets(close);
        ack.send(&());
    });
    namespace.on("fetchSockets", async |socket, whom: Whom, ack| {
        let fetched = to(&socket, whom).fetch_sockets().await;
        let sockets = fetched.iter().map(|socket| {
            json!({ "id": socket.id, "rooms": socket.rooms, "data": socket.data, "handshake": socket.handshake })
        });
        ack.send(&json!({ "sockets": sockets.collect::<Vec<_>>(), "servers": fetched.missing_nodes.len() }));
    });
    namespace.on("serverSideEmit", async |socket, (event, arg): (String, Value), ack| {
        socket.namespace().server_side_emit(&event, &arg)?;
        ack.send(&());
        Ok(())
    });
    namespace.on("serverSideAsk", async |socket, (event, arg): (String, Value), ack| {
        let answers = socket.namespace().server_side_emit_with_ack::<Value>(&event, &arg).await?;
        ack.send(&json!({ "received": answers.received, "servers": answers.missing_nodes.len() }));
        Ok(())
    });
    namespace.on("set", async |socket, (name, value): (String, Value), ack| {
        socket.data().set(&name, &value)?;
        ack.send(&());
        Ok(())
    });
}

fn to(socket: &Socket, whom: Whom) -> Broadcast {
    let everybody = socket.namespace().broadcast().except(whom.except);
    match whom.rooms {
        Some(rooms) => everybody.to(rooms),
        None => everybody,
    }
}

/// The arguments behind the first so many, binary included.
fn behind(args: &Args, first: usize) -> Result<Args, denrei::socketio::ArgsError> {
    let rest: Vec<_> = args.raw().into_iter().skip(first).map(RawValue::get).collect();
    Args::new(format!("[{}]", rest.join(",")), args.attachments().to_vec())
}
