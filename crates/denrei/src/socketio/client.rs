//! What a Socket.IO client says, and the namespaces it is in. Its transport is [`super::connection`]'s.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::Notice;
use denrei_proto::codes::close;
use denrei_proto::engineio::{self, Message, Output, Packet, Response};
use denrei_proto::socketio::{Args, Body as Say, Decoder, Outgoing, Packet as Incoming};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::app::App;
use crate::auth::Standing;
use crate::dispatch::UnderWay;
use crate::identity::Identity;
use crate::metrics::{Ending, Transport};
use crate::rates::Asking;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::socketio::channel::{Channel, translate};
use crate::socketio::desk::Desk;
use crate::socketio::engine;
use crate::socketio::lane::{Lane, Order};
use crate::socketio::opening::Caller;
use crate::socketio::{Handshake, Reason, Socket};
use crate::socketio::{chat, rooms};
use crate::wires::{CHAT, ROOMS, Speech};

/// A request that waits for the engine's answer.
pub(super) type Request = oneshot::Sender<Response>;

/// Everything of a connection but its transport.
pub(super) struct Client {
    pub(super) session: Session,
    pub(super) lane: Arc<Lane>,
    pub(super) desk: Arc<Desk>,
    wire: engineio::Wire,
    handshake: Arc<Handshake>,
    /// Why the first request does not say who it is.
    refusal: Option<Box<Refusal>>,
    decoder: Decoder,
    /// The namespaces that the client is in, or about to be in.
    seats: Vec<(Arc<str>, Seat)>,
    under_way: UnderWay,
    /// Something that the client asked and that takes a while; what follows waits in `late`.
    asked: Option<Asked>,
    late: VecDeque<Late>,
    /// Sockets that have as many events waiting as they may, also such that have left since.
    full: Vec<Socket>,
    /// Since when it is not read although handlers wait for its answers.
    stuck: Option<Duration>,
    begun: Instant,
    /// When it must have joined a namespace.
    join_by: Option<Duration>,
    /// When the attachments of a packet must be there.
    collect_by: Option<Duration>,
    /// A handler wants it to end.
    pub(super) closing: Option<Reason>,
    pub(super) ended: Option<Reason>,
}

/// The longest message of a client that is in no namespace yet: what it brings to join one. Also what it may say to a
/// namespace before it is let in, all together.
const STRANGERS: usize = 64 * 1024;

/// The client's place in a namespace.
enum Seat {
    /// Middlewares are being asked. What the client says in the meantime waits for their answer.
    Waiting(Vec<Early>),
    /// Of an application.
    Socket(Socket),
    /// The client was refused, or taken out, which it may not know yet: what it says there is nothing, until it joins
    /// anew.
    Left,
    /// In the namespace of rooms.
    Rooms { _counted: InRooms },
    /// In the chat, as somebody.
    Chat(Box<Identity>),
}

/// An event of a client that is not let in yet.
struct Early {
    id: Option<u64>,
    name: Box<str>,
    args: Args,
}

impl Early {
    /// Events that may wait.
    const EVENTS: usize = 256;

    fn weight(&self) -> usize {
        self.name.len() + self.args.json().len() + self.args.attachments().iter().map(Bytes::len).sum::<usize>()
    }
}

/// Counts a client of the namespace of rooms while it is there.
struct InRooms(Arc<App>);

impl InRooms {
    fn new(app: &Arc<App>) -> Self {
        app.desks.tally.in_rooms.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(app))
    }
}

impl Drop for InRooms {
    fn drop(&mut self) {
        self.0.desks.tally.in_rooms.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a client asks of one of the house's own namespaces, and takes a while.
enum Asked {
    Rooms(rooms::Asked),
    Chat(chat::Asked),
}

/// A message that came behind something that takes a while.
enum Late {
    Text(String),
    Binary(Bytes),
}

impl Client {
    pub(super) fn new(session: Session, desk: &Arc<Desk>, wire: engineio::Wire, caller: Caller) -> Self {
        let Caller { handshake, refusal } = caller;
        let config = &session.app.config.socketio;
        let decoder = Decoder::new(config.parser, wire.version(), config.packets);
        // Bare Engine.IO knows no namespaces.
        let join_by = session.app.engine.is_none().then_some(config.connect_timeout);
        Self {
            session,
            lane: Arc::clone(&desk.lane),
            desk: Arc::clone(desk),
            wire,
            handshake: Arc::new(handshake),
            refusal,
            decoder,
            seats: Vec::new(),
            under_way: UnderWay::default(),
            asked: None,
            late: VecDeque::new(),
            full: Vec::new(),
            stuck: None,
            begun: Instant::now(),
            join_by,
            collect_by: None,
            closing: None,
            ended: None,
        }
    }

    /// The engine has told the client its terms: the conversation begins.
    pub(super) fn begin(&mut self) {
        if let Some(engine) = &self.session.app.engine {
            engine.opened(&engine::Client::new(&self.lane));
        } else if self.wire.version() == engineio::Version::V3 {
            // Clients of version 3 are in `/` without asking.
            self.join("/", None);
        }
    }

    /// The connection has ended: it is in no namespace and known to nobody any more.
    pub(super) fn finish(&mut self) {
        let reason = self.ended.unwrap_or(Reason::TransportClose);
        self.leave_all(reason);
        if self.session.ending != Ending::Slow {
            self.session.ending = reason.into();
        }
        if self.session.app.desks.remove(&self.desk.sid)
            && let Some(engine) = &self.session.app.engine
        {
            engine.closed(&engine::Client::new(&self.lane), reason);
        }
        self.desk.close();
    }

    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// When to look again at the latest.
    pub(super) fn deadline(&self, engine: Option<Duration>, reading: bool) -> Instant {
        // While the client is not read, whether it may be is looked at once a second.
        let soon = (!reading || engine.is_none()).then(|| self.now() + Duration::from_secs(1));
        let all = [engine, soon, self.join_by, self.collect_by];
        self.begun + all.into_iter().flatten().min().unwrap_or_default()
    }

    /// A peer that has too much under way, or does not take the answers, is not read further.
    pub(super) fn may_read(&self) -> bool {
        !self.is_busy() && !self.lane.is_flooded()
    }

    /// Whether so much of what it said is not done yet that it has to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.full.iter().any(Socket::is_full)
            || self.is_behind()
            || self.under_way.count() >= self.session.app.limits().publishes
    }

    /// Queues a packet of the engine's own.
    pub(super) fn queue(&self, packet: &Packet<'_>) {
        self.lane.send_record(engineio::record(packet));
    }

    pub(super) fn upgrade(&mut self, probe: &mut Channel) {
        let outbox = &self.session.outbox;
        let form = probe.form(self.wire);
        let parser = self.session.app.config.socketio.parser;
        let socket = probe.become_main(outbox);
        outbox.upgrade(socket, Speech { parser, form }.wire(), translate(self.wire));
        self.desk.has_upgraded();
        outbox.flush();
        self.session.carry(Transport::SocketIoWebSocket);
    }

    /// Does what the engine says.
    pub(super) fn obey(&mut self, mut outputs: engineio::Outputs<'_, '_, Request>, probe: &mut Option<Channel>) {
        while let Some(output) = outputs.next() {
            match output {
                Output::Message(message) => {
                    if !self.take(&message) {
                        self.leave_all(Reason::ForcedClose);
                        outputs.close();
                    }
                }
                Output::CloseProbe => {
                    if let Some(probe) = probe.take() {
                        probe.close(close::NORMAL);
                    }
                }
                other => self.do_one(other),
            }
        }
    }

    pub(super) fn do_one(&mut self, output: Output<'_, Request>) {
        match output {
            Output::Queue(packet) => self.queue(&packet),
            Output::Answer(request, answer) => {
                let queued = if answer.takes_queue() { self.session.outbox.take() } else { VecDeque::new() };
                let response = answer.respond(self.wire, queued.iter().map(|chunk| &chunk[..]));
                if request.send(response).is_err() && answer.takes_queue() {
                    // Its client has gone with what was queued.
                    self.ended.get_or_insert(Reason::TransportError);
                }
            }
            Output::Closed(reason) => {
                self.ended.get_or_insert(reason.into());
            }
            // Only a probe's own messages lead to these.
            Output::Message(_) | Output::Probed | Output::Upgraded | Output::CloseProbe => {}
        }
    }

    /// Takes a message, or puts it aside while something before it takes a while.
    fn take(&mut self, message: &Message<'_>) -> bool {
        if let Some(engine) = &self.session.app.engine {
            engine.message(&engine::Client::new(&self.lane), message.into());
            return true;
        }
        if !self.is_behind() {
            return self.hear(message);
        }
        self.late.push_back(match message {
            Message::Text(text) => Late::Text((*text).to_owned()),
            Message::Binary(data) => Late::Binary(Bytes::copy_from_slice(data)),
        });
        true
    }

    /// Whether handlers have waited for too long for answers that cannot be read.
    pub(super) fn is_stuck(&mut self, now: Duration) -> bool {
        if !self.full.iter().any(|socket| socket.is_full() && !socket.waiting().is_empty()) {
            self.stuck = None;
            return false;
        }
        let config = &self.session.app.config.socketio;
        let patience = config.ping_interval + config.ping_timeout;
        now - *self.stuck.get_or_insert(now) > patience
    }

    /// Whether something that the client asked is not done yet, or waits behind it.
    pub(super) fn is_behind(&self) -> bool {
        self.asked.is_some() || !self.late.is_empty()
    }

    /// Does what the client asked and what it has said since, in its order. False ends the connection.
    pub(super) async fn catch_up(&mut self) -> bool {
        match self.asked.take() {
            Some(Asked::Rooms(asked)) => {
                rooms::answer(&mut self.session, &self.under_way, &self.lane, asked).await;
            }
            Some(Asked::Chat(asked)) => chat::answer(&mut self.session, &self.under_way, &self.lane, asked).await,
            None => {}
        }
        while self.asked.is_none()
            && let Some(late) = self.late.pop_front()
        {
            let understood = match &late {
                Late::Text(text) => self.hear(&Message::Text(text)),
                Late::Binary(data) => self.hear(&Message::Binary((&**data).into())),
            };
            if !understood {
                return false;
            }
        }
        true
    }

    /// Everything that the client asked is answered, behind what the shard has to do.
    pub(super) async fn settled(&mut self) {
        self.under_way.clone().settled().await;
        self.session.outbox.shard().settled().await;
    }

    /// Whether the client has let a time pass by which it had to do something.
    pub(super) fn is_late(&self) -> bool {
        let now = self.now();
        [self.join_by, self.collect_by].into_iter().flatten().any(|by| by <= now)
    }

    /// Understands a message; false ends the connection.
    fn hear(&mut self, message: &Message<'_>) -> bool {
        // Who is in no namespace yet has nothing to say but who it is.
        let stranger = self.seats.iter().all(|(_, seat)| matches!(seat, Seat::Waiting(_) | Seat::Left));
        let length = match message {
            Message::Text(text) => text.len(),
            Message::Binary(data) => data.len(),
        };
        let tally = &self.session.app.desks.tally;
        tally.packets_in.fetch_add(1, Ordering::Relaxed);
        tally.bytes_in.fetch_add(length as u64, Ordering::Relaxed);
        if stranger && length > STRANGERS {
            return false;
        }
        let packet = match message {
            Message::Text(text) => self.decoder.text(text),
            Message::Binary(data) => self.decoder.binary(data),
        };
        let collecting = self.decoder.is_collecting();
        if stranger && collecting {
            return false;
        }
        let time = self.session.app.config.socketio.packet_timeout;
        self.collect_by = collecting.then(|| self.collect_by.unwrap_or_else(|| self.now() + time));
        match packet {
            Ok(Some(packet)) => self.act(packet),
            Ok(None) => true,
            Err(error) => {
                tracing::debug!(%error, "a packet was not understood");
                false
            }
        }
    }

    /// Does what a packet says; false when it must not say that.
    fn act(&mut self, packet: Incoming<'_>) -> bool {
        let namespace = &*packet.namespace;
        self.session.asks(match &packet.body {
            Say::Connect { .. } => "connect",
            Say::Event { name, .. } => name,
            Say::Disconnect => "disconnect",
            Say::Ack { .. } => "ack",
            _ => "invalid",
        });
        if let Say::Connect { auth } = packet.body {
            let handshake = Arc::clone(&self.handshake);
            if let Err(refusal) = self.session.pass_as(handshake.identity(), Asking::Request) {
                self.turn_away(namespace, &refusal);
                return !self.session.is_abused();
            }
            let has_room = self.make_room(namespace);
            if has_room {
                self.join(namespace, auth);
            }
            return has_room;
        }
        let seat = self.seats.iter_mut().find(|(name, _)| **name == *namespace).map(|(_, seat)| seat);
        match (packet.body, seat) {
            (Say::Event { id, name, args }, Some(Seat::Waiting(early))) => {
                let passed = self.session.pass_as(self.handshake.identity(), Asking::Event(&name));
                if passed.is_err() {
                    // There is no socket yet that could say so.
                    return !self.session.is_abused();
                }
                early.push(Early { id, name: name.into(), args });
                early.len() <= Early::EVENTS && early.iter().map(Early::weight).sum::<usize>() <= STRANGERS
            }
            (Say::Event { .. } | Say::Ack { .. } | Say::Disconnect, Some(Seat::Left)) => true,
            (Say::Disconnect, Some(Seat::Socket(socket))) => {
                socket.leave(Reason::ClientNamespaceDisconnect);
                self.seats.retain(|(name, _)| **name != *namespace);
                true
            }
            (Say::Disconnect, Some(Seat::Rooms { .. })) => {
                self.session.leave_all_as(ROOMS);
                self.seats.retain(|(name, _)| **name != *namespace);
                true
            }
            (Say::Event { id, name, args }, Some(Seat::Socket(socket))) => {
                if let Err(refusal) = self.session.pass_as(socket.handshake().identity(), Asking::Event(&name)) {
                    socket.refuse(id, refusal);
                    return !self.session.is_abused();
                }
                if !socket.receive(id, &name, args) {
                    self.full.push(socket.clone());
                }
                true
            }
            (Say::Disconnect, Some(Seat::Chat(_))) => {
                self.session.leave_all_as(CHAT);
                self.seats.retain(|(name, _)| **name != *namespace);
                true
            }
            (Say::Event { id, name, args }, Some(Seat::Chat(identity))) => {
                let who = (&mut **identity, &self.under_way, &self.lane);
                self.asked = chat::event(&mut self.session, who, id, &name, &args).map(Asked::Chat);
                !self.session.is_abused()
            }
            (Say::Event { id, name, args }, Some(Seat::Rooms { .. })) => {
                let asked = rooms::event(&mut self.session, &self.under_way, &self.lane, id, &name, &args);
                self.asked = asked.map(Asked::Rooms);
                !self.session.is_abused()
            }
            (Say::Ack { id, args }, Some(Seat::Socket(socket))) => {
                socket.answer(id, args);
                true
            }
            // Nothing is asked of the client there.
            (Say::Ack { .. }, Some(Seat::Rooms { .. } | Seat::Chat(_))) => true,
            // Node ends a client that speaks to a namespace it is not in, joins one twice, or says what servers say.
            _ => false,
        }
    }

    /// Makes room for the client in a namespace, unless it is there, or in too many. Those that it is out of do not count.
    fn make_room(&mut self, namespace: &str) -> bool {
        // Whoever was refused or taken out may ask again at once: before what is left for us to do about it is done.
        self.take_orders();
        self.seats.retain(|(name, seat)| **name != *namespace || !matches!(seat, Seat::Left));
        if self.seats.iter().any(|(name, _)| **name == *namespace) {
            return false;
        }
        let most = self.session.app.config.socketio.namespaces;
        if self.seats.len() >= most {
            self.seats.retain(|(_, seat)| !matches!(seat, Seat::Left));
        }
        self.seats.len() < most
    }

    /// The client wants to be in a namespace.
    fn join(&mut self, namespace: &str, auth: Option<Bytes>) {
        let handshake = match self.identify(auth.as_deref()) {
            Ok(handshake) => handshake,
            Err(refusal) => {
                self.seats.push((namespace.into(), Seat::Left));
                return self.turn_away(namespace, &refusal);
            }
        };
        let app = Arc::clone(&self.session.app);
        let name: Arc<str> = namespace.into();
        if namespace == "/" && app.config.socketio.rooms && !app.io.takes(namespace) {
            self.session.identify(handshake.identity().clone());
            rooms::enter(&self.session, &self.lane);
            self.seats.push((name, Seat::Rooms { _counted: InRooms::new(&app) }));
            self.join_by = None;
            return;
        }
        self.session.answer_for(handshake.identity());
        if namespace == chat::NAMESPACE && app.chat.is_some() && !app.io.takes(namespace) {
            let identity = handshake.identity().clone();
            self.asked = Some(Asked::Chat(chat::enter(&self.session, &self.lane, &identity)));
            self.seats.push((name, Seat::Chat(Box::new(identity))));
            self.join_by = None;
            return;
        }
        self.seats.push((name, Seat::Waiting(Vec::new())));
        app.io.connect(&self.lane, &handshake, namespace, auth);
        // Where nobody had to be asked, the answer is there already.
        self.take_orders();
    }

    fn turn_away(&self, namespace: &str, refusal: &Refusal) {
        let error = match self.lane.version {
            engineio::Version::V3 => Outgoing::connect_error_v3,
            engineio::Version::V4 => Outgoing::connect_error,
        };
        self.lane.send(&error(namespace, &refusal.sentence, Some(&refusal.body())));
    }

    /// Who it is: what the namespace's `auth.token` says, else what the first request said.
    fn identify(&self, auth: Option<&[u8]>) -> Result<Arc<Handshake>, Refusal> {
        #[derive(serde::Deserialize)]
        struct Auth<'a> {
            #[serde(borrow)]
            token: Option<std::borrow::Cow<'a, str>>,
        }
        let known = &self.session.app.auth;
        // Where the house knows no tokens, what clients call one is the application's.
        let auth = auth.filter(|_| known.knows_tokens());
        let token = auth.and_then(|auth| serde_json::from_slice::<Auth<'_>>(auth).ok()?.token);
        match token {
            Some(token) => {
                let address = self.handshake.identity().address;
                let identity = Identity { address, ..known.verify(&token)? };
                Ok(Arc::new(self.handshake.identified(identity)))
            }
            // What it showed at first may be over by now.
            None => match (&self.refusal, known.standing(self.handshake.identity())) {
                (Some(refusal), _) => Err((**refusal).clone()),
                (None, Standing::Over(refusal)) => Err(refusal),
                (None, Standing::Good(_) | Standing::Expiring(..)) => Ok(Arc::clone(&self.handshake)),
            },
        }
    }

    /// Does what handlers have left to do.
    pub(super) fn take_orders(&mut self) {
        for order in self.lane.orders() {
            match order {
                Order::Joined(socket) => self.seat(&socket),
                Order::Refused(namespace) => {
                    self.vacate(|name, seat| **name == *namespace && matches!(seat, Seat::Waiting(_)));
                }
                // By then the client may have another one there.
                Order::Left(left) => self.vacate(|_, seat| matches!(seat, Seat::Socket(socket) if *socket == left)),
                Order::Relieved => self.full.retain(|socket| socket.queue().is_pressed()),
                Order::Close(reason) => {
                    self.closing.get_or_insert(reason);
                }
            }
        }
    }

    fn vacate(&mut self, is_meant: impl Fn(&Arc<str>, &Seat) -> bool) {
        if let Some((_, seat)) = self.seats.iter_mut().find(|(name, seat)| is_meant(name, seat)) {
            *seat = Seat::Left;
        }
    }

    /// The client is let in.
    fn seat(&mut self, socket: &Socket) {
        let path = socket.namespace().name();
        let waiting = self.seats.iter_mut().find_map(|(name, seat)| match seat {
            Seat::Waiting(early) if **name == *path => {
                let early = std::mem::take(early);
                *seat = Seat::Socket(socket.clone());
                Some(early)
            }
            _ => None,
        });
        let Some(early) = waiting else {
            // The connection is about to end.
            return socket.leave(Reason::TransportClose);
        };
        self.join_by = None;
        // What became of its token while it was asked about is seen now.
        self.session.outbox.notify(Notice::Due);
        for Early { id, name, args } in early {
            if !socket.receive(id, &name, args) {
                self.full.push(socket.clone());
            }
        }
    }

    /// Tokens that the client has shown may be over, or be so soon, each in its namespace.
    pub(super) fn look_again(&mut self) {
        for (name, seat) in &mut self.seats {
            let standing = match seat {
                Seat::Socket(socket) => socket.standing(&self.session),
                Seat::Rooms { .. } => self.session.standing(&self.session.identity),
                Seat::Chat(identity) => self.session.standing(identity),
                Seat::Waiting(_) | Seat::Left => continue,
            };
            let (event, data) = match &standing {
                Standing::Good(_) => continue,
                Standing::Expiring(expires_at, _) => ("expiring", format!("[{{\"expiresAt\":{expires_at}}}]")),
                Standing::Over(refusal) => ("unauthorized", format!("[{}]", refusal.body())),
            };
            let args = Args::trusted(data.into(), Vec::new());
            self.lane.send(&Outgoing::event(name, None, event, &args, None));
            if matches!(standing, Standing::Over(_)) {
                match seat {
                    Seat::Socket(socket) => socket.disconnect(false),
                    _ => {
                        self.session.leave_all_as(if **name == *chat::NAMESPACE { CHAT } else { ROOMS });
                        // What it asked is not done any more.
                        self.asked = None;
                        self.lane.send(&Outgoing::disconnect(name));
                    }
                }
                *seat = Seat::Left;
            }
        }
        if self.join_by.is_none() && self.seats.iter().all(|(_, seat)| matches!(seat, Seat::Left)) {
            // Who is nowhere any more has to come back somewhere.
            self.join_by = Some(self.now() + self.session.app.config.socketio.connect_timeout);
        }
    }

    /// The server sends the client away: it is told so in every namespace, else it would come back by itself.
    pub(super) fn dismiss(&mut self) {
        for (name, seat) in &mut self.seats {
            match seat {
                Seat::Socket(socket) => socket.disconnect(false),
                Seat::Rooms { .. } | Seat::Chat(_) => self.lane.send(&Outgoing::disconnect(name)),
                // Who is let in only now is looked at again when the connection ends.
                Seat::Waiting(_) | Seat::Left => continue,
            }
            *seat = Seat::Left;
        }
        self.session.leave_all();
        // What it asked is not done any more.
        self.asked = None;
    }

    /// The connection is about to end: nothing more is heard, and nothing more waited for.
    pub(super) fn leave_all(&mut self, reason: Reason) {
        for (_, seat) in self.seats.drain(..) {
            if let Seat::Socket(socket) = seat {
                socket.leave(reason);
            }
        }
        self.session.leave_all();
        self.full.clear();
        self.late.clear();
        self.asked = None;
        (self.join_by, self.collect_by, self.stuck) = (None, None, None);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.finish();
    }
}
