//! The path of a message, step by step, through a real server and real sockets: `ARCHITECTURE.md` as a test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use axum::Router;
use denrei::{Config, Denrei, Parts, Place};
use denrei_proto::ws::{Decoder, Event, Limits, testing};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

#[tokio::test]
async fn a_message_goes_from_one_transport_to_the_others_in_order_and_a_reader_resumes_elsewhere() {
    // A server: a hub with one shard, the front door, no store.
    let mut config = Config::default();
    config.access.anonymous = true;
    let (denrei, mut shards) = Denrei::with(config, Parts::default());
    let shard = shards.remove(0);
    let places = vec![Place { shard: shard.handle().clone(), runtime: Handle::current() }];
    tokio::spawn(shard.run());
    tokio::spawn(denrei.clone().run());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn({
        let denrei = denrei.clone();
        async move { denrei.serve([listener.into()], places, Router::new(), async { drop(stopped.await) }).await }
    });

    // 1. The front door reads the head of a request and makes it a WebSocket; the server speaks first.
    let mut bob = Socket::open(&address).await;
    let welcome = bob.frame().await;
    assert_eq!(welcome["type"], "welcome");

    // 2. A join makes the connection a reader of the room, behind a head that is still 0; the reply comes first.
    bob.send(json!({"type": "join", "room": "live:lobby", "ref": 1})).await;
    let reply = bob.frame().await;
    assert_eq!(
        (&reply["ref"], &reply["payload"]["seq"], &reply["payload"]["members"]),
        (&json!(1), &json!(0), &json!(1))
    );

    // 3. A POST is a draft; the room's log gives it number 1; 201 says so.
    let (status, published) = request(&address, "POST", "/api/rooms/live:lobby/events", r#"{"payload":"hi"}"#).await;
    assert_eq!((status, &published["seq"], &published["duplicate"]), (201, &json!(1), &json!(false)));

    // 4. The room wakes the shard, the shard writes the frame to Bob's socket.
    let event = bob.frame().await;
    assert_eq!((&event["type"], &event["payload"], &event["seq"]), (&json!("broadcast"), &json!("hi"), &json!(1)));
    let position = format!("{}:{}", event["epoch"].as_str().unwrap(), event["seq"]);
    assert_eq!(event["epoch"], published["epoch"]);

    // 5. Bob publishes too: he gets a reply with the number, not his own broadcast.
    bob.send(json!({"type": "broadcast", "room": "live:lobby", "payload": "ho", "ref": 2})).await;
    let reply = bob.frame().await;
    assert_eq!((&reply["type"], &reply["payload"]["seq"]), (&json!("reply"), &json!(2)));

    // 6. Bob leaves the WebSocket, and reads on with a poll from where he was: his own message is part of the log.
    bob.stream.shutdown().await.unwrap();
    let path = format!("/api/rooms/live:lobby/events?since={position}&wait=5");
    let (status, poll) = request(&address, "GET", &path, "").await;
    assert_eq!((status, poll["events"].as_array().unwrap().len(), &poll["gap"]), (200, 1, &json!(false)));
    assert_eq!((&poll["events"][0]["payload"], &poll["events"][0]["seq"]), (&json!("ho"), &json!(2)));

    // 7. Nothing is left behind but the log.
    let hub = denrei.hub().clone();
    let empty = async {
        while hub.connections() + hub.rooms() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), empty).await.expect("the connection's rooms are left");

    // 8. The server stops when it is told to.
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), serving).await.expect("the server stops").unwrap();
}

/// A WebSocket client of a few lines: the test has no other party to trust.
struct Socket {
    stream: TcpStream,
    arrived: Vec<u8>,
}

impl Socket {
    async fn open(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut socket = Self { stream, arrived: Vec::new() };
        while !socket.arrived.windows(4).any(|window| window == b"\r\n\r\n") {
            socket.read().await;
        }
        let end = socket.arrived.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(socket.arrived.drain(..end).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        socket
    }

    async fn read(&mut self) {
        let read = self.stream.read_buf(&mut self.arrived);
        let read = tokio::time::timeout(Duration::from_secs(10), read).await.expect("the server says something");
        assert_ne!(read.unwrap(), 0, "the server has closed");
    }

    async fn send(&mut self, frame: Value) {
        self.stream.write_all(&testing::masked(0x81, [1, 2, 3, 4], frame.to_string().as_bytes())).await.unwrap();
    }

    /// The next JSON frame. The server's frames are masked again, so that the server's own decoder can read them.
    async fn frame(&mut self) -> Value {
        loop {
            if let Some((length, payload)) = unmasked(&self.arrived) {
                let mut masked = testing::masked(self.arrived[0], [9, 9, 9, 9], payload);
                let mut decoder = Decoder::new(Limits::default(), None);
                let (_, event) = decoder.decode(&mut masked).unwrap();
                let Some(Event::Text(text)) = event else { panic!("not a text message: {event:?}") };
                let frame = serde_json::from_str(text).unwrap();
                self.arrived.drain(..length);
                return frame;
            }
            self.read().await;
        }
    }
}

/// The first whole frame of a server: its length and payload.
fn unmasked(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        short => (2, usize::from(short)),
    };
    Some((head + length, bytes.get(head..head + length)?))
}

async fn request(address: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}
