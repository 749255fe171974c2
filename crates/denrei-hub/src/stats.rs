//! What a hub has done, counted where it happens and summed when somebody asks.
//!
//! A delivery is counted in plain numbers of its shard ([`Tally`]), which the shard adds to what others may read once in
//! a turn: so counting costs a reader nothing, and cores share no line that is written to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Map;
use crate::class::{Class, Keep};
use crate::hub::Published;
use crate::log::LogError;
use crate::message::Message;
use crate::outbox::Sent;

/// Bounds for times from something that is asked to its answer, in ns.
const ANSWERS: &[u64] = &[
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
];

/// Bounds for the turns of a shard, in ns.
const TURNS: &[u64] =
    &[10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 10_000_000, 50_000_000, 100_000_000, 500_000_000];

/// Observations, counted by bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a [`Histogram`] has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// The largest value that belongs to each count but the last, which has no bound.
    pub bounds: &'static [u64],
    /// Observations of each.
    pub counts: Vec<u64>,
    /// All observed values together.
    pub sum: u64,
}

impl Histogram {
    /// One with these bounds, ascending.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// One for times until something is answered or done.
    pub fn of_answers() -> Self {
        Self::new(ANSWERS)
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        add(&self.counts[at], 1);
        add(&self.sum, value);
    }

    /// Counts a time, in ns.
    pub fn observe_time(&self, time: Duration) {
        self.observe(nanos(time));
    }

    /// What it has counted. Values that are observed meanwhile may be part of it or not.
    pub fn read(&self) -> Distribution {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Distribution { bounds: self.bounds, counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// The names of events that are counted apart; all others are one. A closed set: what clients send never adds to it.
#[derive(Clone, Debug, Default)]
pub struct EventNames(Arc<Names>);

#[derive(Debug, Default)]
struct Names {
    list: Vec<Box<str>>,
    places: Map<Box<str>, usize>,
}

impl EventNames {
    /// What all other events are called.
    pub const OTHER: &str = "other";

    /// These names, each once.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut own = Names::default();
        for name in names {
            if name != Self::OTHER && !own.places.contains_key(name) {
                own.places.insert(name.into(), own.list.len());
                own.list.push(name.into());
            }
        }
        Self(Arc::new(own))
    }

    /// The number of a name: that of all others when it is none of these.
    pub fn number(&self, name: &str) -> usize {
        self.0.places.get(name).copied().unwrap_or(self.0.list.len())
    }

    /// The names by their numbers, that of all others last.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.0.list.iter().map(|name| &**name).chain([Self::OTHER])
    }

    /// How many there are, that of all others included.
    pub fn count(&self) -> usize {
        self.0.list.len() + 1
    }
}

/// What a shard has done, for others to read. On lines of its own: each is written by one core.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct ShardCounters {
    writes: AtomicU64,
    bytes: AtomicU64,
    fallen: AtomicU64,
    dropped: AtomicU64,
    overflows: AtomicU64,
    busy_ns: AtomicU64,
    readers: AtomicU64,
    behind: AtomicU64,
    delivered: Box<[AtomicU64]>,
    turns: Histogram,
}

/// What a shard has done since it started.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardStatistics {
    /// Messages given to readers, by the number of their event ([`EventNames`]).
    pub delivered: Vec<u64>,
    /// Calls that gave bytes to a socket.
    pub writes: u64,
    /// The bytes.
    pub bytes: u64,
    /// Times that a reader fell behind.
    pub fallen: u64,
    /// Messages that were not given to a reader who could not take them, and that are kept nowhere.
    pub dropped: u64,
    /// Connections that were ended because of such a message.
    pub overflows: u64,
    /// Time spent in turns, without what other tasks took in between.
    pub busy: Duration,
    /// Turns by how long they took, in ns, with what other tasks took in between.
    pub turns: Distribution,
    /// Readers now.
    pub readers: u64,
    /// Those of them that read the log by themselves now.
    pub behind: u64,
}

/// What one write loop over a socket has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wrote {
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
}

impl ShardCounters {
    pub(crate) fn new(names: &EventNames) -> Self {
        Self {
            writes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            fallen: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            readers: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            delivered: (0..names.count()).map(|_| AtomicU64::new(0)).collect(),
            turns: Histogram::new(TURNS),
        }
    }

    /// A session has written by itself.
    pub(crate) fn wrote(&self, wrote: Wrote) {
        if wrote.calls > 0 {
            add(&self.writes, wrote.calls);
            add(&self.bytes, wrote.bytes);
        }
    }

    /// Somebody who insists could not be given something outside of a turn.
    pub(crate) fn overflowed(&self) {
        add(&self.overflows, 1);
    }

    pub(crate) fn read(&self) -> ShardStatistics {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ShardStatistics {
            delivered: self.delivered.iter().map(value).collect(),
            writes: value(&self.writes),
            bytes: value(&self.bytes),
            fallen: value(&self.fallen),
            dropped: value(&self.dropped),
            overflows: value(&self.overflows),
            busy: Duration::from_nanos(value(&self.busy_ns)),
            turns: self.turns.read(),
            readers: value(&self.readers),
            behind: value(&self.behind),
        }
    }
}

/// What a shard has done in a turn: plain numbers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) wrote: Wrote,
    pub(crate) fallen: u64,
    /// Readers that read the log by themselves, whatever the turn.
    pub(crate) behind: usize,
    pub(crate) dropped: u64,
    pub(crate) overflows: u64,
    pub(crate) busy: Duration,
    /// Readers that were given all messages of the present run.
    whole: u64,
    /// Messages of the present run that single readers were given.
    single: Vec<usize>,
    delivered: Vec<u64>,
}

impl Tally {
    pub(crate) fn new(names: &EventNames) -> Self {
        Self { delivered: vec![0; names.count()], ..Self::default() }
    }

    /// So many live readers read the log by themselves from now on.
    pub(crate) fn fell(&mut self, readers: usize) {
        self.behind += readers;
        self.fallen += readers as u64;
    }

    /// A reader was to be given some messages: all of a run, or those of these numbers.
    pub(crate) fn sent(&mut self, sent: Sent, which: Option<&[usize]>, messages: usize) {
        match sent {
            Sent::Written(bytes) => {
                self.wrote.calls += 1;
                self.wrote.bytes += bytes as u64;
            }
            Sent::Queued(_) => {}
            Sent::Dropped => return self.dropped += messages as u64,
            Sent::Gone | Sent::Refused => return,
        }
        match which {
            None => self.whole += 1,
            Some(which) => self.single.extend_from_slice(which),
        }
    }

    /// How many readers were given a message of the present run.
    pub(crate) fn given(&self, at: usize) -> u64 {
        self.whole + self.single.iter().filter(|given| **given == at).count() as u64
    }

    /// Every reader of a run has had its turn.
    pub(crate) fn ran(&mut self, names: &EventNames, messages: &[Arc<Message>]) {
        let whole = std::mem::take(&mut self.whole);
        if whole > 0 {
            for message in messages {
                self.delivered[names.number(message.event.as_str())] += whole;
            }
        }
        for at in self.single.drain(..) {
            self.delivered[names.number(messages[at].event.as_str())] += 1;
        }
    }

    /// The turn is over.
    pub(crate) fn settle(&mut self, took: Duration, readers: usize, counters: &ShardCounters) {
        counters.wrote(std::mem::take(&mut self.wrote));
        let numbers = [
            (&mut self.fallen, &counters.fallen),
            (&mut self.dropped, &counters.dropped),
            (&mut self.overflows, &counters.overflows),
        ];
        let delivered = self.delivered.iter_mut().zip(&counters.delivered);
        for (number, counter) in numbers.into_iter().chain(delivered) {
            if *number > 0 {
                add(counter, std::mem::take(number));
            }
        }
        add(&counters.busy_ns, nanos(std::mem::take(&mut self.busy)));
        counters.turns.observe_time(took);
        counters.readers.store(readers as u64, Ordering::Relaxed);
        counters.behind.store(self.behind as u64, Ordering::Relaxed);
    }
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It has its place, and is as durable as its room makes it.
    Taken,
    /// It had been published before.
    Duplicate,
    /// There was no room for it.
    Full,
    /// Its log could not be reached, or not write.
    Unavailable,
}

impl PublishOutcome {
    /// All of them, in the order of [`ClassStatistics::publishes`].
    pub const ALL: [Self; 4] = [Self::Taken, Self::Duplicate, Self::Full, Self::Unavailable];

    pub(crate) fn of(published: &Result<Published, LogError>) -> Self {
        match published {
            Ok(Published { duplicate: false, .. }) => Self::Taken,
            Ok(_) => Self::Duplicate,
            Err(LogError::Full(_)) => Self::Full,
            Err(_) => Self::Unavailable,
        }
    }
}

/// How many publishes there were, by what became of them.
type Outcomes<T> = [T; PublishOutcome::ALL.len()];

/// The rooms of a class, and what was published in them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClassStatistics {
    /// The class; `other` for rooms without a known one.
    pub name: Arc<str>,
    /// Where its rooms keep their log.
    pub keep: Keep,
    /// Rooms with readers or waiters, as [`crate::Hub::rooms`] counts them.
    pub rooms: usize,
    /// Publishes, in the order of [`PublishOutcome::ALL`].
    pub publishes: [u64; PublishOutcome::ALL.len()],
}

/// What a hub counts beside its shards.
#[derive(Debug)]
pub(crate) struct Counters {
    /// By the numbers of classes.
    publishes: Box<[Outcomes<AtomicU64>]>,
    /// How long they took to be answered, in ns, by [`kind`].
    took: [Histogram; 3],
    /// Messages that were read from logs for readers that are behind, by the number of their event.
    pub(crate) replayed: Box<[AtomicU64]>,
    pub(crate) gaps: AtomicU64,
}

impl Counters {
    pub(crate) fn new(names: &EventNames, classes: usize) -> Self {
        Self {
            publishes: (0..classes).map(|_| Outcomes::default()).collect(),
            took: std::array::from_fn(|_| Histogram::of_answers()),
            replayed: (0..names.count()).map(|_| AtomicU64::new(0)).collect(),
            gaps: AtomicU64::new(0),
        }
    }

    pub(crate) fn published(&self, (class, number): (Class, usize), outcome: PublishOutcome, took: Duration) {
        add(&self.publishes[number][outcome as usize], 1);
        self.took[kind(&class.keep)].observe_time(took);
    }

    pub(crate) fn took(&self) -> [Distribution; 3] {
        self.took.each_ref().map(Histogram::read)
    }

    /// The publishes to rooms of the class of a number.
    pub(crate) fn publishes(&self, class: usize) -> Outcomes<u64> {
        self.publishes[class].each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// In the order of [`HubStatistics::took`].
fn kind(keep: &Keep) -> usize {
    match keep {
        Keep::None => 0,
        Keep::Memory(_) => 1,
        Keep::Store(_) => 2,
    }
}

/// What a node has told the others, and heard of them.
#[derive(Debug, Default)]
pub(crate) struct BusCounters {
    pub(crate) told: AtomicU64,
    pub(crate) told_bytes: AtomicU64,
    pub(crate) heard: AtomicU64,
    pub(crate) heard_bytes: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) unread: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// What a node has told the others, and heard of them.
#[derive(Clone, Copy, Debug)]
pub struct BusStatistics {
    /// Node messages that were handed to the bus, and their bytes.
    pub told: (u64, u64),
    /// Those that arrived, and their bytes.
    pub heard: (u64, u64),
    /// Times that the bus said that it may have lost some.
    pub lost: u64,
    /// Those that could not be read.
    pub unread: u64,
    /// Subscriptions that failed.
    pub failed: u64,
    /// Whether the other nodes can be heard.
    pub connected: bool,
    /// Other nodes that are there.
    pub nodes: usize,
}

/// What a hub has done since it was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HubStatistics {
    /// Its shards.
    pub shards: Vec<ShardStatistics>,
    /// Classes of rooms.
    pub classes: Vec<ClassStatistics>,
    /// How long publishes took to be answered, in ns: to rooms without a log, with one in memory, and with a stored one.
    pub took: [Distribution; 3],
    /// Messages that readers got from a log, because they came later or had fallen behind; by the number of their event.
    pub replayed: Vec<u64>,
    /// Times that a reader was told that messages are lost to it.
    pub gaps: u64,
    /// None on a node that is alone.
    pub bus: Option<BusStatistics>,
}

/// Adds to a counter; counters say nothing about the order of anything else.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
