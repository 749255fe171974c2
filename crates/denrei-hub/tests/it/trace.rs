//! What is noted of messages while somebody investigates a room or a user.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{
    Audience, Bus, Dialect, Draft, Epoch, HubConfig, LocalBus, Message, Node as Id, Outbox, OutboxLimits, Position,
    Record, Seq, Traced, Tracer,
};

use crate::harness::{Connecting, LINES, Node, draft, name, pair, until, within};

const ROOM: &str = "live:room";
const HOUR: Duration = Duration::from_secs(3600);

fn room(room: &str) -> Traced {
    Traced { room: Some(name(room)), user: None }
}

fn user(user: &str) -> Traced {
    Traced { room: None, user: Some(name(user)) }
}

fn records(node: &Node) -> Vec<Record> {
    node.hub.tracer().read("t", 0, usize::MAX).expect("the trace is there").records
}

/// Each record as `step outcome`, with whose connection it is and why.
fn said(records: &[Record]) -> Vec<String> {
    let one = |record: &Record| {
        let client = record.client.as_deref().map(|client| format!(" {client}")).unwrap_or_default();
        let reason = record.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{} {}{client}{reason}", record.step.as_str(), record.outcome.as_str())
    };
    records.iter().map(one).collect()
}

async fn noted(node: &Node, what: &str) -> Record {
    let find = || records(node).into_iter().find(|record| said(std::slice::from_ref(record))[0] == what);
    let waiting = within(async {
        while find().is_none() {
            tokio::task::yield_now().await;
        }
    });
    waiting.await;
    find().expect("it was noted")
}

/// An outbox without a session: what it is sent stays in it.
fn outbox(node: &Node, client: &str) -> Arc<Outbox> {
    node.hub.outbox(client.into(), LINES, None, node.hub.shard())
}

fn small(bytes: usize) -> Node {
    Node::start(
        HubConfig { outbox: OutboxLimits { bytes, ..OutboxLimits::default() }, ..HubConfig::default() },
        None,
        None,
    )
}

#[tokio::test]
async fn a_message_is_followed_from_who_publishes_it_to_each_reader() {
    let mut node = Node::alone(1);
    let (socket, mut peer) = pair().await;
    let reader = node.connect(Connecting { user: Some(name("bob")), ..Connecting::as_client("reader").by(socket) });
    let sender = node.connect(Connecting::as_client("sender"));
    reader.join(ROOM).await;
    sender.join(ROOM).await;
    assert!(node.hub.trace("t", &room(ROOM), HOUR));
    noted(&node, "reader there reader: live").await;
    noted(&node, "reader there sender: live").await;
    let sent = Draft {
        from: Some("sender".into()),
        origin: sender.outbox.number(),
        id: Some(name("mine")),
        ..draft(ROOM, "secret words")
    };
    let place = node.publish(sent).await;
    node.publish(draft("live:elsewhere", "x")).await;
    peer.joined().await;
    assert!(peer.line().await.ends_with("secret words"));
    let skipped = noted(&node, "deliver skipped sender: own").await;
    let written = noted(&node, "deliver written reader").await;
    assert_eq!(
        said(&records(&node))[2..],
        [
            "publish accepted sender",
            "number numbered sender",
            "order next sender",
            "deliver written reader",
            "deliver skipped sender: own"
        ]
    );
    assert_eq!((written.place, written.user, written.count), (Some(place.clone()), Some(name("bob")), None));
    assert_eq!(written.bytes, Some(format!("live:room|{}|1|secret words\n", place.epoch).len() as u64));
    assert_eq!((skipped.place, skipped.bytes), (Some(place.clone()), None));
    let number = noted(&node, "number numbered sender").await;
    assert_eq!((number.id, number.connection), (Some(name("mine")), Some(sender.outbox.number())));
    assert!(!format!("{:?}", records(&node)).contains("secret"), "a trace never says what a message says");
    assert!(records(&node).iter().all(|record| record.room == Some(name(ROOM))));
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_seen_to_read_the_log() {
    let mut node = small(64);
    let place = node.publish(draft(ROOM, "first")).await;
    let slow = node.connect(Connecting { pace: Duration::from_millis(20), ..Connecting::as_client("slow") });
    slow.join(ROOM).await;
    assert!(node.hub.trace("t", &room(ROOM), HOUR));
    noted(&node, "reader there slow: live").await;
    for payload in ["two", "three", "four"] {
        node.publish(draft(ROOM, payload)).await;
    }
    let fell = noted(&node, "deliver fell_behind slow: queue_full").await;
    let began = noted(&node, "page began slow").await;
    assert_eq!(began.place.as_ref().map(|place| place.seq.next()), fell.place.map(|place| place.seq));
    let read = noted(&node, "page read slow").await;
    assert_eq!(read.place.map(|place| place.seq.0), began.place.map(|place| place.seq.0 + 1));
    assert_eq!(noted(&node, "page live slow").await.place, Some(Position { seq: Seq(4), ..place }));
}

#[tokio::test]
async fn each_reason_to_pass_a_reader_over_is_told() {
    let node = small(40);
    assert!(node.hub.trace("t", &room(ROOM), HOUR));
    let name_of = name(ROOM);
    let attach = async |client: &str| {
        let outbox = outbox(&node, client);
        let reader = within(node.hub.attach(&outbox, &name_of, false, Dialect::default())).await.expect("a reader");
        (outbox, reader)
    };
    let (_joining, _one) = attach("joining").await;
    let (_paging, paging) = attach("paging").await;
    let _cursor = paging.cursor(paging.place().clone());
    let (_had, had) = attach("had").await;
    had.cursor(Position { seq: Seq(1), ..had.place().clone() }).live();
    let (ended, over) = attach("ended").await;
    over.live();
    ended.end();
    node.publish(draft(ROOM, "1")).await;
    for what in ["joining: joining", "paging: reads_the_log", "had: given_before", "ended: connection_ended"] {
        noted(&node, &format!("deliver skipped {what}")).await;
    }
    // Nobody takes what is queued here: a signal is dropped.
    let (stuck, live) = attach("stuck").await;
    live.live();
    stuck.await_bytes(false);
    node.hub.signal(draft(ROOM, "typing"));
    noted(&node, "deliver skipped stuck: volatile").await;
    assert_eq!(noted(&node, "reader began stuck").await.place.map(|place| place.seq), Some(Seq(1)));
}

#[tokio::test]
async fn what_no_log_keeps_is_seen_to_be_lost_and_who_is_excepted_is_named() {
    let node = small(40);
    assert!(node.hub.trace("t", &room("signal:room"), HOUR));
    let (slow, not) = (outbox(&node, "slow"), outbox(&node, "not"));
    let _readers = [&slow, &not].map(|outbox| node.hub.attach_now(outbox, &name("signal:room"), Dialect::default()));
    let message = |payload: &str| Arc::new(Message::direct(draft("signal:other", payload)));
    let audience =
        Audience { rooms: vec![name("signal:room")], except_connections: vec![not.number()], ..Audience::default() };
    node.hub.scatter(audience.clone(), &message("1"));
    node.hub.scatter(audience, &message("2"));
    assert_eq!(noted(&node, "deliver queued slow").await.waiting, Some(0));
    noted(&node, "deliver overflow slow: queue_full").await;
    let excepted = noted(&node, "deliver skipped not: excepted").await;
    assert_eq!(excepted.room, Some(name("signal:room")));
    noted(&node, "scatter reached").await;
}

#[tokio::test]
async fn what_arrives_out_of_turn_is_told() {
    let node = Node::alone(1);
    assert!(node.hub.trace("t", &room(ROOM), HOUR));
    let outbox = outbox(&node, "reader");
    let reader = within(node.hub.attach(&outbox, &name(ROOM), false, Dialect::default())).await.expect("a reader");
    reader.live();
    let message = |epoch: &Epoch, seq| {
        let place = Position { epoch: epoch.clone(), seq: Seq(seq) };
        Arc::new(Message::stored(draft(ROOM, "x"), place))
    };
    let epoch = reader.place().epoch.clone();
    for seq in [2, 1, 1] {
        node.hub.appended(&message(&epoch, seq));
    }
    node.hub.appended(&message(&Epoch::random(), 1));
    let order: Vec<_> = records(&node).into_iter().filter(|record| record.step.as_str() == "order").collect();
    assert_eq!(said(&order), ["order held", "order next", "order next", "order seen", "order stranger"]);
    let places: Vec<_> = order[..4].iter().map(|record| record.place.as_ref().map(|place| place.seq.0)).collect();
    assert_eq!(places, [2, 1, 2, 1].map(Some));
}

#[tokio::test]
async fn a_user_is_followed_from_connection_to_connection_and_seen_to_be_absent() {
    let mut node = Node::alone(2);
    assert!(node.hub.trace("t", &user("bob"), HOUR));
    let bob = || Connecting { user: Some(name("bob")), ..Connecting::as_client("phone") };
    let phone = node.connect(bob());
    phone.join(ROOM).await;
    node.connect(Connecting::as_client("stranger")).join(ROOM).await;
    node.publish(draft(ROOM, "one")).await;
    noted(&node, "deliver queued phone").await;
    phone.close().await;
    node.publish(draft(ROOM, "two")).await;
    node.publish(draft("live:elsewhere", "three")).await;
    let told = said(&records(&node));
    assert_eq!(
        told,
        [
            "user absent",
            "session identified phone",
            "user connected",
            "reader began phone",
            "page live phone",
            "publish accepted",
            "number numbered",
            "order next",
            "deliver queued phone",
            "reader left phone",
            "session ended phone",
            "user absent",
            "publish accepted",
            "number numbered",
            "order nobody",
            "user absent"
        ]
    );
    // A trace that begins while the user is there says so, and which rooms the user reads.
    let _tablet = node.connect(Connecting { user: Some(name("bob")), ..Connecting::as_client("tablet") });
    _tablet.join("live:elsewhere").await;
    assert!(node.hub.trace("later", &user("bob"), HOUR));
    let later = || said(&node.hub.tracer().read("later", 0, 10).expect("it is there").records);
    until(|| later().len() == 3).await;
    assert_eq!(later(), ["user connected", "session there tablet", "reader there tablet: live"]);
}

#[tokio::test]
async fn a_direct_message_is_told_to_have_found_its_user_or_not() {
    let mut node = small(40);
    assert!(node.hub.trace("t", &user("bob"), HOUR));
    let message = Message::direct(draft("direct", "hello"));
    assert_eq!(node.hub.direct_to_user(&name("bob"), &message), 0);
    noted(&node, "direct absent").await;
    let pace = Duration::from_secs(3600);
    let phone = node.connect(Connecting { user: Some(name("bob")), pace, ..Connecting::as_client("phone") });
    assert!(node.hub.direct("phone", &message));
    noted(&node, "direct queued phone").await;
    phone.outbox.push(Bytes::from_static(&[0; 40]));
    assert_eq!(node.hub.direct_to_user(&name("bob"), &message), 0);
    noted(&node, "direct overflow phone").await;
}

#[tokio::test]
async fn other_nodes_are_seen_to_be_told_and_to_hear() {
    let bus = LocalBus::default();
    let join = |id: &str| {
        let own: Arc<dyn Bus> = Arc::new(bus.node());
        Node::start(HubConfig { node: Id::new(name(id), None), ..HubConfig::default() }, None, Some(own))
    };
    let (a, mut b) = (join("a"), join("b"));
    until(|| a.hub.nodes().len() == 1 && b.hub.nodes().len() == 1).await;
    for node in [&a, &b] {
        assert!(node.hub.trace("t", &room("signal:room"), HOUR));
    }
    let reader = b.connect(Connecting::as_client("reader"));
    reader.join("signal:room").await;
    a.publish(draft("signal:room", "x")).await;
    noted(&a, "bus told").await;
    noted(&a, "order nobody").await;
    noted(&b, "deliver queued reader").await;
    let there = said(&records(&b));
    assert_eq!(there[there.len() - 3..], ["bus heard", "order next", "deliver queued reader"]);
}

#[tokio::test]
async fn a_trace_is_bounded_in_records_in_number_and_in_time() {
    let node = Node::alone(1);
    let tracer = node.hub.tracer();
    assert!(!tracer.is_on());
    assert!(node.hub.trace("t", &room("signal:room"), HOUR));
    for _ in 0..5_500 {
        node.hub.publish(draft("signal:room", "x"), |_| ());
    }
    let noted = tracer.read("t", 0, usize::MAX).expect("it is there");
    assert_eq!((noted.records.len(), noted.dropped, noted.more), (Tracer::RECORDS, 1_000, false));
    assert_eq!((noted.records[0].number, noted.records[9_999].number), (1_001, 11_000));
    let page = tracer.read("t", 10_000, 10).expect("it is there");
    assert_eq!((page.records[0].number, page.records.len(), page.more), (10_001, 10, true));
    for number in 2..=Tracer::TRACES {
        assert!(node.hub.trace(&number.to_string(), &user("bob"), Duration::from_millis(1)));
    }
    // Those have ended by themselves, or will when somebody looks.
    until(|| node.hub.trace("one more", &user("bob"), HOUR)).await;
    for number in 0..Tracer::TRACES - 2 {
        until(|| node.hub.trace(&format!("again {number}"), &user("bob"), HOUR)).await;
    }
    assert!(!node.hub.trace("too many", &user("bob"), HOUR));
    assert!(node.hub.trace("t", &room("signal:room"), HOUR), "one that is there goes on");
    assert!(tracer.end("t") && !tracer.end("t"));
    assert!(tracer.read("t", 0, 1).is_none() && tracer.is_on());
    tracer.end("one more");
    for number in 0..Tracer::TRACES - 2 {
        tracer.end(&format!("again {number}"));
    }
    assert!(!tracer.is_on(), "nothing is noted when nobody investigates");
}
