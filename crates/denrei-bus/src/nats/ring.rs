//! What a node knows of a room's messages in the stream: where each is, how much it weighs, and its client id.

use std::collections::{HashMap, VecDeque};

use denrei_hub::{Draft, Epoch, Extent, Message, Name, Page, Position, Seq, Window};

use super::batch::{Event, Header};

/// (user, client id) of a message.
pub(super) type Key = (Option<Name>, Name);

/// The index of one room. It holds no message, and what it says is true until another node writes: whoever writes after
/// it does so by compare-and-set, and whoever reads by it looks first whether the last message is still the same.
#[derive(Debug)]
pub(super) struct Ring {
    window: Window,
    /// The life of the stream that it was read in.
    life: u64,
    place: Option<Place>,
    chunks: VecDeque<Chunk>,
    ids: HashMap<Key, u64>,
    events: usize,
    bytes: usize,
    /// Events that the server keeps though they are past the window.
    stale: usize,
    /// Of the newest messages, also of those that are past the window.
    tokens: VecDeque<u64>,
}

/// Where a room stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) epoch: Epoch,
    pub(super) head: u64,
    /// The number of the last message on the room's subject.
    pub(super) last: u64,
    /// When that was written.
    pub(super) at: u64,
}

/// One message of the stream.
#[derive(Debug)]
struct Chunk {
    sequence: u64,
    at: u64,
    /// The number of the first event that is still within the window.
    first: u64,
    events: VecDeque<Indexed>,
}

#[derive(Debug)]
struct Indexed {
    weight: usize,
    key: Option<Key>,
}

/// What is to be written for some drafts.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) place: Place,
    /// What becomes of each draft.
    pub(super) fates: Vec<Fate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It gets this number.
    New(u64),
    /// It repeats this one.
    Repeats(u64),
}

/// Which messages of the stream a page is made of.
#[derive(Debug)]
pub(super) struct Outline {
    /// The page without its messages.
    pub(super) page: Page,
    /// Numbers in the stream, and which events to take from each: from, and how many.
    pub(super) parts: Vec<(u64, u64, usize)>,
}

/// How a message stands to what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is the last one that is known.
    Known,
    /// It follows that.
    Next,
    /// It is a room's first.
    Begins,
    /// What is between is not known.
    Beyond,
}

impl Ring {
    /// Bytes of messages in one page, but at least one message: whoever does not read what they asked for must not hold
    /// more.
    const PAGE: usize = 2 << 20;

    /// More are not written between an attempt and the look at what became of it.
    const TOKENS: usize = 256;

    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            life: 0,
            place: None,
            chunks: VecDeque::new(),
            ids: HashMap::new(),
            events: 0,
            bytes: 0,
            stale: 0,
            tokens: VecDeque::new(),
        }
    }

    /// What is known in this life of the stream.
    pub(super) fn place(&self, life: u64) -> Option<&Place> {
        self.place.as_ref().filter(|_| self.life == life)
    }

    /// How the last message of the room's subject stands to what is known.
    pub(super) fn step(&self, life: u64, sequence: u64, header: &Header) -> Step {
        match self.place(life) {
            Some(place) if place.last == sequence => Step::Known,
            Some(place) if place.last < sequence && place.epoch == header.epoch && header.first == place.head + 1 => {
                Step::Next
            }
            // Nothing of its epoch can be before it.
            _ if header.first == 1 => Step::Begins,
            _ => Step::Beyond,
        }
    }

    /// Where to read on, so that all is known; forgets what is of another life.
    pub(super) fn resume(&mut self, life: u64, last: u64) -> u64 {
        match self.place(life) {
            Some(place) if place.last < last => place.last + 1,
            _ => {
                self.forget();
                self.life = life;
                1
            }
        }
    }

    pub(super) fn forget(&mut self) {
        *self = Self::new(self.window);
    }

    /// Takes in the next message of the room's subject; what it knows already changes nothing.
    pub(super) fn take_in(
        &mut self,
        life: u64,
        sequence: u64,
        header: &Header,
        events: impl Iterator<Item = (usize, Option<Key>)>,
    ) {
        if self.life != life {
            self.forget();
            self.life = life;
        }
        match &self.place {
            Some(place) if sequence <= place.last => return,
            Some(place) if place.epoch == header.epoch && header.first == place.head + 1 => {}
            Some(_) => {
                // Another life of the room, or some messages of this one are gone already.
                self.forget();
                self.life = life;
            }
            None => {}
        }
        let events: VecDeque<_> = events.map(|(weight, key)| Indexed { weight, key }).collect();
        for (number, event) in (header.first..).zip(&events) {
            self.events += 1;
            self.bytes += event.weight;
            if let Some(key) = &event.key {
                self.ids.insert(key.clone(), number);
            }
        }
        let place = Place { epoch: header.epoch.clone(), head: header.head(), last: sequence, at: header.at };
        self.place = Some(place);
        self.chunks.push_back(Chunk { sequence, at: header.at, first: header.first, events });
        self.tokens.push_back(header.token);
        if self.tokens.len() > Self::TOKENS {
            self.tokens.pop_front();
        }
        while self.events > 1 && (self.events > self.window.events || self.bytes > self.window.bytes) {
            self.drop_oldest();
        }
    }

    /// Lets go of what is older than the window.
    pub(super) fn expire(&mut self, now: u64) {
        let age = u64::try_from(self.window.age.as_millis()).unwrap_or(u64::MAX);
        while self.chunks.front().is_some_and(|chunk| now.saturating_sub(chunk.at) > age) {
            self.drop_chunk();
        }
    }

    /// Lets go of a message of the stream that is gone there, and of those before it, which went earlier.
    pub(super) fn gone(&mut self, sequence: u64) {
        while self.chunks.front().is_some_and(|chunk| chunk.sequence <= sequence) {
            self.drop_chunk();
        }
    }

    fn drop_chunk(&mut self) {
        while self.chunks.front().is_some_and(|chunk| !chunk.events.is_empty()) {
            self.drop_oldest();
        }
        self.chunks.pop_front();
    }

    fn drop_oldest(&mut self) {
        while self.chunks.front().is_some_and(|chunk| chunk.events.is_empty()) {
            self.chunks.pop_front();
        }
        let Some(chunk) = self.chunks.front_mut() else { return };
        let Some(event) = chunk.events.pop_front() else { return };
        if let Some(key) = event.key
            && self.ids.get(&key) == Some(&chunk.first)
        {
            self.ids.remove(&key);
        }
        chunk.first += 1;
        self.events -= 1;
        self.bytes -= event.weight;
        self.stale += 1;
    }

    /// Whether a message with this token was stored.
    pub(super) fn has(&self, token: u64) -> bool {
        self.tokens.contains(&token)
    }

    /// Says what becomes of drafts that are appended now; none when the room is not known.
    pub(super) fn plan(&self, life: u64, drafts: &[Draft]) -> Option<Plan> {
        let place = self.place(life)?.clone();
        let mut next = place.head + 1;
        let mut new: HashMap<Key, u64> = HashMap::new();
        let fates = drafts.iter().map(|draft| {
            let key = draft.id.clone().map(|id| (draft.user.clone(), id));
            if let Some(number) = key.as_ref().and_then(|key| self.ids.get(key).or_else(|| new.get(key))) {
                return Fate::Repeats(*number);
            }
            let number = next;
            next += 1;
            if let Some(key) = key {
                new.insert(key, number);
            }
            Fate::New(number)
        });
        let fates = fates.collect();
        Some(Plan { place, fates })
    }

    /// Says what a page is made of; none when the room is not known.
    pub(super) fn outline(&self, life: u64, extent: Extent) -> Option<Outline> {
        let place = self.place(life)?;
        let first = self.first(place.head);
        let (from, limit) = match extent {
            Extent::After(after, limit) => (after.0.saturating_add(1).max(first), limit),
            Extent::Newest(limit) => {
                let limit = limit.min(self.fitting_newest(limit));
                ((place.head + 1).saturating_sub(limit as u64).max(first), limit)
            }
        };
        let mut parts = Vec::new();
        let (mut left, mut weight) = (limit, 0);
        let start = self.chunks.partition_point(|chunk| chunk.first + chunk.events.len() as u64 <= from);
        for chunk in self.chunks.range(start..) {
            let begin = from.max(chunk.first);
            let skipped = usize::try_from(begin - chunk.first).unwrap_or(usize::MAX);
            let fits = |event: &&Indexed| {
                let begins = weight == 0;
                weight += event.weight;
                begins || weight <= Self::PAGE
            };
            let fitting = chunk.events.iter().skip(skipped).take(left).take_while(fits).count();
            if fitting > 0 {
                parts.push((chunk.sequence, begin, fitting));
            }
            left -= fitting;
            if left == 0 || weight > Self::PAGE {
                break;
            }
        }
        let page = Page { epoch: place.epoch.clone(), messages: Vec::new(), head: Seq(place.head), first: Seq(first) };
        Some(Outline { page, parts })
    }

    fn fitting_newest(&self, limit: usize) -> usize {
        let mut weight = 0;
        let newest = self.chunks.iter().rev().flat_map(|chunk| chunk.events.iter().rev()).take(limit);
        let fits = |event: &&Indexed| {
            let begins = weight == 0;
            weight += event.weight;
            begins || weight <= Self::PAGE
        };
        newest.take_while(fits).count()
    }

    fn first(&self, head: u64) -> u64 {
        let kept = self.chunks.iter().find(|chunk| !chunk.events.is_empty());
        kept.map_or(head + 1, |chunk| chunk.first)
    }

    /// The message of the stream that holds an event.
    pub(super) fn whereabouts(&self, number: u64) -> Option<u64> {
        let at = self.chunks.partition_point(|chunk| chunk.first + chunk.events.len() as u64 <= number);
        self.chunks.get(at).filter(|chunk| chunk.first <= number).map(|chunk| chunk.sequence)
    }

    /// Below which number the server may let go, when it keeps about as much past the window as within.
    pub(super) fn litter(&mut self) -> Option<u64> {
        if self.stale < self.window.events.max(64) {
            return None;
        }
        self.stale = 0;
        self.chunks.front().map(|chunk| chunk.sequence)
    }
}

/// What a message is in the index.
pub(super) fn indexed(message: &Message, id: Option<&Name>) -> (usize, Option<Key>) {
    (message.weight(), id.map(|id| (message.user.clone(), id.clone())))
}

/// What stored events are in the index.
pub(super) fn index(room: &Name, header: &Header, events: Vec<Event>) -> impl Iterator<Item = (usize, Option<Key>)> {
    (header.first..).zip(events).map(|(number, event)| {
        let id = event.id.clone();
        let position = Position { epoch: header.epoch.clone(), seq: Seq(number) };
        indexed(&event.message(room, position), id.as_ref())
    })
}

#[cfg(test)]
mod tests;
