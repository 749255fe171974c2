//! Connections over real sockets: what is written, in what order, and what becomes of those who do not read.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Draft, Hub, HubConfig, Message, Notice, Outbox, OutboxLimits, Position, Seq, random_token};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use crate::harness::{
    Connecting, Connection, MARKED, Node, Peer, draft, name, narrow_pair, pair, parse, until, within,
};
use crate::history::Event;

const KILO: usize = 1024;

#[tokio::test]
async fn messages_of_one_turn_are_one_chunk() {
    let mut node = Node::alone(1);
    let connection = node.connect(Connecting::as_client("a"));
    connection.join("r").await;
    until(|| connection.told.lines().len() == 1).await;
    // On this one thread the shard cannot run in between.
    for number in 0..16 {
        node.hub.publish(draft("r", &number.to_string()), |_| {});
    }
    until(|| connection.told.lines().len() == 17).await;
    assert_eq!(connection.told.chunks.lock().unwrap().len(), 2, "the join, and one chunk of 16 messages");
}

#[tokio::test]
async fn a_chunk_is_bounded_whatever_was_published_at_once() {
    let mut node = Node::alone(1);
    let connection = node.connect(Connecting::as_client("a"));
    connection.join("r").await;
    until(|| connection.told.lines().len() == 1).await;
    let payload = "x".repeat(10 * KILO);
    for _ in 0..50 {
        node.hub.publish(draft("r", &payload), |_| {});
    }
    until(|| connection.told.lines().len() == 51).await;
    let longest = connection.told.chunks.lock().unwrap().iter().map(Bytes::len).max();
    assert!(longest < Some(200 * KILO), "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_reader_gets_every_message_in_order() {
    for shards in [1, 3] {
        let mut node = Node::alone(shards);
        let mut peers = Vec::new();
        let mut connections = Vec::new();
        for at in 0..9 {
            let (socket, mut peer) = pair().await;
            let connection = node.connect(Connecting::as_client(&at.to_string()).by(socket).on_shard(at % shards));
            connection.join("r").await;
            peers.push((peer.joined().await, peer));
            connections.push(connection);
        }
        publish(&node.hub, "r", 500).await;
        for (place, peer) in &mut peers {
            assert_eq!(peer.payloads("r", place, 500).await, counted(500));
        }
    }
}

#[tokio::test]
async fn each_wire_gets_its_own_frames() {
    let mut node = Node::alone(1);
    let plain = node.connect(Connecting::as_client("a"));
    let marked = node.connect(Connecting { wire: MARKED, ..Connecting::as_client("b") });
    plain.join("r").await;
    marked.join("r").await;
    for _ in 0..3 {
        node.publish(draft("r", "null")).await;
    }
    until(|| plain.told.lines().len() == 4 && marked.told.lines().len() == 4).await;
    let lines = plain.told.lines();
    assert!(lines[1..].iter().all(|line| line.starts_with("r|")), "{lines:?}");
    let lines = marked.told.lines();
    assert!(lines[1..].iter().all(|line| line.starts_with("#r|")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_reader_that_does_not_read_delays_no_one_and_holds_no_memory() {
    for shards in [1, 3] {
        let bytes = 64 * KILO;
        let config =
            HubConfig { shards, outbox: OutboxLimits { bytes, ..OutboxLimits::default() }, ..HubConfig::default() };
        let mut node = Node::start(config, None, None);
        let (socket, mut slow_peer) = narrow_pair().await;
        let slow = node.connect(Connecting::as_client("slow").by(socket));
        slow.join("r").await;
        let (socket, mut peer) = pair().await;
        let quick = node.connect(Connecting::as_client("quick").by(socket));
        quick.join("r").await;
        let place = peer.joined().await;
        let payload = "x".repeat(4 * KILO);
        for number in 0..500 {
            node.publish(draft("r", &payload)).await;
            let at = Position { seq: Seq(place.seq.0 + number), ..place.clone() };
            peer.payloads("r", &at, 1).await;
            // A chunk that finds the queue empty is taken whole; else the bound holds.
            assert!(slow.outbox.queued() <= bytes + 256 * KILO, "{} bytes are held", slow.outbox.queued());
        }
        until(|| slow.told.behind() > 0).await;
        let place = slow_peer.joined().await;
        let late = slow_peer.payloads("r", &place, 500).await;
        assert!(late.iter().all(|late| *late == payload), "once it reads, it gets all of it from the log");
        node.publish(draft("r", "live again")).await;
        let at = Position { seq: Seq(place.seq.0 + 500), ..place };
        assert_eq!(slow_peer.payloads("r", &at, 1).await, ["live again"]);
    }
}

#[tokio::test]
async fn a_slow_reader_of_a_room_without_a_log_loses_messages_and_stays() {
    let bytes = 16 * KILO;
    let mut node = Node::start(
        HubConfig { outbox: OutboxLimits { bytes, ..OutboxLimits::default() }, ..HubConfig::default() },
        None,
        None,
    );
    let (socket, mut peer) = narrow_pair().await;
    let slow = node.connect(Connecting::as_client("slow").by(socket));
    slow.join("signal:r").await;
    peer.joined().await;
    let payload = "x".repeat(KILO);
    for number in 0..2000 {
        node.publish(draft("signal:r", &format!("{number} {payload}"))).await;
        tokio::task::yield_now().await;
        assert!(slow.outbox.queued() <= bytes, "{} bytes are held", slow.outbox.queued());
    }
    assert_eq!(slow.told.behind(), 0, "there is no log to read");
    let mut last = None;
    let mut got = 0;
    // What was queued drains while new messages keep coming, until one of those comes through.
    while last < Some(2000) {
        node.publish(draft("signal:r", "2000 after")).await;
        let (_, event) = parse(&peer.line().await);
        let Event::Message { payload, .. } = event else { panic!("a message, not {event:?}") };
        let number: u64 = payload.split(' ').next().unwrap().parse().unwrap();
        assert!(Some(number) >= last, "what arrives is in order");
        last = Some(number);
        got += 1;
    }
    assert!(got < 2000, "some were dropped");
}

#[tokio::test]
async fn bytes_keep_their_order_when_the_socket_takes_them_in_parts() {
    let mut node = Node::alone(1);
    let (socket, mut peer) = narrow_pair().await;
    let connection = node.connect(Connecting::as_client("a").by(socket));
    connection.join("r").await;
    connection.join("s").await;
    let payload = random_token(64).repeat(500);
    for number in 0..20 {
        node.hub.publish(draft("r", &format!("{number}{payload}")), |_| {});
        node.hub.publish(draft("s", &format!("{number}{payload}")), |_| {});
        tokio::task::yield_now().await;
    }
    let (mut text, mut part) = (Vec::new(), [0; 777]);
    while text.iter().filter(|&&byte| byte == b'\n').count() < 42 {
        let read = within(peer.stream().read(&mut part)).await.unwrap();
        text.extend_from_slice(&part[..read]);
    }
    let text = String::from_utf8(text).unwrap();
    for room in ["r", "s"] {
        let of_room = text.lines().map(parse).filter(|(of, _)| of == room);
        let payloads: Vec<_> = of_room.filter_map(|(_, event)| message(event)).collect();
        let expected: Vec<_> = (0..20).map(|number| format!("{number}{payload}")).collect();
        assert!(payloads == expected, "room {room} has its 20 messages, whole and in order");
    }
}

#[tokio::test]
async fn a_turn_with_several_rooms_keeps_the_order_of_each() {
    let mut node = Node::alone(1);
    let (socket, mut peer) = pair().await;
    let connection = node.connect(Connecting::as_client("a").by(socket));
    let rooms: Vec<_> = (0..10).map(|room| format!("r{room}")).collect();
    for room in &rooms {
        connection.join(room).await;
        peer.joined().await;
    }
    for number in 0..50 {
        for room in &rooms {
            node.hub.publish(draft(room, &number.to_string()), |_| {});
        }
    }
    let mut next = vec![0; rooms.len()];
    for _ in 0..500 {
        let (room, event) = parse(&peer.line().await);
        let at = rooms.iter().position(|name| *name == room).unwrap();
        assert_eq!(message(event), Some(next[at].to_string()), "in room {room}");
        next[at] += 1;
    }
}

#[tokio::test]
async fn the_sender_does_not_get_its_own_message_unless_it_asked_for_an_echo() {
    for shards in [1, 3] {
        let mut node = Node::alone(shards);
        let sender = node.connect(Connecting::as_client("sender"));
        let echoed = node.connect(Connecting::as_client("echoed"));
        sender.join("r").await;
        echoed.attach(&name("r"), None, true).await.unwrap();
        let by = |connection: &Connection, payload: &str| Draft {
            from: Some(Arc::clone(connection.outbox.client())),
            origin: connection.outbox.number(),
            ..draft("r", payload)
        };
        for drafts in [by(&sender, "1"), by(&echoed, "2"), draft("r", "3"), by(&sender, "4"), draft("r", "5")] {
            node.hub.publish(drafts, |_| {});
        }
        until(|| payloads(&echoed).len() == 5 && payloads(&sender).len() == 3).await;
        assert_eq!(payloads(&sender), ["2", "3", "5"]);
        assert_eq!(payloads(&echoed), ["1", "2", "3", "4", "5"]);
    }
}

#[tokio::test]
async fn a_replay_leaves_nothing_out() {
    let mut node = Node::alone(1);
    let sender = node.connect(Connecting::as_client("sender"));
    let from = Some(Arc::clone(sender.outbox.client()));
    let by_sender = |payload| Draft { from: from.clone(), origin: sender.outbox.number(), ..draft("r", payload) };
    let first = node.publish(by_sender("before it joined")).await;
    let since = Position { seq: Seq::ZERO, ..first };
    sender.attach(&name("r"), Some(since), false).await.unwrap();
    node.publish(by_sender("after")).await;
    node.publish(draft("r", "theirs")).await;
    until(|| payloads(&sender).len() == 2).await;
    assert_eq!(payloads(&sender), ["before it joined", "theirs"]);
}

#[tokio::test]
async fn direct_messages_are_bounded_and_reach_who_is_here() {
    let bytes = 4 * KILO;
    let mut node = Node::start(
        HubConfig { outbox: OutboxLimits { bytes, ..OutboxLimits::default() }, ..HubConfig::default() },
        None,
        None,
    );
    let as_alice = |client: &str| Connecting {
        user: Some(name("alice")),
        pace: Duration::from_secs(3600),
        ..Connecting::as_client(client)
    };
    let first = node.connect(as_alice("a"));
    let second = node.connect(as_alice("b"));
    let message = Message::direct(draft("direct", "null"));
    assert!(node.hub.direct("a", &message));
    assert!(!node.hub.direct("nobody", &message), "no one of that id is here");
    assert_eq!(node.hub.direct_to_user(&name("alice"), &message), 2);
    assert_eq!(node.hub.direct_to_user(&name("bob"), &message), 0);
    let taken = (0..1000).filter(|_| node.hub.direct("a", &message)).count();
    assert!(taken > 0 && taken < 1000 && first.outbox.queued() <= bytes, "{taken} were taken");
    assert_eq!(node.hub.direct_to_user(&name("alice"), &message), 1, "the other connection has room");
    second.close().await;
    assert!(!node.hub.direct("b", &message), "it has left");
}

#[tokio::test(start_paused = true)]
async fn what_all_may_hold_is_shed_from_those_who_hold_most() {
    let limits = OutboxLimits { bytes: 1000 * KILO, total: 100 * KILO };
    let node = Node::start(HubConfig { outbox: limits, ..HubConfig::default() }, None, None);
    let seated = |client: &str| {
        let outbox = node.hub.outbox(client.into(), MARKED, None, node.hub.shard());
        let seat = node.hub.enter(Arc::clone(&outbox), None, 3600);
        (outbox, seat)
    };
    let held = [10, 90, 20, 40];
    let mut seats: Vec<_> = held.iter().map(|kilos| seated(&kilos.to_string())).collect();
    for ((outbox, _), kilos) in seats.iter().zip(held) {
        outbox.push(vec![b'x'; kilos * KILO].into());
    }
    assert_eq!(node.hub.outboxes(), (160 * KILO, 100 * KILO));
    let more = Bytes::from_static(b"more");
    assert!(!seats[0].0.offer(MARKED, &more), "it is spent: who has something queued gets no more");
    let (reads, _seat) = seated("reads");
    assert!(reads.offer(MARKED, &more) && reads.take().len() == 1, "who reads does not notice");
    let ended = |outbox: &Outbox| outbox.notices().contains(&Notice::Overflow);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told: Vec<_> = seats.iter().map(|(outbox, _)| ended(outbox)).collect();
    assert_eq!(told, [false, true, false, true], "until half of it is free");
    seats.remove(3);
    seats.remove(1);
    assert_eq!(node.hub.outboxes().0, 30 * KILO, "whoever goes holds nothing");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!seats.iter().any(|(outbox, _)| ended(outbox)));
    node.hub.limit(OutboxLimits { total: 8 * KILO, ..limits });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(seats.iter().all(|(outbox, _)| ended(outbox)), "another bound holds at once");
    drop(seats);
    assert_eq!(node.hub.outboxes().0, 0);
}

/// Was a defect: the end of a session's old connection made the hub forget the new one of the same client id.
#[tokio::test]
async fn a_resumed_client_stays_known_when_its_old_connection_ends() {
    let mut node = Node::alone(1);
    let old = node.connect(Connecting::as_client("a"));
    let new = node.connect(Connecting::as_client("a"));
    old.close().await;
    assert!(node.hub.direct("a", &Message::direct(draft("direct", "null"))));
    until(|| !new.told.lines().is_empty()).await;
}

/// Was a defect: flushing a full socket woke the session that flushed, which flushed again, for ever.
#[tokio::test]
async fn a_session_that_flushes_a_full_socket_does_not_wake_itself() {
    let node = Node::alone(1);
    let (socket, _peer) = narrow_pair().await;
    let outbox = node.hub.outbox("a".into(), MARKED, Some(socket), node.hub.shard());
    outbox.ready(tokio::io::Interest::WRITABLE).await.unwrap();
    outbox.push(vec![b'x'; 16 << 20].into());
    outbox.flush();
    assert!(outbox.is_blocked());
    tokio::select! {
        biased;
        () = outbox.woken() => panic!("it has nothing to tell the session that the session does not know"),
        () = ready(()) => {}
    }
}

#[tokio::test]
async fn a_session_is_woken_when_its_shard_finds_the_socket_full() {
    let mut node = Node::alone(1);
    let (socket, mut peer) = narrow_pair().await;
    let connection = node.connect(Connecting::as_client("a").by(socket));
    let large = "x".repeat(700 * KILO);
    assert!(node.hub.direct("a", &Message::direct(draft("direct", &large))));
    // The session alone can write the rest of it, once the peer reads.
    assert_eq!(message(parse(&peer.line().await).1), Some(large));
    drop(connection);
}

#[tokio::test]
async fn a_connection_whose_peer_has_gone_ends() {
    let mut node = Node::alone(1);
    let (socket, peer) = pair().await;
    let mut connection = node.connect(Connecting::as_client("a").by(socket));
    connection.join("r").await;
    drop(peer);
    until(|| {
        node.hub.publish(draft("r", "null"), |_| {});
        connection.outbox.ended().is_some()
    })
    .await;
    within(connection.gone()).await;
    until(|| node.hub.connections() == 0 && node.hub.rooms() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whoever_comes_and_goes_sees_a_part_without_holes() {
    for shards in [1, 3] {
        let mut node = Node::alone(shards);
        let mut clients = JoinSet::new();
        for at in 0..6 {
            let (socket, peer) = pair().await;
            let connection = node.connect(Connecting::as_client(&at.to_string()).by(socket).on_shard(at % shards));
            clients.spawn(come_and_go(connection, peer));
        }
        let mut publishers = JoinSet::new();
        let hub = node.hub.clone();
        publishers.spawn(async move {
            loop {
                hub.relieved().await;
                hub.publish(draft("r", "null"), |_| {});
                tokio::task::yield_now().await;
            }
        });
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        drop(publishers);
        until(|| node.hub.rooms() == 0 && node.hub.connections() == 0).await;
    }
}

/// Joins, now and then since where it was and now and then without leaving before, and reads all along. What is on its
/// way to a reader that was left comes before the next join is answered: once it came in the middle of the replay.
async fn come_and_go(connection: Connection, mut peer: Peer) {
    let mut seen: Option<Position> = None;
    for round in 0..60 {
        let since = seen.clone().filter(|_| round % 2 == 0);
        let place = within(connection.attach(&name("r"), since.clone(), false)).await.unwrap();
        let mut lines = None;
        while lines < Some(40) {
            let (_, event) = parse(&peer.line().await);
            if let Event::Joined { place: answered, .. } = event {
                assert_eq!(answered, place);
                seen = since.clone().or(Some(answered));
                lines = Some(0);
                continue;
            }
            follow(seen.as_mut().expect("it has joined"), &event);
            lines = lines.map(|lines| lines + 1);
        }
        if round % 3 == 0 {
            connection.leave("r").await;
        }
    }
    connection.close().await;
}

/// Moves a place by what must follow on it; that the window let go of something is told.
fn follow(place: &mut Position, event: &Event) {
    match event {
        Event::Message { place: at, .. } => {
            assert_eq!((at.seq, &at.epoch), (place.seq.next(), &place.epoch));
            place.seq = at.seq;
        }
        Event::Gap { from, to, .. } => {
            assert_eq!(*from, place.seq.0 + 1);
            place.seq = Seq(*to);
        }
        Event::Joined { .. } => panic!("no one asked to join"),
    }
}

#[tokio::test]
async fn publishers_wait_while_a_shard_has_too_much_to_do() {
    let mut node = Node::alone(1);
    let connection = node.connect(Connecting::as_client("a"));
    connection.join("r").await;
    // On this one thread the shard does not run before something is awaited that is not ready.
    for _ in 0..5000 {
        node.hub.publish(draft("r", "null"), |_| {});
    }
    tokio::select! {
        biased;
        () = node.hub.relieved() => panic!("5,000 commands wait"),
        () = ready(()) => {}
    }
    within(node.hub.relieved()).await;
    for _ in 0..20_000 {
        within(node.hub.relieved()).await;
        node.hub.publish(draft("r", "null"), |_| {});
    }
    until(|| connection.outbox.queued() == 0 && connection.told.lines().last().is_some_and(|l| l.contains("|25000|")))
        .await;
}

#[tokio::test(start_paused = true)]
async fn each_connection_is_reminded_of_its_own_heartbeat() {
    let mut node = Node::alone(1);
    let often = node.connect(Connecting { heartbeat: 2, ..Connecting::as_client("a") });
    let seldom = node.connect(Connecting { heartbeat: 10, ..Connecting::as_client("b") });
    tokio::time::sleep(Duration::from_millis(60_500)).await;
    let beats = |connection: &Connection| connection.told.heartbeats.load(Ordering::SeqCst);
    assert!((29..=31).contains(&beats(&often)), "{} in a minute, one each 2 s", beats(&often));
    assert!((5..=7).contains(&beats(&seldom)), "{} in a minute, one each 10 s", beats(&seldom));
}

#[tokio::test]
async fn every_connection_is_told_of_a_shutdown() {
    let mut node = Node::alone(3);
    let connections: Vec<_> = (0..7).map(|at| node.connect(Connecting::as_client(&at.to_string()))).collect();
    assert_eq!(node.hub.connections(), 7);
    node.hub.shutdown();
    until(|| connections.iter().all(|connection| connection.told.shutdown.load(Ordering::SeqCst))).await;
}

async fn publish(hub: &Hub, room: &str, many: usize) {
    for payload in counted(many) {
        hub.relieved().await;
        hub.publish(draft(room, &payload), |_| {});
    }
}

fn counted(many: usize) -> Vec<String> {
    (0..many).map(|number| number.to_string()).collect()
}

fn message(event: Event) -> Option<String> {
    match event {
        Event::Message { payload, .. } => Some(payload),
        Event::Joined { .. } | Event::Gap { .. } => None,
    }
}

/// What a connection without a socket got, joins apart.
fn payloads(connection: &Connection) -> Vec<String> {
    connection.told.lines().iter().filter_map(|line| message(parse(line).1)).collect()
}
