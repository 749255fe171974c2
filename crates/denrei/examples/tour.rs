//! A tour of Socket.IO's handlers: every feature in a few lines, each in a namespace of its own.
//!
//! `cargo run -p denrei --example tour -- 3000`, then for example
//!
//! ```js
//! const socket = io("http://127.0.0.1:3000/rooms");
//! socket.on("said", (text) => console.log(text));
//! await socket.emitWithAck("join", ["news"]);
//! ```
//!
//! | namespace | shows |
//! |---|---|
//! | `/` | who a client is: handshake, user, data, the application's state |
//! | `/tenant-7`, `/club-x` | namespaces by pattern and by function |
//! | `/rooms` | `to`, `in`, `except`, `broadcast` |
//! | `/flags` | `volatile`, `compress`, `local` |
//! | `/binary` | bytes both ways |
//! | `/listeners` | several listeners, `once`, `off`, catch-all in and out |
//! | `/leaving` | `disconnecting`, `disconnect`, and why |
//! | `/guarded` | middlewares of the server, the namespace and its events |
//! | `/limited` | a rate limit for each event |
//! | `/acks` | acks both ways, time-outs, errors, panics |
//! | `/news`, `/brief` | recovery of who was cut off |
//! | `/operators` | sockets that are fetched and acted on |
//!
//! | word behind the port | |
//! |---|---|
//! | `--tower` | served by hyper as a plain tower service, instead of by `axum::serve` |
//! | `--msgpack` | packets are written in msgpack; clients must be set to the same |
//! | `--ping-ms N` | the time between pings, and for their answers |
//!
//! The first line that it prints is its address.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::routing::get;
use bytes::Bytes;
use denrei::socketio::{Args, Failure, InvalidNamespace, Io, Namespace, Parser, Raw, Recovery, Share, Socket};
use denrei::{Config, Denrei, Secret};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::BufStream;
use tokio::net::TcpListener;
use tower::ServiceExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let port: u16 = words.next().ok_or("usage: tour PORT [--tower] [--msgpack] [--ping-ms N]")?.parse()?;
    let mut config = Config::default();
    // A token says who a client is, and nobody needs one. Yours is no constant in a public file.
    config.access.secret = Some(Secret::new("a secret of at least thirty-two bytes")?);
    config.access.anonymous = true;
    // Clients of Socket.IO 2.
    config.socketio.allow_v3 = true;
    let mut serve_by_tower = false;
    while let Some(word) = words.next() {
        match &*word {
            "--tower" => serve_by_tower = true,
            "--msgpack" => config.socketio.parser = Parser::Msgpack,
            "--ping-ms" => {
                let time = Duration::from_millis(words.next().ok_or("--ping-ms needs a number")?.parse()?);
                (config.socketio.ping_interval, config.socketio.ping_timeout) = (time, time);
            }
            other => return Err(format!("{other} is none of --tower, --msgpack, --ping-ms").into()),
        }
    }
    let denrei = Denrei::new(config);
    tour(denrei.io())?;
    let own =
        Router::new().route("/hello", get(async || "hello")).fallback(async || (StatusCode::NOT_FOUND, "nothing"));
    let app = own.merge(denrei.router());
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    if serve_by_tower {
        tower(listener, app).await?;
    } else {
        // With the connections' addresses: `handshake.address` is one of them.
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    }
    Ok(())
}

/// Any server that calls a tower service can have the router, over any stream: this one is buffered, as one with TLS is.
async fn tower(listener: TcpListener, app: Router) -> std::io::Result<()> {
    loop {
        let (stream, from) = listener.accept().await?;
        let service = app.clone().map_request(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(ConnectInfo(from));
            request.map(axum::body::Body::new) as Request
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(BufStream::new(stream)), TowerToHyperService::new(service))
            .with_upgrades();
        tokio::spawn(connection);
    }
}

fn tour(io: &Io) -> Result<(), InvalidNamespace> {
    clients(io);
    dynamic(io)?;
    rooms(&io.of("/rooms")?);
    flags(&io.of("/flags")?);
    binary(&io.of("/binary")?);
    listeners(&io.of("/listeners")?);
    leaving(&io.of("/leaving")?);
    guarded(io, &io.of("/guarded")?);
    limited(&io.of("/limited")?);
    acks(&io.of("/acks")?);
    news(&io.of("/news")?, Duration::from_secs(120));
    news(&io.of("/brief")?, Duration::from_millis(300));
    operators(&io.of("/operators")?);
    Ok(())
}

/// What handlers of all namespaces share.
#[derive(Default)]
struct Visitors(AtomicU64);

fn clients(io: &Io) {
    io.provide(Visitors::default());
    io.on_connect(async |socket| {
        let number = socket.state::<Visitors>().0.fetch_add(1, Ordering::Relaxed) + 1;
        socket.data().set("number", &number)?;
        socket.emit("welcome", &(socket.id(), number))?;
        socket.on("who am i", async |socket, (), ack| {
            ack.send(&json!({"id": socket.id(), "user": socket.user(), "rooms": socket.rooms()}));
        });
        socket.on("handshake", async |socket, (), ack| {
            ack.send(&socket.handshake().to_json(&socket.auth()?));
            Ok(())
        });
        socket.on("remember", async |socket, (name, value): (String, Value), ack| {
            socket.data().set(&name, &value)?;
            ack.send(&socket.data().to_json());
            Ok(())
        });
        // All connections of a user who has shown a token are in a room of their own.
        socket.on("tell user", async |socket, (user, text): (String, String), _| {
            socket.to(format!("user:{user}")).emit("told", &(socket.user(), text))?;
            Ok(())
        });
        socket.on("join", async |socket, room: String, ack| {
            socket.join(room)?;
            ack.send(&socket.rooms());
            Ok(())
        });
        Ok(())
    });
}

/// Namespaces that come to be when a client asks for them.
fn dynamic(io: &Io) -> Result<(), InvalidNamespace> {
    io.of("/tenant-{id}")?.on_connect(async |socket| {
        socket.emit("tenant", &socket.namespace().part("id"))?;
        socket.on("tell", async |socket, text: String, _| {
            socket.namespace().emit("told", &text)?;
            Ok(())
        });
        Ok(())
    });
    // The function says which namespaces there are. Who may come in, and why not, a middleware says better.
    let clubs = io.of_fn(async |name, _| ["/club-chess", "/club-go"].contains(&&*name));
    clubs.use_fn(async |socket| match socket.auth::<Value>()?["member"] == true {
        true => Ok(()),
        false => Err(Failure::new("members only")),
    });
    clubs.on_connect(async |socket| {
        socket.emit("club", socket.namespace().name())?;
        Ok(())
    });
    Ok(())
}

/// Whom something is said to: rooms, or ids of sockets.
#[derive(Deserialize)]
struct Say {
    to: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    text: Value,
}

fn rooms(namespace: &Namespace) {
    // WebSockets, event streams, polls and POSTs come to a room by its name in the server, `sio:/rooms:ROOM`.
    namespace.share(Share::Publish);
    // What is registered with the namespace is there once, and holds for all of its sockets.
    namespace.on("join", async |socket, rooms: Vec<String>, ack| {
        socket.join(rooms)?;
        ack.send(&socket.rooms());
        Ok(())
    });
    namespace.on("leave", async |socket, room: String, ack| {
        socket.leave_room(&room);
        ack.send(&socket.rooms());
    });
    // Everybody in one of the rooms but the sender, each once however many of the rooms it is in.
    namespace.on("say", async |socket, Say { to, except, text }: Say, _| {
        socket.to(to).except(except).emit("said", &text)?;
        Ok(())
    });
    // The sender too.
    namespace.on("announce", async |socket, Say { to, except, text }: Say, _| {
        socket.namespace().in_(to).except(except).emit("said", &text)?;
        Ok(())
    });
    namespace.on("broadcast", async |socket, text: Value, _| {
        socket.broadcast().emit("said", &text)?;
        Ok(())
    });
    namespace.on("ping", async |_, (), ack| ack.send("pong"));
}

fn flags(namespace: &Namespace) {
    namespace.on("volatile", async |socket, (count, length): (usize, usize), ack| {
        let text = "x".repeat(length);
        for number in 0..count {
            // Whoever cannot be written to at this moment misses it, and nothing queues up.
            socket.broadcast().volatile().emit("position", &(number, &text))?;
        }
        ack.send(&count);
        Ok(())
    });
    namespace.on("compress", async |socket, (compress, length): (bool, usize), ack| {
        socket.compress(compress).emit("text", &"x".repeat(length))?;
        ack.send(&());
        Ok(())
    });
    namespace.on("local", async |socket, text: String, _| {
        // Of several nodes this one only.
        socket.local().emit("text", &text)?;
        socket.namespace().local().emit("all", &text)?;
        Ok(())
    });
    namespace.on("ping", async |_, (), ack| ack.send("pong"));
}

#[derive(Deserialize, Serialize)]
struct Upload {
    name: String,
    /// Bytes are binary wherever they stand.
    head: Bytes,
    parts: Vec<Bytes>,
}

fn binary(namespace: &Namespace) {
    namespace.on("upload", async |socket, upload: Upload, ack| {
        socket.broadcast().emit("uploaded", &upload)?;
        let size: usize = upload.parts.iter().map(Bytes::len).sum();
        ack.send(&(size, upload.head));
        Ok(())
    });
    namespace.on("echo", async |socket, args: Raw, ack| {
        socket.emit("echoed", &args)?;
        ack.send(&args);
        Ok(())
    });
    namespace.on("checksum", async |socket, data: Bytes, ack| {
        let (bytes, sum): (Bytes, u64) = socket.emit_with_ack("sum?", &data).await?;
        ack.send(&(bytes == data, sum));
        Ok(())
    });
}

fn listeners(namespace: &Namespace) {
    namespace.on_connect(async |socket| {
        socket.on_any(async |socket, event, args| note(&socket, &format!("heard {event} {}", args.raw().len())));
        socket.on_any_outgoing(|socket, event, args| {
            // It runs before the event goes out, and nobody waits for it: no handler, and nothing async.
            let _ = note(socket, &format!("sent {event} {}", args.raw().len()));
        });
        socket.on("greet", async |socket, name: String, _| note(&socket, &format!("first {name}")));
        socket.once("greet", async |socket, name: String, _| note(&socket, &format!("once {name}")));
        let last = socket.on("greet", async |socket, name: String, _| note(&socket, &format!("last {name}")));
        // What comes from around it, a handler takes into each call.
        socket.on("take off", move |socket, (), ack| async move {
            socket.off(last);
            ack.send(&());
        });
        socket.on("take all off", async |socket, (), ack| {
            socket.off_event("greet");
            ack.send(&());
        });
        socket.on("notes", async |socket, (), ack| {
            socket.emit("notes follow", &(1, 2))?;
            ack.send(&socket.data().get::<Vec<String>>("notes"));
            socket.data().remove("notes");
            Ok(())
        });
    });
}

fn note(socket: &Socket, text: &str) -> Result<(), Failure> {
    let mut notes: Vec<String> = socket.data().get("notes").unwrap_or_default();
    notes.push(text.into());
    socket.data().set("notes", &notes)?;
    Ok(())
}

fn leaving(namespace: &Namespace) {
    namespace.on("join", async |socket, room: String, ack| {
        socket.join(room)?;
        ack.send(&());
        Ok(())
    });
    namespace.on("throw me out", async |socket, close: bool, ack| {
        ack.send("as you wish");
        // Of this namespace, or (`close`) of all, with the connection.
        socket.disconnect(close);
    });
    namespace.on_disconnecting(async |socket, reason| {
        // Where it was can still be told.
        socket.to(socket.rooms()).emit("leaving", &(socket.id(), socket.rooms(), reason.as_str()))?;
        Ok(())
    });
    namespace.on_disconnect(async |socket, reason| {
        socket.namespace().emit("left", &(socket.id(), socket.rooms(), reason.as_str()))?;
        Ok(())
    });
}

fn guarded(io: &Io, namespace: &Namespace) {
    // Before every namespace.
    io.use_fn(async |socket| match socket.handshake().query("banned") {
        Some(_) => Err(Failure::new("you are banned").data(&json!({"until": "tomorrow"}))),
        None => Ok(()),
    });
    namespace.use_fn(async |socket| {
        let auth: Value = socket.auth()?;
        if auth["word"] != "sesame" {
            return Err(Failure::new("not authorized").data(&json!({"code": 401, "hint": "say the word"})));
        }
        // What it finds out is there for the handlers; what it joins, the client is in when it comes in.
        socket.data().set("name", &auth["name"])?;
        socket.join("insiders")?;
        Ok(())
    });
    namespace.use_event(async |_, event, args| match &*event {
        "secret" => Err(Failure::new("not for you").data(&json!({"event": event, "arguments": args.raw().len()}))),
        _ => Ok(()),
    });
    namespace.on("secret", async |_, _: Raw, ack| ack.send("never"));
    namespace.on("name", async |socket, (), ack| {
        ack.send(&(socket.data().get::<String>("name"), socket.rooms()));
    });
}

/// So many events at once, and so many each second after that.
struct Rate {
    burst: f64,
    per_second: f64,
}

fn rate(event: &str) -> Option<Rate> {
    match event {
        "message" => Some(Rate { burst: 5.0, per_second: 10.0 }),
        "report" => Some(Rate { burst: 1.0, per_second: 0.01 }),
        _ => None,
    }
}

/// A token bucket for each event of each socket. It is kept in the socket's data, so that whoever cuts its connection and
/// recovers has the same bucket. Events of one socket come one after another: nobody else changes it in between.
async fn limit(socket: Socket, event: String, _: Args) -> Result<(), Failure> {
    let Some(Rate { burst, per_second }) = rate(&event) else { return Ok(()) };
    let bucket = format!("bucket:{event}");
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs_f64();
    let (level, at) = socket.data().get(&bucket).unwrap_or((burst, now));
    let level = burst.min(level + (now - at).max(0.0) * per_second);
    if level < 1.0 {
        let retry_after = ((1.0 - level) / per_second * 1000.0).ceil();
        return Err(Failure::new("too many of this event").data(&json!({"retryAfter": retry_after})));
    }
    socket.data().set(&bucket, &(level - 1.0, now))?;
    Ok(())
}

fn limited(namespace: &Namespace) {
    namespace.use_event(limit);
    for event in ["message", "report", "anything"] {
        namespace.on(event, async |_, value: Value, ack| ack.send(&value));
    }
}

fn acks(namespace: &Namespace) {
    namespace.on("double", async |_, number: u64, ack| ack.send(&(number * 2)));
    namespace.on("split", async |_, text: String, ack| {
        // A tuple is several arguments.
        ack.send(&(text.len(), text.to_uppercase()));
    });
    // Of two listeners the first that answers is heard: a callback is called once.
    namespace.on("race", async |_, (), ack| ack.send("first"));
    namespace.on("race", async |_, (), ack| ack.send("second"));
    namespace.on("never", async |_, (), _| ());
    namespace.on("slow", async |_, ms: u64, ack| {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        ack.send(&ms);
    });
    namespace.on("page", async |_, (number, waits): (usize, bool), ack| {
        if waits {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ack.send(&(number, "x".repeat(100_000)));
    });
    namespace.on("withdraw", async |_, amount: u32, ack| {
        if amount > 100 {
            return Err(Failure::new("too much").data(&json!({"most": 100})));
        }
        ack.send(&json!({"status": "ok"}));
        Ok(())
    });
    namespace.on("panic", async |_, numbers: Vec<u64>, ack| ack.send(&numbers[0]));
    // A handler may wait for its own client.
    namespace.on("quiz", async |socket, question: String, ack| {
        match socket.timeout(Duration::from_secs(1)).emit_with_ack::<String>("question", &question).await {
            Ok(answer) => ack.send(&json!({ "answer": answer })),
            Err(error) => ack.send(&json!({ "error": error.to_string() })),
        }
    });
    namespace.on("survey", async |socket, ms: u64, ack| {
        let patience = Duration::from_millis(ms);
        let answers = socket.namespace().timeout(patience).emit_with_ack::<u64>("vote", "tea?").await?;
        let whole = answers.is_complete();
        ack.send(&json!({
            "complete": whole,
            "votes": answers.received,
            "missing": answers.missing,
            "invalid": answers.invalid,
        }));
        Ok(())
    });
    // More than may be awaited of one client: the rest fails at once.
    namespace.on("interrogate", async |socket, count: usize, ack| {
        let asked: Vec<_> = (0..count).map(|number| socket.emit_with_ack::<u64>("number?", &number)).collect();
        let (mut sum, mut failed) = (0, Vec::new());
        for answer in asked {
            match answer.await {
                Ok(number) => sum += number,
                Err(error) => failed.push(error.to_string()),
            }
        }
        ack.send(&json!({"sum": sum, "failed": failed}));
    });
}

fn news(namespace: &Namespace, patience: Duration) {
    namespace.recovery(Recovery { max_disconnection: patience, ..Recovery::default() });
    namespace.on("join", async |socket, room: String, ack| {
        socket.join(room)?;
        ack.send(&());
        Ok(())
    });
    namespace.on("remember", async |socket, value: Value, ack| {
        socket.data().set("value", &value)?;
        ack.send(&());
        Ok(())
    });
    namespace.on("publish", async |socket, (room, text): (String, Value), ack| {
        socket.namespace().to(room).emit("news", &text)?;
        ack.send(&());
        Ok(())
    });
    namespace.on("glance", async |socket, text: Value, ack| {
        socket.namespace().volatile().emit("glance", &text)?;
        ack.send(&());
        Ok(())
    });
    namespace.on("state", async |socket, (), ack| {
        let value: Option<Value> = socket.data().get("value");
        ack.send(&json!({"recovered": socket.recovered(), "rooms": socket.rooms(), "value": value}));
    });
    namespace.on("count", async |socket, (), ack| ack.send(&socket.namespace().socket_count()));
    namespace.on_disconnect(async |socket, reason| {
        socket.namespace().volatile().emit("left", &(socket.id(), reason.as_str()))?;
        Ok(())
    });
    let here = namespace.clone();
    namespace.on_session_expired(move |session| {
        let here = here.clone();
        async move {
            here.emit("expired", &(session.id, session.rooms))?;
            Ok(())
        }
    });
}

fn operators(namespace: &Namespace) {
    namespace.on_connect(async |socket| {
        let auth: Value = socket.auth()?;
        socket.data().set("name", &auth["name"])?;
        Ok(())
    });
    namespace.on("who", async |socket, rooms: Vec<String>, ack| {
        let everybody = socket.namespace().broadcast();
        let those = if rooms.is_empty() { everybody } else { everybody.in_(rooms) };
        let names: Vec<Value> =
            those.fetch_sockets().await.into_iter().map(|one| json!([one.id, one.data["name"], one.rooms])).collect();
        ack.send(&names);
    });
    namespace.on("join all", async |socket, (from, to): (String, String), ack| {
        socket.namespace().in_(from).sockets_join(to);
        ack.send(&());
    });
    namespace.on("leave all", async |socket, (from, room): (String, String), ack| {
        socket.namespace().in_(from).sockets_leave(room);
        ack.send(&());
    });
    namespace.on("disconnect all", async |socket, (room, close): (String, bool), ack| {
        socket.to(room).disconnect_sockets(close);
        ack.send(&());
    });
    namespace.on("whisper", async |socket, (id, text): (String, String), ack| {
        // By the id of a socket: its own room, or what was fetched.
        let fetched = socket.namespace().in_(&id).fetch_sockets().await;
        for other in &*fetched {
            other.emit("whispered", &text)?;
        }
        ack.send(&fetched.len());
        Ok(())
    });
}
