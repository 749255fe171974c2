//! Room classes: configuration that says where the log of a room lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::RoomName;

/// Where the log of a room lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Nowhere: messages are unnumbered and reach those who are there.
    None,
    /// In memory, within a window.
    Memory(Window),
    /// In the store, durable before it is acknowledged, for so long; none means for ever.
    Store(Option<Duration>),
}

/// How much a memory room keeps: whichever bound is reached first lets go of the oldest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Messages; default 1,000.
    pub events: usize,
    /// Age; default 10 minutes.
    pub age: Duration,
    /// Memory of one room in bytes, see [`crate::Message::weight`]; default 16 MiB.
    pub bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { events: 1000, age: Duration::from_secs(600), bytes: 16 << 20 }
    }
}

/// The settings of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    /// Where its rooms keep their log.
    pub keep: Keep,
}

/// Rooms that are kept for the same time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Retained {
    /// Those of a class: the part of their names before the first `:`, empty for names without one.
    Class(Arc<str>),
    /// Those of no class of these.
    Others(Arc<[Arc<str>]>),
}

/// All classes by name. The part of a room's name before its first `:` chooses one; a name without a known class has
/// the settings of `live`.
#[derive(Clone, Debug)]
pub struct Classes {
    /// Each with its number, by which it is counted.
    by_name: BTreeMap<Arc<str>, (Class, usize)>,
    live: Class,
}

impl Default for Classes {
    fn default() -> Self {
        let live = Class { keep: Keep::Memory(Window::default()) };
        let mut classes = Self { by_name: BTreeMap::new(), live };
        classes.set("live", live);
        for unkept in ["signal", "sio", "user"] {
            classes.set(unkept, Class { keep: Keep::None });
        }
        // What clients of Socket.IO may come back to, where nodes keep it together.
        let emits = Window { events: 10_000, age: Duration::from_secs(180), bytes: 16 << 20 };
        classes.set("emits", Class { keep: Keep::Memory(emits) });
        for stored in ["feed", "chat", "doc", "sys"] {
            classes.set(stored, Class { keep: Keep::Store(None) });
        }
        classes.set("inbox", Class { keep: Keep::Store(Some(Duration::from_secs(30 * 24 * 3600))) });
        classes
    }
}

impl Classes {
    /// Adds a class or changes a built-in one.
    pub fn set(&mut self, name: &str, class: Class) {
        if name == "live" {
            self.live = class;
        }
        let next = self.by_name.len();
        self.by_name.entry(name.into()).or_insert((class, next)).0 = class;
    }

    /// Each class that has a name, with it.
    pub fn named(&self) -> impl Iterator<Item = (&str, Class)> {
        self.by_name.iter().map(|(name, (class, _))| (&**name, *class))
    }

    /// The class of a room. The room `all`, which every native client is in, is of class `signal`.
    pub fn of(&self, room: &RoomName) -> Class {
        self.find(room).0
    }

    /// The class of a room, and its number: one more than the last for rooms without a known one.
    pub(crate) fn find(&self, room: &RoomName) -> (Class, usize) {
        let name = match room.as_str() {
            "all" => Some("signal"),
            name => name.split_once(':').map(|(class, _)| class),
        };
        let known = name.and_then(|name| self.by_name.get(name)).copied();
        known.unwrap_or((self.live, self.by_name.len()))
    }

    /// What rooms without a known class are called where they are counted.
    const OTHER: &str = "other";

    /// All of them by their numbers, and last what rooms without a known one are.
    pub(crate) fn numbered(&self) -> Vec<(Arc<str>, Class)> {
        let mut numbered: Vec<_> = self.by_name.iter().map(|(name, (class, number))| (*number, name, *class)).collect();
        numbered.sort_unstable_by_key(|(number, ..)| *number);
        let known = numbered.into_iter().map(|(_, name, class)| (Arc::clone(name), class));
        known.chain([(Self::OTHER.into(), self.live)]).collect()
    }

    /// For each bound, the largest that a class of memory rooms has: what keeps them all keeps that much.
    pub fn widest(&self) -> Window {
        let windows =
            self.by_name.values().map(|(class, _)| class).chain([&self.live]).filter_map(|class| match class.keep {
                Keep::Memory(window) => Some(window),
                Keep::None | Keep::Store(_) => None,
            });
        let wider = |a: Window, b: Window| Window {
            events: a.events.max(b.events),
            age: a.age.max(b.age),
            bytes: a.bytes.max(b.bytes),
        };
        windows.reduce(wider).unwrap_or_default()
    }

    /// Stored rooms that are not kept for ever, and how long they are.
    pub(crate) fn retained(&self) -> Vec<(Retained, Duration)> {
        let age = |class: &Class| match class.keep {
            Keep::Store(age) => age,
            Keep::None | Keep::Memory(_) => None,
        };
        let named = self.by_name.iter().map(|(name, (class, _))| (Retained::Class(name.clone()), class));
        let others = (Retained::Others(self.by_name.keys().cloned().collect()), &self.live);
        named.chain([others]).filter_map(|(rooms, class)| Some((rooms, age(class)?))).collect()
    }

    /// How often to look for what was kept long enough: an event outlives its time by a tenth, or an hour.
    pub(crate) fn trimming(&self) -> Duration {
        let shortest = self.retained().into_iter().map(|(_, age)| age).min().unwrap_or(Duration::MAX);
        (shortest / 10).clamp(Duration::from_secs(1), Duration::from_secs(3600))
    }
}

#[cfg(test)]
mod tests;
