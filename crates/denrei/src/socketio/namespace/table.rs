//! Who is in a namespace, and in which of its rooms.

use std::collections::{HashMap, HashSet};

use denrei_hub::RoomName;

use crate::socketio::names::HubRooms;
use crate::socketio::{Socket, SocketId};

/// Who is where.
#[derive(Default)]
pub(crate) struct Table {
    sockets: HashMap<u64, Socket>,
    ids: HashMap<SocketId, u64>,
    rooms: HashMap<RoomName, HashSet<u64>>,
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
            Some(members) => members.insert(socket),
            None => self.rooms.entry(room.clone()).or_default().insert(socket),
        };
    }

    pub(crate) fn leave(&mut self, room: &RoomName, socket: u64) {
        if let Some(members) = self.rooms.get_mut(room) {
            members.remove(&socket);
            if members.is_empty() {
                self.rooms.remove(room);
            }
        }
    }

    pub(crate) fn socket(&self, id: &str) -> Option<&Socket> {
        self.sockets.get(self.ids.get(id)?)
    }

    pub(super) fn by_key(&self, key: u64) -> Option<&Socket> {
        self.sockets.get(&key)
    }

    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &Socket> {
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
