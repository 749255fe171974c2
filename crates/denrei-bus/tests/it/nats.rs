//! NATS: the laws of the hub's seams, and what the laws do not speak of.

mod channels;
mod faults;
mod log;
mod measure;
mod server;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denrei_bus::{Joined, Options, join};
use denrei_hub::laws::{bus_laws, channel_laws, lease_laws, log_laws, shelf_laws};
use denrei_hub::{
    Appended, Class, Classes, Draft, Extent, Keep, Log, LogError, Name, Page, Position, RoomName, Window,
};
use futures_util::FutureExt;
use server::Server;
use tokio::sync::oneshot;

#[test]
fn the_bus_obeys_the_laws() {
    let server = Server::start();
    bus_laws(|nodes| (0..nodes).map(|number| server.node(number).bus).collect());
}

#[test]
fn the_log_obeys_the_laws() {
    let server = Server::start();
    log_laws(|| server.node(1).log);
}

#[test]
fn leases_obey_the_laws() {
    let server = Server::start();
    lease_laws(|| [server.node(1).leases, server.node(2).leases]);
}

#[test]
fn the_shelf_obeys_the_laws() {
    let server = Server::start();
    shelf_laws(|| [server.node(1).shelf, server.node(2).shelf]);
}

#[test]
fn channels_obey_the_laws() {
    let server = Server::start();
    channel_laws(".#:/-_~!@$%^&()+=[]{}|;'\",?<\\é", || [server.node(1).channels, server.node(2).channels]);
}

impl Server {
    /// A node of the server's, with the classes that rooms have by default.
    fn node(&self, number: usize) -> Joined {
        self.node_with(number, Classes::default())
    }

    fn node_with(&self, number: usize, classes: Classes) -> Joined {
        node_at(&self.address(), number, classes)
    }
}

/// Joins without waiting for a server, which must not be needed.
fn node_at(address: &str, number: usize, classes: Classes) -> Joined {
    let options =
        Options { node: name(&format!("node {number}")), prefix: "denrei".into(), classes: Arc::new(classes) };
    join(address, options).now_or_never().expect("joining waits for nothing").expect("the address is fine")
}

/// Classes with one of memory rooms.
fn live(window: Window) -> Classes {
    let mut classes = Classes::default();
    classes.set("live", Class { keep: Keep::Memory(window) });
    // The stream keeps as much as the largest window.
    classes.set("emits", Class { keep: Keep::None });
    classes
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn room(text: &str) -> RoomName {
    name(&format!("live:{text}"))
}

fn draft(room: &RoomName, payload: &str) -> Draft {
    Draft { origin: 9, ..Draft::new(room.clone(), name("message"), Bytes::copy_from_slice(payload.as_bytes()), 1) }
}

fn with_id(room: &RoomName, id: &str, payload: &str) -> Draft {
    Draft { id: Some(name(id)), ..draft(room, payload) }
}

/// Appends now; the answer can be awaited later.
fn submit(log: &Arc<dyn Log>, draft: Draft) -> impl Future<Output = Result<Appended, LogError>> + use<> {
    let (tell, told) = oneshot::channel();
    log.append(draft, Box::new(move |outcome| drop(tell.send(outcome))));
    async { within("an append", told).await.expect("every draft is answered") }
}

async fn append(log: &Arc<dyn Log>, draft: Draft) -> Appended {
    submit(log, draft).await.expect("the log takes it")
}

async fn read(log: &Arc<dyn Log>, room: &RoomName, extent: Extent) -> Page {
    within("a page", log.read(room, extent)).await.expect("the log can be read")
}

async fn head(log: &Arc<dyn Log>, room: &RoomName) -> Position {
    within("a head", log.heads(vec![room.clone()])).await.expect("the log can be read").remove(0)
}

fn numbers(page: &Page) -> Vec<u64> {
    page.messages.iter().map(|message| message.seq.0).collect()
}

fn payloads(page: &Page) -> Vec<String> {
    page.messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
}

async fn within<T>(what: &str, answer: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), answer).await {
        Ok(answer) => answer,
        Err(_) => panic!("{what}: no answer"),
    }
}

/// Tries until it works.
async fn eventually<T, E: std::fmt::Display>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let mut last = String::new();
    for _ in 0..100 {
        match attempt().await {
            Ok(outcome) => return outcome,
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: {last}")
}
