//! What is told of messages that are followed: where their time went.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use denrei_hub::span::{Span, SpanContext, SpanKind, SpanValue, Spans, Trail};
use denrei_hub::{Backends, Bus, Draft, HubConfig, LocalBus, Node as Id, OutboxLimits};

use crate::harness::{Connecting, Node, draft, name, until, within};

const ROOM: &str = "live:room";

/// Keeps what it is told.
#[derive(Default)]
struct Kept(Mutex<Vec<Span>>);

impl Spans for Kept {
    fn ended(&self, span: Span) {
        self.0.lock().unwrap().push(span);
    }
}

impl Kept {
    async fn spans(&self, count: usize) -> Vec<Span> {
        until(|| self.0.lock().unwrap().len() >= count).await;
        self.0.lock().unwrap().clone()
    }
}

fn start(config: HubConfig, bus: Option<Arc<dyn Bus>>) -> (Node, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    let spans = Some(Arc::clone(&kept) as Arc<dyn Spans>);
    (Node::on(config, Backends { bus, spans, ..Backends::default() }), kept)
}

fn followed(draft: Draft) -> (Draft, SpanContext) {
    let context = SpanContext::root().child();
    (Draft { trail: Some(Trail::new(context)), ..draft }, context)
}

fn number(span: &Span, name: &str) -> Option<i64> {
    span.attributes.iter().find_map(|(key, value)| match value {
        SpanValue::Number(number) if *key == name => Some(*number),
        _ => None,
    })
}

fn text<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    span.attributes.iter().find_map(|(key, value)| match value {
        SpanValue::Text(text) if *key == name => Some(&**text),
        _ => None,
    })
}

#[tokio::test]
async fn a_publish_is_a_span_and_each_shard_that_hands_it_out_is_a_part_of_it() {
    let (mut node, kept) = start(HubConfig { shards: 2, ..HubConfig::default() }, None);
    let sender = node.connect(Connecting::as_client("sender").on_shard(0));
    let one = node.connect(Connecting::as_client("one").on_shard(0));
    let other = node.connect(Connecting::as_client("other").on_shard(1));
    for connection in [&sender, &one, &other] {
        connection.join(ROOM).await;
    }
    node.publish(draft(ROOM, "nobody follows this")).await;
    let mine = Draft { from: Some("sender".into()), origin: sender.outbox.number(), ..draft(ROOM, "x") };
    let (mine, context) = followed(mine);
    node.publish(mine).await;
    let spans = kept.spans(3).await;
    assert_eq!(spans.len(), 3);
    assert!(spans.iter().all(|span| span.context.trace == context.trace && number(span, "denrei.seq") == Some(2)));
    assert!(spans.iter().all(|span| text(span, "messaging.destination.name") == Some(ROOM)));
    let publish = spans.iter().find(|span| span.kind == SpanKind::Producer).unwrap();
    assert_eq!((&*publish.name, publish.parent), ("publish", context.span));
    let mut delivered: Vec<_> = spans.iter().filter(|span| span.name == "deliver").collect();
    delivered.sort_by_key(|span| number(span, "denrei.shard"));
    assert!(delivered.iter().all(|span| span.parent == publish.context.span && span.kind == SpanKind::Consumer));
    assert!(spans.iter().all(|span| !span.remote));
    let counts = |span: &Span| {
        ["denrei.shard", "denrei.readers", "denrei.readers.given"].map(|name| number(span, name).unwrap())
    };
    // The sender is a reader who has it.
    assert_eq!(delivered.iter().map(|span| counts(span)).collect::<Vec<_>>(), [[0, 2, 1], [1, 1, 1]]);
    assert!(spans.iter().all(|span| span.ended >= span.begun));
    assert!(delivered.iter().all(|span| span.begun >= publish.begun));
}

#[tokio::test]
async fn readers_who_cannot_take_it_are_counted_as_what_becomes_of_them() {
    let limits = OutboxLimits { bytes: 64, ..OutboxLimits::default() };
    let (mut node, kept) = start(HubConfig { outbox: limits, ..HubConfig::default() }, None);
    let slow = node.connect(Connecting { pace: Duration::from_secs(3600), ..Connecting::as_client("slow") });
    slow.join(ROOM).await;
    slow.join("signal:room").await;
    for _ in 0..3 {
        node.publish(draft(ROOM, "something that fills the queue")).await;
    }
    node.publish(followed(draft("signal:room", "dropped, as nothing keeps it")).0).await;
    let spans = kept.spans(2).await;
    let deliver = spans.iter().find(|span| span.name == "deliver").unwrap();
    assert_eq!(number(deliver, "denrei.messages.dropped"), Some(1));
    assert_eq!((number(deliver, "denrei.readers"), number(deliver, "denrei.readers.given")), (Some(1), Some(0)));
    assert_eq!(number(deliver, "denrei.seq"), None);
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_counted() {
    let limits = OutboxLimits { bytes: 64, ..OutboxLimits::default() };
    let (mut node, kept) = start(HubConfig { outbox: limits, ..HubConfig::default() }, None);
    let slow = node.connect(Connecting { pace: Duration::from_secs(3600), ..Connecting::as_client("slow") });
    slow.join(ROOM).await;
    for _ in 0..4 {
        node.publish(followed(draft(ROOM, "something that fills the queue")).0).await;
    }
    let spans = kept.spans(8).await;
    let counts =
        |span: &Span| Some((number(span, "denrei.readers.given")?, number(span, "denrei.readers.fallen_behind")?));
    let counts: Vec<_> = spans.iter().filter_map(counts).collect();
    assert!(counts.contains(&(0, 1)), "{counts:?}");
    assert!(counts.iter().all(|(given, fallen)| given + fallen <= 1), "{counts:?}");
}

#[tokio::test]
async fn of_two_messages_in_one_run_each_is_counted_where_it_went() {
    let (mut node, kept) = start(HubConfig::default(), None);
    let (a, b) = (node.connect(Connecting::as_client("a")), node.connect(Connecting::as_client("b")));
    a.join(ROOM).await;
    b.join(ROOM).await;
    // Without a pause in between, so that the shard finds both.
    for (client, connection) in [("a", &a), ("b", &b)] {
        let mine = Draft { from: Some(client.into()), origin: connection.outbox.number(), ..draft(ROOM, client) };
        node.hub.publish(followed(mine).0, |published| assert!(published.is_ok()));
    }
    let spans = kept.spans(4).await;
    let delivered = spans.iter().filter(|span| span.name == "deliver");
    let counts = delivered.map(|span| {
        ["messaging.batch.message_count", "denrei.readers", "denrei.readers.given"]
            .map(|name| number(span, name).unwrap())
    });
    assert_eq!(counts.collect::<Vec<_>>(), [[2, 2, 1], [2, 2, 1]]);
}

#[tokio::test]
async fn another_node_goes_on_with_the_trace() {
    let bus = LocalBus::default();
    let join = |id: &str| {
        let config = HubConfig { node: Id::new(name(id), None), ..HubConfig::default() };
        start(config, Some(Arc::new(bus.node())))
    };
    let ((first, publishing), (mut second, delivering)) = (join("first"), join("second"));
    let reader = second.connect(Connecting::as_client("reader"));
    reader.join("signal:room").await;
    let (mine, context) = followed(draft("signal:room", "x"));
    first.publish(mine).await;
    first.publish(draft("signal:room", "nobody follows this")).await;
    let publish = publishing.spans(1).await.remove(0);
    let deliver = delivering.spans(1).await.remove(0);
    assert_eq!((&*publish.name, publish.parent), ("publish", context.span));
    assert_eq!((&*deliver.name, deliver.parent, deliver.remote), ("deliver", publish.context.span, true));
    assert_eq!(deliver.context.trace, context.trace);
    until(|| reader.told.lines().iter().filter(|line| line.starts_with("signal:room|")).count() == 2).await;
    assert_eq!((publishing.spans(1).await.len(), delivering.spans(1).await.len()), (1, 1));
}

#[tokio::test]
async fn a_publish_that_fails_says_why_and_a_duplicate_that_it_is_one() {
    let (node, kept) = start(HubConfig::default(), None);
    let (mine, _) = followed(draft("feed:room", "there is no store"));
    within(node.hub.publish_and_wait(mine)).await.unwrap_err();
    let failed = kept.spans(1).await.remove(0);
    assert_eq!(
        (failed.error.as_deref(), text(&failed, "error.type")),
        (Some("log_unavailable"), Some("log_unavailable"))
    );
    for _ in 0..2 {
        node.publish(followed(Draft { id: Some(name("1")), ..draft(ROOM, "x") }).0).await;
    }
    let again = kept.spans(3).await.remove(2);
    assert!(again.attributes.contains(&("denrei.duplicate", SpanValue::Flag(true))) && again.error.is_none());
}

#[tokio::test]
async fn nobody_who_is_told_means_that_nothing_is_followed() {
    let node = Node::alone(1);
    let mut trail = Some(Trail::new(SpanContext::root()));
    assert!(node.hub.open_span(&name(ROOM), "message", &mut trail).is_none());
    node.publish(followed(draft(ROOM, "x")).0).await;
}
