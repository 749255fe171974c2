//! What is told without being kept, and who is shown out.

use std::sync::Arc;

use denrei_hub::{
    Bus, Dialect, Draft, Extent, HubConfig, LocalBus, Log, MemoryLimits, MemoryLog, Message, Name, Position, Seq,
};

use crate::harness::{Connecting, Node, draft, name, until, within};

const ROOM: &str = "live:room";

/// A message that marks the end of what is looked at.
async fn end(node: &Node) -> Position {
    node.publish(draft(ROOM, "end")).await
}

#[tokio::test]
async fn a_signal_reaches_those_who_read_now_in_its_turn_and_is_kept_nowhere() {
    let mut node = Node::alone(2);
    let reader = node.connect(Connecting::as_client("reader").on_shard(0));
    let sender = node.connect(Connecting::as_client("sender").on_shard(1));
    let place = reader.join(ROOM).await;
    // Also who wants its own messages does not want its own signals.
    sender.attach(&name(ROOM), None, true).await.expect("it is attached");
    node.publish(draft(ROOM, "one")).await;
    let origin = sender.outbox.number();
    node.hub.signal(Draft { from: Some("sender".into()), origin, ..draft(ROOM, "signal") });
    node.publish(draft(ROOM, "two")).await;
    let last = end(&node).await;
    until(|| [&reader, &sender].iter().all(|who| who.told.lines().iter().any(|line| line.ends_with("|end")))).await;
    let payloads = |lines: Vec<String>| -> Vec<String> {
        let told = lines.iter().filter(|line| !line.starts_with("joined"));
        told.map(|line| line.rsplit('|').next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(payloads(reader.told.lines()), ["one", "signal", "two", "end"]);
    assert_eq!(payloads(sender.told.lines()), ["one", "two", "end"]);
    let signal = reader.told.lines().into_iter().find(|line| line.ends_with("|signal")).expect("it was told");
    assert_eq!(signal, "live:room|none|0|signal");
    let page = within(node.hub.read(&name(ROOM), Extent::After(Seq::ZERO, 10))).await.expect("a page");
    assert_eq!((page.messages.len(), last.seq), (3, Seq(3)));
    // Who comes later is told nothing of it.
    let late = node.connect(Connecting::as_client("late"));
    late.attach(&name(ROOM), Some(place), false).await.expect("it is attached");
    until(|| late.told.lines().iter().any(|line| line.ends_with("|end"))).await;
    assert_eq!(payloads(late.told.lines()), ["one", "two", "end"]);
}

#[tokio::test]
async fn a_signal_reaches_who_still_reads_the_log_but_nobody_before_the_answer() {
    let mut node = Node::alone(1);
    let place = node.publish(draft(ROOM, "one")).await;
    let late = node.connect(Connecting::as_client("late"));
    let reader = within(node.hub.attach(&late.outbox, &name(ROOM), false, Dialect::default())).await.expect("a reader");
    node.hub.signal(draft(ROOM, "unanswered"));
    let cursor = reader.cursor(Position { seq: Seq::ZERO, ..place });
    node.hub.signal(draft(ROOM, "reading"));
    until(|| !late.told.lines().is_empty()).await;
    assert_eq!(late.told.lines(), ["live:room|none|0|reading"]);
    drop(cursor);
}

#[tokio::test]
async fn a_signal_does_not_wake_who_waits_for_the_log() {
    let node = Node::alone(1);
    let mut watch = within(node.hub.watch(&name(ROOM))).await.expect("it is watched");
    node.hub.signal(draft(ROOM, "signal"));
    node.publish(draft(ROOM, "one")).await;
    let next = within(watch.next()).await.expect("a message");
    assert_eq!(next.seq, Seq(1));
}

#[tokio::test]
async fn who_is_shown_out_gets_nothing_more_and_others_get_all() {
    let mut node = Node::alone(2);
    let of = |client: &str, user: &str, shard| {
        let connecting = Connecting::as_client(client).on_shard(shard);
        Connecting { user: Some(name(user)), ..connecting }
    };
    let phone = node.connect(of("phone", "bob", 0));
    let laptop = node.connect(of("laptop", "bob", 1));
    let other = node.connect(of("other", "alice", 0));
    for who in [&phone, &laptop, &other] {
        who.join(ROOM).await;
        who.join("live:elsewhere").await;
    }
    node.publish(draft(ROOM, "before")).await;
    node.hub.expel(&name("bob"), &name(ROOM));
    node.publish(draft(ROOM, "behind")).await;
    end(&node).await;
    node.publish(draft("live:elsewhere", "elsewhere")).await;
    let arrived =
        |who: &crate::harness::Connection, what: &str| who.told.lines().iter().any(|line| line.ends_with(what));
    until(|| [&phone, &laptop, &other].iter().all(|who| arrived(who, "|elsewhere"))).await;
    for who in [&phone, &laptop] {
        assert!(arrived(who, "|before") && !arrived(who, "|behind") && !arrived(who, "|end"), "{:?}", who.told.lines());
    }
    assert!(arrived(&other, "|behind") && arrived(&other, "|end"));
    until(|| node.hub.readers(&name(ROOM)) == 1).await;
    // Who may come back comes back.
    phone.join(ROOM).await;
    node.publish(draft(ROOM, "again")).await;
    until(|| arrived(&phone, "|again")).await;
}

#[tokio::test]
async fn who_comes_and_goes_is_told_to_who_asks() {
    let mut node = Node::alone(1);
    let changed = |node: &Node| node.hub.comings_and_goings().map(|user| user.to_string()).collect::<Vec<_>>();
    let of = |client: &str| Connecting { user: Some(name("bob")), ..Connecting::as_client(client) };
    let first = node.connect(of("first"));
    // Those who were there before somebody asked.
    assert_eq!(changed(&node), ["bob"]);
    assert!(changed(&node).is_empty());
    let second = node.connect(of("second"));
    assert_eq!((changed(&node), node.hub.connections_of(&name("bob")).len()), (vec!["bob".into()], 2));
    assert!(node.hub.is_connected("second") && !node.hub.is_connected("third"));
    first.close().await;
    second.close().await;
    assert_eq!((changed(&node), node.hub.connections_of(&name("bob")).len()), (vec!["bob".into()], 0));
}

#[tokio::test]
async fn signals_and_expulsions_reach_other_nodes() {
    const SHARED: &str = "feed:room";
    let (bus, log) = (LocalBus::default(), Arc::new(MemoryLog::new(Arc::default(), MemoryLimits::default())));
    let join = |bus: &LocalBus| {
        let (log, node): (Arc<dyn Log>, Arc<dyn Bus>) = (log.clone(), Arc::new(bus.node()));
        Node::start(HubConfig::default(), Some(log), Some(node))
    };
    let (here, mut there) = (join(&bus), join(&bus));
    let of = |client: &str, user: &str| Connecting { user: Some(name(user)), ..Connecting::as_client(client) };
    let (bob, eve) = (there.connect(of("bob", "bob")), there.connect(of("eve", "eve")));
    for who in [&bob, &eve] {
        who.join(SHARED).await;
    }
    here.publish(draft(SHARED, "one")).await;
    here.hub.signal(draft(SHARED, "signal"));
    here.hub.expel(&name("bob"), &name(SHARED));
    here.publish(draft(SHARED, "two")).await;
    let arrived =
        |who: &crate::harness::Connection, what: &str| who.told.lines().iter().any(|line| line.ends_with(what));
    until(|| arrived(&eve, "|two")).await;
    assert!(arrived(&eve, "|signal") && arrived(&bob, "|signal"));
    assert!(!arrived(&bob, "|two"), "{:?}", bob.told.lines());
}

#[tokio::test]
async fn a_message_that_expels_does_so_at_its_place_also_where_only_the_log_tells_of_it() {
    const SHARED: &str = "feed:room";
    fn expels(message: &Message) -> Option<Name> {
        (message.payload == "bob has gone").then(|| name("bob"))
    }
    let log = Arc::new(MemoryLog::new(Arc::default(), MemoryLimits::default()));
    let join = || {
        // Buses of their own: nothing is heard of the other.
        let (log, bus): (Arc<dyn Log>, Arc<dyn Bus>) = (log.clone(), Arc::new(LocalBus::default().node()));
        Node::start(HubConfig { expels: Some(expels), ..HubConfig::default() }, Some(log), Some(bus))
    };
    let (here, mut there) = (join(), join());
    let of = |client: &str, user: &str| Connecting { user: Some(name(user)), ..Connecting::as_client(client) };
    let (bob, eve) = (there.connect(of("bob", "bob")), there.connect(of("eve", "eve")));
    for who in [&bob, &eve] {
        who.join(SHARED).await;
    }
    for payload in ["one", "bob has gone", "two"] {
        here.publish(draft(SHARED, payload)).await;
    }
    let arrived =
        |who: &crate::harness::Connection, what: &str| who.told.lines().iter().any(|line| line.ends_with(what));
    until(|| arrived(&eve, "|two")).await;
    assert!(arrived(&bob, "|bob has gone") && !arrived(&bob, "|two"), "{:?}", bob.told.lines());
    until(|| there.hub.readers(&name(SHARED)) == 1).await;
}
