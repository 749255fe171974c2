//! Why did this user not get it? A trace is begun on one node and is told to all; whoever reads it asks all.
//!
//! What is noted, and where, is [`denrei_hub::Tracer`]'s. Here nodes tell one another which traces there are, and their
//! records become one account.

mod line;
mod merge;
mod notes;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use denrei_hub::{Hub, Listener, Name, RoomName, Traced, Tracer, Word, random_token};
use denrei_proto::codes::Code;
use serde::{Deserialize, Serialize};

pub(crate) use self::line::Line;
use self::merge::Part;
use crate::app::{App, now_ms};
use crate::refusal::Refusal;

const TOLD: &str = "traces";
const READ: &str = "traces.read";

/// Bytes of records that a node answers at once: less than any bus carries in one message.
const ANSWER: usize = 256 << 10;

/// A trace, as nodes tell it and as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trace {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) room: Option<RoomName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<Name>,
    /// The node that was asked to begin it, which reminds the others.
    pub(crate) node: Name,
    /// When it began, in ms since 1970.
    began: u64,
    /// When it ends by itself.
    ends: u64,
}

/// What nodes tell one another.
#[derive(Serialize, Deserialize)]
enum Said {
    /// These traces there are; each with how many ms it lasts yet: clocks differ.
    Begun(Vec<(Trace, u64)>),
    Ended(String),
}

/// What one asks the others.
#[derive(Serialize, Deserialize)]
struct Question {
    id: String,
    after: u64,
    limit: usize,
}

/// What is known of a trace from all nodes, from somewhere on.
#[derive(Serialize)]
pub(crate) struct Account {
    #[serde(flatten)]
    trace: Trace,
    pub(crate) records: Vec<Line>,
    /// Where the next page begins.
    pub(crate) next: String,
    /// There is more already.
    more: bool,
    /// Each node, with how many of its records had to make room for later ones.
    nodes: Vec<Dropped>,
    /// Nodes that did not answer, or know of no such trace yet.
    pub(crate) missing: Vec<Name>,
}

#[derive(Serialize)]
struct Dropped {
    node: Name,
    dropped: u64,
}

pub(crate) struct Traces {
    hub: Hub,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Vec<(Trace, Instant)>,
    /// Ended before their time: a reminder that was on its way does not begin them anew.
    ended: Vec<(String, Instant)>,
}

impl Traces {
    /// How long one lasts that does not say, and at most.
    pub(crate) const LASTS: Duration = Duration::from_secs(600);
    pub(crate) const MOST: Duration = Duration::from_secs(3600);
    /// Records in an answer, at most.
    pub(crate) const PAGE: usize = 1000;
    /// How often other nodes are reminded, among them those that have just come.
    const REMIND: Duration = Duration::from_secs(2);
    /// How long they are waited for.
    const PATIENCE: Duration = Duration::from_secs(2);

    pub(crate) fn new(hub: Hub) -> Self {
        Self { hub, state: Mutex::default() }
    }

    /// Hears what other nodes say of traces.
    pub(crate) fn listeners(app: &Weak<App>) -> Vec<(&'static str, Listener)> {
        let (telling, asking) = (Weak::clone(app), Weak::clone(app));
        let told = Box::new(move |word: Word| {
            if let Some(app) = telling.upgrade() {
                app.traces.hear(&word);
            }
        });
        let read = Box::new(move |word: Word| {
            if let Some(app) = asking.upgrade() {
                app.traces.answer(word);
            }
        });
        vec![(TOLD, told), (READ, read)]
    }

    /// Keeps house for as long as the server runs.
    pub(crate) async fn run(&self) {
        let mut reminding = tokio::time::interval(Self::REMIND);
        loop {
            reminding.tick().await;
            self.sweep();
            self.remind();
        }
    }

    /// Begins a trace on every node.
    pub(crate) fn begin(&self, traced: &Traced, lasts: Duration) -> Result<Trace, Refusal> {
        self.sweep();
        let began = now_ms();
        let trace = Trace {
            id: random_token(12),
            room: traced.room.clone(),
            user_id: traced.user.clone(),
            node: self.hub.node().id.clone(),
            began,
            ends: began.saturating_add(millis(lasts)),
        };
        if !self.hub.trace(&trace.id, traced, lasts) {
            let sentence = format!("{} traces are under way: end one of them", Tracer::TRACES);
            return Err(Refusal::new(Code::Conflict, sentence));
        }
        self.lock().known.push((trace.clone(), Instant::now() + lasts));
        self.tell(&Said::Begun(vec![(trace.clone(), millis(lasts))]));
        Ok(trace)
    }

    /// The traces that there are.
    pub(crate) fn list(&self) -> Vec<Trace> {
        self.sweep();
        self.lock().known.iter().map(|(trace, _)| trace.clone()).collect()
    }

    /// Ends a trace on every node; false when there is none.
    pub(crate) fn end(&self, id: &str) -> bool {
        self.sweep();
        let there = self.forget(id);
        if there {
            self.tell(&Said::Ended(id.into()));
        }
        there
    }

    /// Reads at most so many records behind a place that an earlier account gave; none when there is no such trace.
    pub(crate) fn account(
        &self,
        id: &str,
        after: &BTreeMap<Name, u64>,
        limit: usize,
    ) -> Option<impl Future<Output = Account> + Send + use<>> {
        self.sweep();
        let trace = self.lock().known.iter().find(|(trace, _)| trace.id == id).map(|(trace, _)| trace.clone())?;
        let node = self.hub.node().id.clone();
        let own = self.part(id, after.get(&node).copied().unwrap_or_default(), limit)?;
        let mut asked: Vec<_> = self.hub.nodes().into_iter().map(|node| node.id).collect();
        asked.sort();
        // Each is asked on its own, as each has another number behind which it is to read.
        let asking = asked.into_iter().map(|other| {
            let after = after.get(&other).copied().unwrap_or_default();
            let question = serde_json::to_vec(&Question { id: id.into(), after, limit }).unwrap_or_default();
            let answers = self.hub.ask_nodes(Some(&other), READ, question.into(), Self::PATIENCE);
            async move {
                let given = answers.await.given.into_iter().next();
                let part: Option<Part> = given.and_then(|(_, bytes)| serde_json::from_slice(&bytes).ok()).flatten();
                (other, part)
            }
        });
        let asking: Vec<_> = asking.collect();
        let after = after.clone();
        Some(async move {
            let mut parts = vec![(node, own)];
            let mut missing = Vec::new();
            for (node, part) in futures_util::future::join_all(asking).await {
                match part {
                    Some(part) => parts.push((node, part)),
                    None => missing.push(node),
                }
            }
            let dropped = |(node, part): &(Name, Part)| Dropped { node: node.clone(), dropped: part.dropped };
            let nodes = parts.iter().map(dropped).collect();
            let merged = merge::merge(parts, after, limit);
            Account { trace, records: merged.lines, next: place(&merged.after), more: merged.more, nodes, missing }
        })
    }

    fn part(&self, id: &str, after: u64, limit: usize) -> Option<Part> {
        let noted = self.hub.tracer().read(id, after, limit.min(Self::PAGE))?;
        let (mut more, mut bytes, mut lines) = (noted.more, 0, Vec::new());
        for record in &noted.records {
            let line = Line::of(&self.hub.node().id, record);
            bytes += line.length();
            if bytes > ANSWER && !lines.is_empty() {
                more = true;
                break;
            }
            lines.push(line);
        }
        Some(Part { lines, dropped: noted.dropped, more })
    }

    fn hear(&self, word: &Word) {
        match serde_json::from_slice(&word.bytes) {
            Ok(Said::Begun(traces)) => {
                self.sweep();
                for (trace, left) in traces {
                    self.learn(word, trace, Duration::from_millis(left).min(Self::MOST));
                }
            }
            Ok(Said::Ended(id)) => drop(self.forget(&id)),
            Err(error) => tracing::debug!(%error, node = %word.from, "what a node says of traces could not be read"),
        }
    }

    fn learn(&self, word: &Word, trace: Trace, left: Duration) {
        let mut state = self.lock();
        if state.known.iter().any(|(known, _)| known.id == trace.id) {
            return;
        }
        if state.ended.iter().any(|(ended, _)| *ended == trace.id) {
            drop(state);
            // It has not heard.
            let ended = serde_json::to_vec(&Said::Ended(trace.id)).unwrap_or_default();
            return self.hub.tell_node(&word.from, TOLD, ended.into());
        }
        let traced = Traced { room: trace.room.clone(), user: trace.user_id.clone() };
        if self.hub.trace(&trace.id, &traced, left) {
            state.known.push((trace, Instant::now() + left));
        }
    }

    fn answer(&self, word: Word) {
        let question = serde_json::from_slice::<Question>(&word.bytes);
        if let (Some(answer), Ok(Question { id, after, limit })) = (word.answer, question) {
            let part = self.part(&id, after, limit);
            answer.with(serde_json::to_vec(&part).unwrap_or_default().into());
        }
    }

    fn forget(&self, id: &str) -> bool {
        let mut state = self.lock();
        let Some(at) = state.known.iter().position(|(trace, _)| trace.id == id) else { return false };
        let (trace, until) = state.known.remove(at);
        state.ended.push((trace.id, until));
        self.hub.tracer().end(id);
        true
    }

    fn sweep(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        state.ended.retain(|(_, until)| *until > now);
        for (trace, _) in state.known.extract_if(.., |(_, until)| *until <= now) {
            self.hub.tracer().end(&trace.id);
        }
    }

    /// Tells the other nodes of the traces that were begun here: some may have come since, or not have heard.
    fn remind(&self) {
        let (now, own) = (Instant::now(), &self.hub.node().id);
        let ours = |(trace, until): &(Trace, Instant)| {
            (trace.node == *own).then(|| (trace.clone(), millis(until.saturating_duration_since(now))))
        };
        let ours: Vec<_> = self.lock().known.iter().filter_map(ours).collect();
        if !ours.is_empty() {
            self.tell(&Said::Begun(ours));
        }
    }

    fn tell(&self, said: &Said) {
        match serde_json::to_vec(said) {
            Ok(bytes) => self.hub.tell_nodes(TOLD, Bytes::from(bytes)),
            Err(error) => tracing::error!(%error, "nobody was told of a trace"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in an account, as it is written: after which record of each node.
fn place(after: &BTreeMap<Name, u64>) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(serde_json::to_vec(after).unwrap_or_default())
}

/// Reads a place in an account.
pub(crate) fn parse_place(text: &str) -> Option<BTreeMap<Name, u64>> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
