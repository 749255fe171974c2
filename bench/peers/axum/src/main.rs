//! The server that nearly everyone writes first: axum and tokio's broadcast channel.
//!
//! ```text
//! denrei-bench-axum PORT [nodelay]
//!
//! GET /ws            everybody in one room; the sender does not get its own message
//! GET /room?r0001    joins that room; a message goes to the room that its first five characters name
//! GET /echo          echoes
//! GET /sse           the first room as an event stream
//! POST /pub          publishes the body to the first room
//! ```

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    extract::{
        RawQuery, State, WebSocketUpgrade,
        ws::{Message, Utf8Bytes, WebSocket},
    },
    response::sse::{Event, Sse},
    routing::{get, post},
    serve::ListenerExt,
};
use futures_util::{
    SinkExt, Stream, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_stream::wrappers::BroadcastStream;

/// A message and the number of its sender.
type Sender = broadcast::Sender<(u64, Utf8Bytes)>;

const NOBODY: u64 = 0;
const CAPACITY: usize = 1024;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().expect("usage: denrei-bench-axum PORT [nodelay]");
    // axum::serve leaves Nagle's algorithm on unless it is told otherwise.
    let nodelay = arguments.next().is_some_and(|word| word == "nodelay");
    let everybody: Sender = broadcast::channel(CAPACITY).0;
    let app = Router::new()
        .route(
            "/ws",
            get(|State(room): State<Sender>, up: WebSocketUpgrade| async { up.on_upgrade(|ws| join(ws, room)) }),
        )
        .route(
            "/room",
            get(|RawQuery(name): RawQuery, up: WebSocketUpgrade| async { up.on_upgrade(|ws| join_named(ws, name)) }),
        )
        .route("/echo", get(|up: WebSocketUpgrade| async { up.on_upgrade(echo) }))
        .route("/sse", get(stream))
        .route("/pub", post(publish))
        .with_state(everybody);
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("a free port");
    let listener = listener.tap_io(move |socket| drop(socket.set_nodelay(nodelay)));
    axum::serve(listener, app).await.expect("a listener that lasts");
}

async fn join(socket: WebSocket, room: Sender) {
    static NEXT: AtomicU64 = AtomicU64::new(NOBODY + 1);
    let me = NEXT.fetch_add(1, Ordering::Relaxed);
    let (out, incoming) = socket.split();
    let send = send_room(out, room.clone(), me);
    let receive = receive(incoming, move |text| drop(room.send((me, text))));
    either(send, receive).await;
}

async fn join_named(socket: WebSocket, name: Option<String>) {
    let (out, incoming) = socket.split();
    let send = async move {
        match name {
            Some(name) => send_room(out, named(&name), u64::MAX).await,
            None => std::future::pending().await,
        }
    };
    let receive = receive(incoming, |text| drop(named(&text[..5]).send((NOBODY, text))));
    either(send, receive).await;
}

fn named(name: &str) -> Sender {
    static ROOMS: Mutex<BTreeMap<String, Sender>> = Mutex::new(BTreeMap::new());
    let mut rooms = ROOMS.lock().expect("nobody panics under this lock");
    rooms.entry(name.to_owned()).or_insert_with(|| broadcast::channel(CAPACITY).0).clone()
}

async fn send_room(mut out: SplitSink<WebSocket, Message>, room: Sender, me: u64) {
    let mut messages = room.subscribe();
    loop {
        match messages.recv().await {
            Ok((from, _)) if from == me => {}
            Ok((_, text)) => {
                if out.send(Message::Text(text)).await.is_err() {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn receive(mut incoming: SplitStream<WebSocket>, publish: impl Fn(Utf8Bytes)) {
    while let Some(Ok(message)) = incoming.next().await {
        if let Message::Text(text) = message {
            publish(text);
        }
    }
}

/// Runs both in tasks of their own until one ends.
async fn either(send: impl Future<Output = ()> + Send + 'static, receive: impl Future<Output = ()> + Send + 'static) {
    let (mut send, mut receive) = (tokio::spawn(send), tokio::spawn(receive));
    tokio::select! {
        _ = &mut send => receive.abort(),
        _ = &mut receive => send.abort(),
    }
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let data = matches!(message, Message::Text(_) | Message::Binary(_));
        if data && socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn stream(State(room): State<Sender>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let messages = BroadcastStream::new(room.subscribe());
    Sse::new(messages.filter_map(async |message| Some(Ok(Event::default().data(message.ok()?.1.as_str())))))
}

async fn publish(State(room): State<Sender>, body: String) -> &'static str {
    // An error says that nobody listens.
    drop(room.send((NOBODY, body.into())));
    "ok"
}
