//! How a socket comes into its namespace, and out of it.

use std::sync::{Arc, Mutex};

use denrei_hub::{Position, Reader};
use denrei_proto::engineio::Version;
use denrei_proto::socketio::Outgoing;

use crate::socketio::ack::Waiting;
use crate::socketio::data::Kept;
use crate::socketio::lane::Order;
use crate::socketio::names::Pid;
use crate::socketio::queue::Queue;
use crate::socketio::recovery::Session;
use crate::socketio::socket::{Inner, Newcomer, Phase, Place, State};
use crate::socketio::{Namespace, Reason, Socket, SocketId, lock};
use crate::wires::EMITS;

impl Socket {
    pub(crate) fn new(namespace: &Namespace, newcomer: Newcomer, session: Option<Session>) -> Self {
        let Newcomer { lane, handshake, auth, runtime } = newcomer;
        let own = handshake.identity().user.as_ref().map(|user| Arc::<str>::from(format!("user:{user}")));
        let recovered = session.is_some();
        let mut state = State::default();
        let (id, pid, data) = match session {
            Some(session) => {
                state.begun = Some(session.begun);
                state.rooms.extend(session.rooms.into_iter().map(Place::Named));
                (session.id, Some(session.pid), Kept::of(session.data))
            }
            None => {
                let recoverable = namespace.sessions().is_some() && lane.version == Version::V4;
                (SocketId::random(), recoverable.then(Pid::random), Kept::default())
            }
        };
        state.rooms.retain(|place| !matches!(place, Place::Named(name) if Some(name) == own.as_ref()));
        state.rooms.extend(own.map(Place::Named));
        Self(Arc::new(Inner {
            id,
            key: namespace.next_key(),
            pid,
            recovered,
            namespace: namespace.clone(),
            lane,
            handshake,
            renewed: Mutex::default(),
            auth,
            runtime,
            state: Mutex::new(state),
            queue: Queue::new(),
            waiting: Waiting::default(),
            listeners: Mutex::default(),
            data,
        }))
    }

    /// The client is let in: tells it so, and takes its place in the namespace. False when it has gone in the meantime,
    /// for the caller to part it. `begun` is where the namespace stands, if it can be recovered.
    pub(crate) fn open(&self, begun: Option<&Position>) -> bool {
        if self.has_left() {
            // A middleware has sent it away.
            return false;
        }
        // The connection must know the socket before the client can speak to it.
        if !self.0.lane.order(Order::Joined(self.clone())) {
            return false;
        }
        let path = self.0.namespace.name();
        match self.0.lane.version {
            Version::V4 => {
                let pid = self.0.pid.as_ref().map(Pid::as_str);
                self.0.lane.send(&Outgoing::connect(path, self.id().as_str(), pid));
            }
            Version::V3 => self.0.lane.send(&Outgoing::connect_v3(path)),
        }
        let mut table = self.0.namespace.table();
        let mut state = lock(&self.0.state);
        if state.phase != Phase::Joining {
            return false;
        }
        state.phase = Phase::Connected;
        if state.begun.is_none() {
            state.begun = begun.cloned();
        }
        table.enter(self);
        let hub = self.0.namespace.hub();
        let outbox = &self.0.lane.outbox;
        // Behind the packet that says so: an event before it would find no socket at the client.
        state.all = Some(hub.attach_now(outbox, self.0.namespace.rooms().all(), EMITS));
        for place in &mut state.rooms {
            if let Place::Named(name) = place
                && let Ok(room) = self.0.namespace.rooms().room(name)
            {
                table.join(&room, self.0.key);
                *place = Place::Joined(hub.attach_now(outbox, &room, EMITS));
            }
        }
        true
    }

    /// The connect handlers may run.
    pub(crate) fn begin(&self) {
        self.0.queue.begin(self);
    }

    /// Leaves the namespace; false when it has left before.
    pub(crate) fn part(&self, reason: Reason) -> bool {
        let parted = match self.0.namespace.sessions() {
            Some(sessions) => sessions.part(self, reason),
            None => self.take_out(reason),
        };
        parted.is_some_and(|parted| {
            self.finish(parted, reason);
            true
        })
    }

    /// Takes the socket out of the namespace's table: from here on nobody reaches it.
    pub(crate) fn take_out(&self, reason: Reason) -> Option<Parted> {
        let mut table = self.0.namespace.table();
        let mut state = lock(&self.0.state);
        let was_connected = match state.phase {
            Phase::Joining => false,
            Phase::Connected => true,
            Phase::Left | Phase::Dismissed => return None,
        };
        state.phase = if reason.is_dismissal() { Phase::Dismissed } else { Phase::Left };
        let names: Vec<Arc<str>> = self.places(&state).map(Arc::from).collect();
        let left = std::mem::replace(&mut state.rooms, names.iter().cloned().map(Place::Named).collect());
        for place in &left {
            if let Place::Joined(reader) = place {
                table.leave(reader.room(), self.0.key);
            }
        }
        table.exit(self);
        let readers = left.into_iter().filter_map(|place| match place {
            Place::Joined(reader) => Some(reader),
            Place::Named(_) => None,
        });
        let readers = readers.chain(state.all.take()).collect();
        let session = self.session_of(&state, names).filter(|_| was_connected || self.0.recovered);
        Some(Parted { was_connected, _readers: readers, session })
    }

    /// What its client would come back to if it were cut off now.
    pub(crate) fn session(&self) -> Option<Session> {
        let state = lock(&self.0.state);
        let names = self.places(&state).map(Arc::from).collect();
        self.session_of(&state, names).filter(|_| state.phase == Phase::Connected)
    }

    fn session_of(&self, state: &State, rooms: Vec<Arc<str>>) -> Option<Session> {
        Some(Session {
            id: self.id().clone(),
            pid: self.0.pid.clone()?,
            rooms,
            data: self.0.data.to_map(),
            begun: state.begun.clone()?,
            user: self.0.handshake.identity().user.clone(),
        })
    }

    /// What follows on [`Socket::take_out`], outside of all locks.
    pub(crate) fn finish(&self, parted: Parted, reason: Reason) {
        let was_connected = parted.was_connected;
        // Leaves the rooms of the hub.
        drop(parted);
        self.0.waiting.end();
        if was_connected {
            self.0.queue.end(self, reason);
        }
        self.0.namespace.tidy();
    }
}

/// A socket that was taken out of its namespace, and is still in the rooms of the hub.
pub(crate) struct Parted {
    was_connected: bool,
    _readers: Vec<Reader>,
    /// With which its client may come back.
    pub(crate) session: Option<Session>,
}
