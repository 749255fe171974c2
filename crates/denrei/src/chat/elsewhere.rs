//! Who is there on other nodes, and what they are told of this one.
//!
//! Each node says what changes, and counts what it says: who has missed something asks for the whole. A node that falls
//! silent for the time of its lease takes its users with it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use denrei_hub::{Hub, Name, Word};
use serde::{Deserialize, Serialize};

pub(super) const TOPIC: &str = "presence";

/// How a user is there on one node, or on several.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct There {
    /// Nobody sits at any of the connections.
    pub(super) idle: bool,
    /// Others are not to know.
    pub(super) invisible: bool,
}

/// What nodes tell one another of their users.
#[derive(Debug, Serialize, Deserialize)]
enum News {
    /// What has changed; `version` counts these. Without changes it is a reminder.
    Changed { version: u64, users: Vec<(Name, Option<There>)> },
    /// A part of all users at a version.
    Whole { version: u64, first: bool, last: bool, users: Vec<(Name, There)> },
    /// Something is missing: the receiver is to send the whole.
    Ask,
    /// A user wants to be seen, or not.
    Visible { user: Name, on: bool },
}

/// What was heard that somebody else has to act on.
pub(super) enum Heard {
    Nothing,
    /// A user wants to be seen, or not.
    Visible(Name, bool),
}

pub(super) struct Elsewhere {
    hub: Hub,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the others were told of this node.
    own: HashMap<Name, There>,
    version: u64,
    /// What they are to be told next.
    changes: Vec<(Name, Option<There>)>,
    nodes: HashMap<Name, Known>,
    /// Users of other nodes that have changed.
    stirred: HashSet<Name>,
    /// Nodes that want to know all.
    asking: HashSet<Name>,
    reminded: Option<Instant>,
}

/// What is known of another node.
#[derive(Default)]
struct Known {
    /// None: something was missed.
    version: Option<u64>,
    users: HashMap<Name, There>,
    /// The whole, as far as it has come.
    coming: Option<(u64, HashMap<Name, There>)>,
    asked: Option<Instant>,
}

impl Elsewhere {
    /// In one message, which must fit into what a bus carries at once.
    const PART: usize = 2000;
    /// How often a node reminds others of where it stands, and asks again for what it misses.
    const REMIND: Duration = Duration::from_secs(2);

    pub(super) fn new(hub: Hub) -> Self {
        Self { hub, state: Mutex::default() }
    }

    /// How a user is there on other nodes together.
    pub(super) fn of(&self, user: &Name) -> Option<There> {
        let state = self.lock();
        let each = state.nodes.values().filter_map(|node| node.users.get(user).copied());
        each.reduce(|a, b| There { idle: a.idle && b.idle, invisible: a.invisible || b.invisible })
    }

    /// Says how a user is there on this node now.
    pub(super) fn announce(&self, user: &Name, there: Option<There>) {
        if !self.hub.is_clustered() {
            return;
        }
        let mut state = self.lock();
        let before = match there {
            Some(there) => state.own.insert(user.clone(), there),
            None => state.own.remove(user),
        };
        if before != there {
            state.changes.push((user.clone(), there));
        }
    }

    /// Says that a user wants to be seen, or not.
    pub(super) fn announce_visible(&self, user: &Name, on: bool) {
        self.tell(None, &News::Visible { user: user.clone(), on });
    }

    /// Users of other nodes that have changed since the last call.
    pub(super) fn stirred(&self) -> HashSet<Name> {
        let mut state = self.lock();
        let State { nodes, stirred, .. } = &mut *state;
        if !nodes.is_empty() {
            let there: HashSet<_> = self.hub.nodes().into_iter().map(|node| node.id).collect();
            for (_, gone) in nodes.extract_if(|node, _| !there.contains(node)) {
                stirred.extend(gone.users.into_keys());
            }
        }
        std::mem::take(stirred)
    }

    /// Tells the others what has changed, and those who ask the whole.
    pub(super) fn flush(&self) {
        if !self.hub.is_clustered() {
            return;
        }
        let mut state = self.lock();
        let now = Instant::now();
        let changes = std::mem::take(&mut state.changes);
        for part in changes.chunks(Self::PART) {
            state.version += 1;
            self.tell(None, &News::Changed { version: state.version, users: part.to_vec() });
        }
        if state.reminded.is_none_or(|reminded| now - reminded >= Self::REMIND) {
            state.reminded = Some(now);
            self.tell(None, &News::Changed { version: state.version, users: Vec::new() });
        }
        for node in std::mem::take(&mut state.asking) {
            let users: Vec<_> = state.own.iter().map(|(user, there)| (user.clone(), *there)).collect();
            let parts = users.len().div_ceil(Self::PART).max(1);
            for part in 0..parts {
                let users = users.iter().skip(part * Self::PART).take(Self::PART).cloned().collect();
                let (first, last) = (part == 0, part + 1 == parts);
                self.tell(Some(&node), &News::Whole { version: state.version, first, last, users });
            }
        }
    }

    /// Hears what another node says.
    pub(super) fn hear(&self, word: &Word) -> Heard {
        let news = match rmp_serde::from_slice(&word.bytes) {
            Ok(news) => news,
            Err(error) => {
                tracing::warn!(%error, node = %word.from, "what a node says of its users could not be read");
                return Heard::Nothing;
            }
        };
        let mut state = self.lock();
        let State { nodes, stirred, asking, .. } = &mut *state;
        match news {
            News::Visible { user, on } => return Heard::Visible(user, on),
            News::Ask => drop(asking.insert(word.from.clone())),
            News::Changed { version, users } => {
                let known = nodes.entry(word.from.clone()).or_default();
                if known.follows(version, !users.is_empty()) {
                    if known.version.is_none() {
                        // It begins: what was known was of another run of it.
                        stirred.extend(known.users.drain().map(|(user, _)| user));
                    }
                    known.version = Some(version);
                    for (user, there) in users {
                        match there {
                            Some(there) => drop(known.users.insert(user.clone(), there)),
                            None => drop(known.users.remove(&user)),
                        }
                        stirred.insert(user);
                    }
                } else if known.asked.is_none_or(|asked| asked.elapsed() >= Self::REMIND) {
                    known.version = None;
                    known.asked = Some(Instant::now());
                    self.tell(Some(&word.from), &News::Ask);
                }
            }
            News::Whole { version, first, last, users } => {
                let known = nodes.entry(word.from.clone()).or_default();
                if first {
                    known.coming = Some((version, HashMap::new()));
                }
                let Some((_, coming)) = known.coming.as_mut().filter(|(coming, _)| *coming == version) else {
                    return Heard::Nothing;
                };
                coming.extend(users);
                if last && let Some((version, coming)) = known.coming.take() {
                    stirred.extend(coming.keys().cloned());
                    let before = std::mem::replace(&mut known.users, coming);
                    stirred.extend(before.into_keys());
                    known.version = Some(version);
                    known.asked = None;
                }
            }
        }
        Heard::Nothing
    }

    fn tell(&self, node: Option<&Name>, news: &News) {
        match rmp_serde::to_vec(news) {
            Ok(bytes) => match node {
                Some(node) => self.hub.tell_node(node, TOPIC, bytes.into()),
                None => self.hub.tell_nodes(TOPIC, bytes.into()),
            },
            Err(error) => tracing::error!(%error, "nobody was told of this node's users"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether what was heard follows on what is known.
    fn follows(&self, version: u64, changes: bool) -> bool {
        match self.version {
            Some(known) => version == known + u64::from(changes),
            None => version == u64::from(changes),
        }
    }
}
