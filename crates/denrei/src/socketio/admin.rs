//! Namespace `/admin` speaks the protocol of Socket.IO's Admin UI, as far as it needs no record of every event: what the
//! server has (`config`, `server_stats` every two seconds) and what an operator may do with it (`emit`, `join`, `leave`,
//! `_disconnect`). It is for identities with the role `admin`; in development mode for everybody.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use denrei_hub::random_token;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::app::{App, now_ms};
use crate::socketio::{Args, Broadcast, Failure, Io, Raw, Socket};

/// What the server counts of Engine.IO connections.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) packets_in: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    /// Clients in namespace `/` while it serves rooms.
    pub(crate) in_rooms: AtomicUsize,
}

const EVERY: Duration = Duration::from_secs(2);

/// What the UI may ask for.
const FEATURES: [&str; 8] =
    ["EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT", "AGGREGATED_EVENTS"];

/// Opens the namespace.
pub(crate) fn install(app: &Arc<App>) {
    let admin = app.io.of("/admin").expect("it is a name of a namespace");
    let development = app.access().development;
    admin.use_fn(move |socket| {
        let roles = &socket.handshake().identity().roles;
        let allowed = development || roles.iter().any(|role| role == "admin");
        async move { if allowed { Ok(()) } else { Err(Failure::new("invalid credentials")) } }
    });
    let (weak, started, server) = (Arc::downgrade(app), Instant::now(), random_token(12));
    admin.on_connect(move |socket| {
        let (app, server) = (Weak::clone(&weak), server.clone());
        async move {
            socket.emit("config", &json!({ "supportedFeatures": FEATURES }))?;
            tokio::spawn(report(app, socket, server, started));
            Ok(())
        }
    });
    let act = |event: &str, what: fn(&Io, &[&RawValue]) -> Option<()>| {
        let app = Arc::downgrade(app);
        admin.on(event, move |_, args: Raw, _| {
            let done = app.upgrade().and_then(|app| what(&app.io, &args.0.raw()));
            async move { done.ok_or_else(|| Failure::new("there is no such namespace, or a field is wrong")) }
        });
    };
    act("emit", |io, args| {
        let [namespace, filter, event, rest @ ..] = args else { return None };
        let rest: Vec<&str> = rest.iter().map(|raw| raw.get()).collect();
        let args = Args::new(format!("[{}]", rest.join(",")), Vec::new()).ok()?;
        audience(io, namespace, Some(filter))?.emit(&text(event)?, &Raw(args)).ok()
    });
    act("join", |io, args| {
        let [namespace, room, filter @ ..] = args else { return None };
        let room = text(room)?;
        audience(io, namespace, filter.first().copied()).map(|sockets| sockets.sockets_join(room))
    });
    act("leave", |io, args| {
        let [namespace, room, filter @ ..] = args else { return None };
        let room = text(room)?;
        audience(io, namespace, filter.first().copied()).map(|sockets| sockets.sockets_leave(room))
    });
    act("_disconnect", |io, args| {
        let [namespace, close, filter @ ..] = args else { return None };
        let close = serde_json::from_str(close.get()).ok()?;
        audience(io, namespace, filter.first().copied()).map(|sockets| sockets.disconnect_sockets(close))
    });
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// The sockets of a namespace that are in a room, or all of them without a filter.
fn audience(io: &Io, namespace: &RawValue, filter: Option<&RawValue>) -> Option<Broadcast> {
    let name = text(namespace)?;
    let namespace = io.namespaces().into_iter().find(|known| known.name() == name)?;
    match filter.map_or(Some(Value::Null), |filter| serde_json::from_str(filter.get()).ok())? {
        Value::String(room) => Some(namespace.to(room)),
        Value::Null => Some(namespace.broadcast()),
        _ => None,
    }
}

/// Tells an operator every two seconds what the server has, until either goes.
async fn report(app: Weak<App>, socket: Socket, server: String, started: Instant) {
    let mut before = [0; 4];
    while socket.is_connected()
        && let Some(app) = app.upgrade()
    {
        let tally = &app.desks.tally;
        let now = [&tally.opened, &tally.closed, &tally.packets_in, &tally.bytes_in]
            .map(|counter| counter.load(Ordering::Relaxed));
        let names = ["rawConnection", "rawDisconnection", "packetsIn", "bytesIn"];
        let events = names.iter().zip(now).zip(before).filter(|((_, now), before)| now > before);
        let events = events.map(|((name, now), before)| {
            json!({ "timestamp": now_ms(), "type": name, "subType": null, "count": now - before })
        });
        let namespaces = app.io.namespaces();
        let described = |name: &str, sockets: usize| json!({ "name": name, "socketsCount": sockets });
        let rooms = (!app.io.takes("/")).then(|| described("/", tally.in_rooms.load(Ordering::Relaxed)));
        let namespaces = namespaces.iter().map(|namespace| described(namespace.name(), namespace.socket_count()));
        let (clients, polling) = app.desks.counts();
        let stats = json!({
            "serverId": server,
            "hostname": "denrei",
            "pid": std::process::id(),
            "uptime": started.elapsed().as_secs(),
            "clientsCount": clients,
            "pollingClientsCount": polling,
            "aggregatedEvents": events.collect::<Vec<_>>(),
            "namespaces": rooms.into_iter().chain(namespaces).collect::<Vec<_>>(),
        });
        before = now;
        drop(app);
        if socket.volatile().emit("server_stats", &stats).is_err() {
            return;
        }
        tokio::time::sleep(EVERY).await;
    }
}
