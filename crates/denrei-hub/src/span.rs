//! Where the time of a message went: the steps of its way as spans, in the words of OpenTelemetry and of W3C Trace
//! Context. Only a message that somebody chose to follow has any; for all others this is one pointer that is none.
//!
//! Spans are told to whoever the application names ([`Spans`]); the hub knows of no collector and of no wire.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::hub::Hub;
use crate::ids::{RoomName, Seq, random_number};
use crate::message::Message;

/// A span of a trace that is followed (`trace-id` and `parent-id` of W3C Trace Context, sampled).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpanContext {
    /// The trace, in two halves.
    pub trace: (u64, u64),
    /// The span; 0 for none: the trace has not begun.
    pub span: u64,
}

impl SpanContext {
    /// A trace that is about to begin.
    pub fn root() -> Self {
        Self { trace: (random_number(), random_number() | 1), span: 0 }
    }

    /// A new span of the same trace.
    pub fn child(self) -> Self {
        Self { span: random_number().max(1), ..self }
    }
}

/// What a message carries that is followed, from node to node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trail {
    /// Who sends it, and after that the span of its publishing.
    pub context: SpanContext,
    /// Since when this node may hand it out.
    #[serde(skip)]
    since: OnceLock<SystemTime>,
    /// It was published on this node.
    #[serde(skip)]
    here: bool,
}

impl Trail {
    /// To be followed as what happens in this span.
    pub fn new(context: SpanContext) -> Box<Self> {
        Box::new(Self { context, since: OnceLock::new(), here: false })
    }

    /// This node may hand it out from now on.
    pub(crate) fn arrived(&self) {
        self.since.get_or_init(SystemTime::now);
    }
}

/// A step that is over.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its own.
    pub context: SpanContext,
    /// The span that it is a part of; 0 for none.
    pub parent: u64,
    /// The parent is a span of another process.
    pub remote: bool,
    /// What was done.
    pub name: Cow<'static, str>,
    /// Its part in what it is a part of.
    pub kind: SpanKind,
    /// When it began.
    pub begun: SystemTime,
    /// When it was over.
    pub ended: SystemTime,
    /// Facts by their names in the semantic conventions of OpenTelemetry, or beginning with `denrei.`.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// Why it failed, if it did.
    pub error: Option<Cow<'static, str>>,
}

/// What a span is in its trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanKind {
    /// Somebody asks.
    Server,
    /// A message is sent.
    Producer,
    /// A message is handed out.
    Consumer,
}

/// A fact about a span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpanValue {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

impl From<&'static str> for SpanValue {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for SpanValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// What became of spans, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanStatistics {
    /// Spans that were told.
    pub ended: u64,
    /// Those of them that whoever collects them has taken.
    pub exported: u64,
    /// Those that were not taken. What is neither is on its way, or had no place.
    pub failed: u64,
}

/// Is told of spans.
pub trait Spans: Send + Sync {
    /// A span has ended. Called by those who write to connections: it must be quick and must not block.
    fn ended(&self, span: Span);

    /// What became of them.
    fn statistics(&self) -> SpanStatistics {
        SpanStatistics::default()
    }
}

/// A publish that is under way.
pub struct OpenSpan {
    spans: Arc<dyn Spans>,
    span: Span,
}

impl OpenSpan {
    /// It is over: the message has this number, perhaps since earlier, or was refused.
    pub fn close(self, outcome: Result<(Seq, bool), &'static str>) {
        let Self { spans, mut span } = self;
        match outcome {
            Ok((seq, duplicate)) => {
                span.attributes.extend(number(seq));
                if duplicate {
                    span.attributes.push(("denrei.duplicate", true.into()));
                }
            }
            Err(why) => {
                span.attributes.push(("error.type", why.into()));
                span.error = Some(why.into());
            }
        }
        span.ended = SystemTime::now();
        spans.ended(span);
    }
}

impl Hub {
    /// Opens the span of a publish; from then on the message is followed as a part of it. None when it is not followed.
    pub fn open_span(&self, room: &RoomName, event: &str, trail: &mut Option<Box<Trail>>) -> Option<Box<OpenSpan>> {
        let trail = trail.as_mut()?;
        let spans = self.0.reach.spans.as_ref()?;
        let parent = trail.context;
        trail.context = parent.child();
        trail.here = true;
        let now = SystemTime::now();
        let mut attributes = about("send", room);
        attributes.push(("denrei.event", event.to_owned().into()));
        let span = Span {
            context: trail.context,
            parent: parent.span,
            remote: false,
            name: "publish".into(),
            kind: SpanKind::Producer,
            begun: now,
            ended: now,
            attributes,
            error: None,
        };
        // Boxed: every publish has room for one, and almost none has one.
        Some(Box::new(OpenSpan { spans: Arc::clone(spans), span }))
    }

    /// Whom this hub tells of spans.
    pub fn spans(&self) -> Option<&Arc<dyn Spans>> {
        self.0.reach.spans.as_ref()
    }
}

/// What became of a message at the readers of a room in one shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    /// Messages that were handed out together.
    pub(crate) messages: usize,
    /// Readers in the room.
    pub(crate) readers: usize,
    /// Those who were given this one.
    pub(crate) given: u64,
    /// Those who could not take what was handed out, and read the log instead.
    pub(crate) fallen: u64,
    /// Messages that were dropped at single readers, all in all.
    pub(crate) dropped: u64,
}

/// The span of one message's way to the readers of a room in one shard; when it has ended is said later.
pub(crate) fn deliver(message: &Message, shard: usize, handed: Handed) -> Option<Span> {
    let trail = message.trail.as_ref()?;
    let now = SystemTime::now();
    let mut attributes = about("process", &message.room);
    attributes.extend(number(message.seq));
    attributes.extend([
        ("messaging.batch.message_count", (handed.messages as u64).into()),
        ("denrei.shard", (shard as u64).into()),
        ("denrei.readers", (handed.readers as u64).into()),
        ("denrei.readers.given", handed.given.into()),
        ("denrei.readers.fallen_behind", handed.fallen.into()),
        ("denrei.messages.dropped", handed.dropped.into()),
    ]);
    Some(Span {
        context: trail.context.child(),
        parent: trail.context.span,
        remote: !trail.here,
        name: "deliver".into(),
        kind: SpanKind::Consumer,
        begun: trail.since.get().copied().unwrap_or(now),
        ended: now,
        attributes,
        error: None,
    })
}

fn about(operation: &'static str, room: &RoomName) -> Vec<(&'static str, SpanValue)> {
    vec![
        ("messaging.system", "denrei".into()),
        ("messaging.operation.type", operation.into()),
        ("messaging.destination.name", room.as_str().to_owned().into()),
    ]
}

/// Its number in the room, where that keeps a log.
fn number(seq: Seq) -> Option<(&'static str, SpanValue)> {
    (seq != Seq::ZERO).then(|| ("denrei.seq", seq.0.into()))
}
