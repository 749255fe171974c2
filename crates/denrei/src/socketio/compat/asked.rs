//! What the other servers were asked, and what they have answered so far.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use denrei_hub::random_token;
use tokio::sync::Notify;

use crate::socketio::ack::Gathered;
use crate::socketio::cluster::{Description, Question, Replies, Reply};
use crate::socketio::compat::format::Part;
use crate::socketio::{Args, SocketId, lock};

/// Questions whose answers are awaited, by the id of the request. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<Mutex<HashMap<String, Arc<Gathering>>>>);

impl Asked {
    /// Questions that may be under way. More are not asked.
    const MOST: usize = 10_000;

    /// Expects answers, until what is returned is dropped; none when too much is asked already.
    pub(super) fn expect(&self, question: &Question) -> Option<Awaited> {
        let request = random_token(16);
        let is_of_clients = matches!(question, Question::Emit(..));
        let gathering = Arc::new(Gathering { is_of_clients, state: Mutex::default(), done: Notify::new() });
        let mut asked = lock(&self.0);
        if asked.len() >= Self::MOST {
            return None;
        }
        match asked.entry(request.clone()) {
            Entry::Vacant(place) => place.insert(Arc::clone(&gathering)),
            // 96 bits do not come twice; and if they did, nobody would be harmed.
            Entry::Occupied(_) => return None,
        };
        drop(asked);
        Some(Awaited { asked: self.clone(), request, gathering })
    }

    /// Something was answered. To what nobody awaits any more, it is nothing.
    pub(super) fn answered(&self, request: &str, part: Part) {
        let gathering = lock(&self.0).get(request).cloned();
        if let Some(gathering) = gathering {
            gathering.add(part);
        }
    }
}

/// A question under way.
pub(super) struct Awaited {
    asked: Asked,
    pub(super) request: String,
    gathering: Arc<Gathering>,
}

impl Awaited {
    /// So many other servers are to answer.
    pub(super) fn expect(&self, servers: u64) {
        lock(&self.gathering.state).servers = Some(servers);
        self.gathering.done.notify_one();
    }

    /// Waits until all have answered, and all clients of theirs. Cancel safe.
    pub(super) async fn complete(&self) {
        while !lock(&self.gathering.state).is_complete() {
            self.gathering.done.notified().await;
        }
    }

    /// What there is.
    pub(super) fn replies(self) -> Replies {
        let state = std::mem::take(&mut *lock(&self.gathering.state));
        let missing = state.servers.unwrap_or(1).saturating_sub(state.heard);
        let mut all = Replies::default();
        // Nobody needs more of them to know that the answer has holes.
        all.missing.extend((0..missing.min(1000)).map(|_| "unnamed".to_owned()));
        if self.gathering.is_of_clients {
            let missing_elsewhere = state.clients.saturating_sub(state.answers.len() as u64);
            let answers = state.answers.into_iter().map(|args| (SocketId::unnamed(), args)).collect();
            all.replies.push(Reply::Answers(Gathered { answers, missing: Vec::new(), missing_elsewhere }));
        } else {
            all.replies.extend(state.answers.into_iter().map(Reply::ServerSide));
        }
        all.replies.push(Reply::Sockets(state.sockets));
        all
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        lock(&self.asked.0).remove(&self.request);
    }
}

struct Gathering {
    is_of_clients: bool,
    state: Mutex<State>,
    done: Notify,
}

#[derive(Default)]
struct State {
    /// How many are to answer, once that is known.
    servers: Option<u64>,
    /// How many have.
    heard: u64,
    /// How many clients of theirs are to answer.
    clients: u64,
    answers: Vec<Args>,
    sockets: Vec<Description>,
    bytes: usize,
}

impl State {
    fn is_complete(&self) -> bool {
        let answered = self.answers.len() as u64 >= self.clients;
        self.servers.is_some_and(|servers| self.heard >= servers) && answered
    }

    /// False when it is too much.
    fn keep(&mut self, args: Args) -> bool {
        self.bytes += 64 + args.json().len() + args.attachments().iter().map(Bytes::len).sum::<usize>();
        let fits = self.bytes <= Gathering::LARGEST;
        if fits {
            self.answers.push(args);
        }
        fits
    }
}

impl Gathering {
    /// Bytes of the answers to one question. What is more is dropped, and missing.
    const LARGEST: usize = 64 << 20;

    fn add(&self, part: Part) {
        let mut state = lock(&self.state);
        match part {
            Part::Sockets(sockets) if !self.is_of_clients => {
                state.bytes += sockets.iter().map(weight).sum::<usize>();
                if state.bytes <= Self::LARGEST {
                    state.sockets.extend(sockets);
                    state.heard += 1;
                }
            }
            Part::ServerSide(args) if !self.is_of_clients => {
                if state.keep(args) {
                    state.heard += 1;
                }
            }
            Part::Clients(clients) if self.is_of_clients => {
                state.heard += 1;
                state.clients = state.clients.saturating_add(clients);
            }
            Part::Client(args) if self.is_of_clients => {
                state.keep(args);
            }
            // To another question.
            _ => return,
        }
        self.done.notify_one();
    }
}

/// What a socket that was described takes in memory, roughly: most of it is the headers of its handshake.
fn weight(socket: &Description) -> usize {
    1024 + socket.rooms.iter().map(|room| 32 + room.len()).sum::<usize>()
}
