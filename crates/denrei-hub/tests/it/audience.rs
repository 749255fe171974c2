//! Messages that no room numbers: for several rooms at once, for single connections, told in each reader's dialect.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Audience, Dialect, Emit, Message, Notice, Outbox, Reader, Wire};

use crate::harness::{LINES, MARKED, Node, draft, name, until};

const A: &str = "signal:a";
const B: &str = "signal:b";
const C: &str = "signal:c";

struct Peer {
    outbox: Arc<Outbox>,
    _readers: Vec<Reader>,
}

impl Peer {
    fn new(node: &Node, client: &str, rooms: &[&str]) -> Self {
        Self::speaking(node, client, rooms, Dialect::default())
    }

    fn speaking(node: &Node, client: &str, rooms: &[&str], dialect: Dialect) -> Self {
        let outbox = node.hub.outbox(client.into(), LINES, None, node.hub.shard());
        outbox.await_bytes(true);
        let readers = rooms.iter().map(|room| node.hub.attach_now(&outbox, &name(room), dialect)).collect();
        Self { outbox, _readers: readers }
    }

    /// The payloads that it was told, in order.
    fn told(&self) -> Vec<String> {
        let text: Vec<u8> = self.outbox.take().into_iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        text.lines().map(|line| line.rsplit('|').next().unwrap().into()).collect()
    }
}

fn emit(payload: &str, volatile: bool) -> Arc<Message> {
    Arc::new(Message::emit(draft(A, payload), Emit { volatile, ..Emit::default() }))
}

fn rooms(names: &[&str]) -> Audience {
    Audience { rooms: names.iter().map(|room| name(room)).collect(), ..Audience::default() }
}

/// Waits until a peer was told something, and a little longer for whoever should not be.
async fn settle(peer: &Peer) {
    until(|| peer.outbox.queued() > 0).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
}

#[tokio::test]
async fn whoever_is_in_several_rooms_is_told_once_and_whoever_is_excepted_never() {
    for shards in [1, 3] {
        let node = Node::alone(shards);
        let both = Peer::new(&node, "both", &[A, B]);
        let one = Peer::new(&node, "one", &[B]);
        let excepted = Peer::new(&node, "excepted", &[A, C]);
        let left_out = Peer::new(&node, "left out", &[A]);
        let single = Peer::new(&node, "single", &[]);
        let audience = Audience {
            connections: vec![Arc::clone(&single.outbox), Arc::clone(&both.outbox)],
            except: vec![name(C)],
            except_connections: vec![left_out.outbox.number()],
            ..rooms(&[A, B])
        };
        node.hub.scatter(audience, &emit("x", false));
        for peer in [&both, &one, &single] {
            settle(peer).await;
            assert_eq!(peer.told(), ["x"]);
        }
        for peer in [&excepted, &left_out] {
            assert!(peer.told().is_empty());
        }
    }
}

#[tokio::test]
async fn what_one_caller_sends_to_a_room_to_several_and_to_one_keeps_its_order() {
    let node = Node::alone(1);
    let peer = Peer::new(&node, "a", &[A, B]);
    let mut expected = Vec::new();
    for n in 0..100 {
        node.hub.scatter(rooms(&[A]), &emit(&format!("room {n}"), false));
        node.hub.scatter(rooms(&[A, B]), &emit(&format!("rooms {n}"), false));
        peer.outbox.send(LINES, Bytes::from(format!("one {n}\n")));
        expected.extend([format!("room {n}"), format!("rooms {n}"), format!("one {n}")]);
        if n % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    peer.outbox.send(LINES, Bytes::from_static(b"end\n"));
    expected.push("end".into());
    let mut told = Vec::new();
    until(|| {
        told.extend(peer.told());
        told.last().is_some_and(|last| last == "end")
    })
    .await;
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_volatile_message_is_dropped_for_whoever_does_not_wait_for_it() {
    let node = Node::alone(1);
    let (waits, does_not) = (Peer::new(&node, "waits", &[A]), Peer::new(&node, "does not", &[A]));
    does_not.outbox.await_bytes(false);
    node.hub.scatter(rooms(&[A]), &emit("1", false));
    node.hub.scatter(rooms(&[A]), &emit("2", true));
    node.hub.scatter(rooms(&[A]), &emit("3", false));
    settle(&waits).await;
    assert_eq!(waits.told(), ["1", "2", "3"]);
    assert_eq!(does_not.told(), ["1", "3"]);
}

#[tokio::test]
async fn readers_of_one_room_are_told_each_in_its_dialect() {
    let node = Node::alone(1);
    let plain = Peer::new(&node, "plain", &[A]);
    let other = Peer::speaking(&node, "other", &[A], Dialect(1));
    node.hub.scatter(rooms(&[A]), &emit("x", false));
    settle(&plain).await;
    assert_eq!(plain.told(), ["x"]);
    let told: Vec<u8> = other.outbox.take().into_iter().flatten().collect();
    assert!(told.starts_with(b"1:"), "{}", String::from_utf8_lossy(&told));
}

#[tokio::test]
async fn an_upgrade_rewrites_what_is_queued_and_what_others_encoded_before() {
    let node = Node::alone(1);
    let peer = Peer::new(&node, "a", &[A]);
    peer.outbox.send(LINES, Bytes::from_static(b"queued\n"));
    peer.outbox.upgrade(None, MARKED, |bytes| [b"translated ", &*bytes].concat().into());
    assert_eq!(peer.outbox.wire(), MARKED);
    peer.outbox.send(LINES, Bytes::from_static(b"late\n"));
    node.hub.scatter(rooms(&[A]), &emit("x", false));
    until(|| peer.outbox.queued() > 40).await;
    let told: Vec<u8> = peer.outbox.take().into_iter().flatten().collect();
    let told = String::from_utf8(told).unwrap();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines[..2], ["translated queued", "translated late"]);
    assert!(lines[2].starts_with('#'), "in the new wire at once: {told}");
    peer.outbox.upgrade(None, Wire(0), |bytes| bytes);
    assert_eq!(peer.outbox.wire(), MARKED, "once is all");
}

#[tokio::test]
async fn who_insists_is_told_of_what_could_not_be_queued() {
    let node = Node::alone(1);
    let (insists, does_not) = (Peer::new(&node, "insists", &[A]), Peer::new(&node, "does not", &[A]));
    insists.outbox.insist();
    let large = "x".repeat(700_000);
    for _ in 0..2 {
        node.hub.scatter(rooms(&[A]), &emit(&large, false));
    }
    let mut notices = Vec::new();
    until(|| {
        notices.extend(insists.outbox.notices());
        notices.contains(&Notice::Overflow)
    })
    .await;
    assert!(!does_not.outbox.notices().contains(&Notice::Overflow));
    assert_eq!(does_not.told().len(), 1, "what was queued stays");
    does_not.outbox.insist();
    for _ in 0..2 {
        does_not.outbox.send(LINES, Bytes::from(large.clone()));
    }
    until(|| does_not.outbox.notices().contains(&Notice::Overflow)).await;
}
