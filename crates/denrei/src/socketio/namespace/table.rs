//! Who is in a namespace, and in which of its rooms.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use denrei_hub::RoomName;

use crate::socketio::compat::Changes;
use crate::socketio::names::HubRooms;
use crate::socketio::{Socket, SocketId};

/// Who is where.
#[derive(Default)]
pub(crate) struct Table {
    sockets: HashMap<u64, Socket>,
    ids: HashMap<SocketId, u64>,
    rooms: HashMap<RoomName, HashSet<u64>>,
    /// Hears which rooms have their first member, or lost their last.
    changes: Option<Arc<Changes>>,
}

impl Table {
    pub(crate) fn enter(&mut self, socket: &Socket) {
        self.sockets.insert(socket.key(), socket.clone());
        self.ids.insert(socket.id().clone(), socket.key());
    }

    pub(crate) fn exit(&mut self, socket: &Socket) {
        self.sockets.remove(&socket.key());
        // A socket that has come back has the same id.
        if self.ids.get(socket.id()) == Some(&socket.key()) {
            self.ids.remove(socket.id());
        }
    }

    pub(crate) fn join(&mut self, room: &RoomName, socket: u64) {
        match self.rooms.get_mut(room) {
            Some(members) => {
                members.insert(socket);
            }
            None => {
                self.rooms.entry(room.clone()).or_default().insert(socket);
                self.changed(room);
            }
        }
    }

    pub(crate) fn leave(&mut self, room: &RoomName, socket: u64) {
        if let Some(members) = self.rooms.get_mut(room) {
            members.remove(&socket);
            if members.is_empty() {
                self.rooms.remove(room);
                self.changed(room);
            }
        }
    }

    /// Tells these changes from now on, beginning with the rooms that there are.
    pub(crate) fn watch(&mut self, changes: &Arc<Changes>) {
        self.changes = Some(Arc::clone(changes));
        self.rooms.keys().for_each(|room| self.changed(room));
    }

    /// Tells no changes any more.
    pub(crate) fn unwatch(&mut self) {
        self.changes = None;
    }

    fn changed(&self, room: &RoomName) {
        if let Some(changes) = &self.changes {
            changes.add(room);
        }
    }

    /// The rooms that have members.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        self.rooms.keys()
    }

    pub(crate) fn has(&self, room: &RoomName) -> bool {
        self.rooms.contains_key(room)
    }

    pub(crate) fn socket(&self, id: &str) -> Option<&Socket> {
        self.sockets.get(self.ids.get(id)?)
    }

    pub(super) fn by_key(&self, key: u64) -> Option<&Socket> {
        self.sockets.get(&key)
    }

    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = &Socket> {
        self.sockets.values()
    }

    /// Those in a room, or the one with this id.
    pub(super) fn members<'a>(&'a self, rooms: &HubRooms, room: &str) -> impl Iterator<Item = u64> + use<'a> {
        let own = self.socket(room).map(Socket::key);
        let members = match own {
            None => rooms.room(room).ok().and_then(|name| self.rooms.get(&name)),
            Some(_) => None,
        };
        own.into_iter().chain(members.into_iter().flatten().copied())
    }
}
