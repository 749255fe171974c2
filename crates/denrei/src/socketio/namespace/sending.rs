//! From an emit to bytes: one message of the hub for all receivers, or a packet for one.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use denrei_hub::{Audience, Draft, Emit, Message, Position, RoomName};
use denrei_proto::socketio::Outgoing;

use crate::app::now_ms;
use crate::socketio::emit::{By, Flags, Packet, Targets};
use crate::socketio::listeners::Handler;
use crate::socketio::{Namespace, Socket, SocketId};
use crate::wires::{self, EMITS};

impl Namespace {
    /// Sends an event to whom it is for.
    pub(crate) fn broadcast_to(&self, targets: &Targets, packet: &Packet, flags: Flags) {
        self.tell_outgoing(packet, || self.members(targets));
        match self.sessions() {
            Some(sessions) => {
                sessions.emit(targets, packet, flags, |offset| self.scatter(targets, packet, flags, offset));
            }
            None => self.scatter(targets, packet, flags, None),
        }
    }

    fn scatter(&self, targets: &Targets, packet: &Packet, flags: Flags, offset: Option<&Position>) {
        if let Some(socket) = targets.single().and_then(|id| self.socket(id)) {
            return self.hand(&socket, packet, None, offset, flags);
        }
        let audience = self.audience(targets);
        if let Some(room) =
            audience.rooms.first().or_else(|| (!audience.connections.is_empty()).then(|| self.rooms().all()))
        {
            // Who emits in a room of their own is whom the message is from: see `Hub::scatter`.
            let origin = match *audience.except_connections {
                [connection] if packet.by.origin == 0 => connection,
                _ => packet.by.origin,
            };
            let message = message(room, packet, origin, None, offset, flags);
            self.0.hub.scatter(audience, &message);
        }
    }

    /// Sends what all nodes have in their log at a place to those on this one whom it is for.
    pub(crate) fn deliver(&self, targets: &Targets, packet: &Packet, flags: Flags, place: &Position) {
        let Some(sessions) = self.sessions() else { return };
        self.tell_outgoing(packet, || self.members(targets));
        sessions.deliver(place, |offset| self.scatter(targets, packet, flags, Some(offset)));
    }

    /// A client of another protocol publishes to a room, or to everybody.
    pub(crate) fn publish(&self, room: Option<&str>, draft: Draft) {
        let most = self.0.limits.attachments;
        let packet = Packet {
            args: wires::plain_args(&[b"[", &*draft.payload, b"]"].concat(), most),
            event: draft.event,
            by: By { client: draft.from, user: draft.user, origin: draft.origin },
        };
        let everybody = self.broadcast();
        match room {
            Some(room) => everybody.to(room).send(packet),
            None => everybody.send(packet),
        }
    }

    /// Sends one socket an event.
    pub(crate) fn tell(&self, socket: &Socket, packet: &Packet, ack: Option<u64>, flags: Flags) {
        let log = self.shared_log(flags).filter(|_| ack.is_none());
        if socket.has_left() && (ack.is_some() || !socket.may_return()) {
            return;
        }
        let targets = Targets::one(socket.id());
        if let Some(log) = log {
            return log.publish(self, &targets, packet, flags);
        }
        if socket.has_left() {
            // For when its client is back.
            return self.broadcast_to(&targets, packet, flags);
        }
        self.tell_outgoing(packet, || vec![socket.clone()]);
        match self.sessions().filter(|_| ack.is_none()) {
            Some(sessions) => sessions.emit(&targets, packet, flags, |offset| {
                self.hand(socket, packet, None, offset, flags);
            }),
            None => self.hand(socket, packet, ack, None, flags),
        }
    }

    /// Sends these sockets an event that they are to answer.
    pub(crate) fn send_to(&self, sockets: &[Socket], packet: &Packet, ack: Option<u64>, flags: Flags) {
        if sockets.is_empty() {
            return;
        }
        self.tell_outgoing(packet, || sockets.to_vec());
        let connections = sockets.iter().map(|socket| Arc::clone(&socket.lane().outbox)).collect();
        let audience = Audience { connections, dialect: EMITS, ..Audience::default() };
        self.0.hub.scatter(audience, &message(self.rooms().all(), packet, packet.by.origin, ack, None, flags));
    }

    fn hand(&self, socket: &Socket, packet: &Packet, ack: Option<u64>, offset: Option<&Position>, flags: Flags) {
        let lane = socket.lane();
        if flags.volatile || flags.uncompressed {
            let connections = vec![Arc::clone(&lane.outbox)];
            let audience = Audience { connections, dialect: EMITS, ..Audience::default() };
            let message = message(self.rooms().all(), packet, packet.by.origin, ack, offset, flags);
            return self.0.hub.scatter(audience, &message);
        }
        let offset = offset.map(Position::to_string);
        lane.send(&Outgoing::event(self.name(), ack, packet.event.as_str(), &packet.args, offset.as_deref()));
    }

    fn audience(&self, targets: &Targets) -> Audience {
        let mut audience = Audience { dialect: EMITS, ..Audience::default() };
        let rooms = self.rooms();
        match &targets.rooms {
            None => audience.rooms.push(rooms.all().clone()),
            Some(names) => {
                for name in names {
                    match self.by_id(name) {
                        Some(socket) => audience.connections.push(Arc::clone(&socket.lane().outbox)),
                        // A name that no room can have is that of no room.
                        None => audience.rooms.extend(rooms.room(name)),
                    }
                }
            }
        }
        for name in &targets.except {
            match self.by_id(name) {
                Some(socket) => audience.except_connections.push(socket.lane().outbox.number()),
                None => audience.except.extend(rooms.room(name)),
            }
        }
        audience
    }

    fn by_id(&self, name: &str) -> Option<Socket> {
        (name.len() == SocketId::LENGTH).then(|| self.table().socket(name).cloned())?
    }

    /// The sockets that are meant, each once.
    pub(crate) fn members(&self, targets: &Targets) -> Vec<Socket> {
        let table = self.table();
        let rooms = self.rooms();
        let mut had: HashSet<u64> = HashSet::new();
        for name in &targets.except {
            had.extend(table.members(rooms, name));
        }
        match &targets.rooms {
            None => table.all().filter(|socket| !had.contains(&socket.key())).cloned().collect(),
            Some(names) => {
                let keys = names.iter().flat_map(|name| table.members(rooms, name));
                keys.filter(|key| had.insert(*key)).filter_map(|key| table.by_key(key).cloned()).collect()
            }
        }
    }

    fn tell_outgoing(&self, packet: &Packet, receivers: impl FnOnce() -> Vec<Socket>) {
        if self.lineage().all(|namespace| namespace.0.outgoing.load(Ordering::Relaxed) == 0) {
            return;
        }
        for socket in receivers() {
            let outgoing = socket.listeners(|handler| match handler {
                Handler::Outgoing(handler) => Some(handler.clone()),
                _ => None,
            });
            for handler in outgoing {
                handler(&socket, packet.event.as_str(), &packet.args);
            }
        }
    }
}

fn message(
    room: &RoomName,
    packet: &Packet,
    origin: u64,
    ack: Option<u64>,
    offset: Option<&Position>,
    flags: Flags,
) -> Arc<Message> {
    let draft = Draft {
        from: packet.by.client.clone(),
        user: packet.by.user.clone(),
        origin,
        ..Draft::new(room.clone(), packet.event.clone(), packet.args.json().clone(), now_ms())
    };
    let attachments = packet.args.attachments().to_vec();
    let emit =
        Emit { attachments, ack, offset: offset.cloned(), volatile: flags.volatile, uncompressed: flags.uncompressed };
    Arc::new(Message::emit(draft, emit))
}
