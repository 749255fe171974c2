//! The one loop of a Socket.IO client's connection, whatever carries it.
//!
//! What is answered when, and when it ends, is the engine's ([`engineio::Session`]); what the packets mean is the
//! decoder's. The loop gives both what has happened and does what they say. Handlers run elsewhere and reach it by
//! [`Order`]s, requests by [`Visit`]s; both wake its outbox.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::ShardHandle;
use denrei_proto::codes::close;
use denrei_proto::engineio::{self, Body, Message, Output, Packet, Response, Transport};
use denrei_proto::socketio::{Body as Say, Decoder, Outgoing, Packet as Incoming};
use denrei_proto::ws::Event;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::admission;
use crate::app::{App, Open, client_id};
use crate::dispatch::UnderWay;
use crate::identity::Identity;
use crate::link::{Link, Woke};
use crate::refusal::Refusal;
use crate::session::{Attention, Session};
use crate::socketio::channel::{Channel, Lost, translate};
use crate::socketio::desk::{Desk, Post, Visit};
use crate::socketio::engine;
use crate::socketio::lane::{Lane, Order};
use crate::socketio::opening::Caller;
use crate::socketio::rooms::{self, Asked};
use crate::socketio::{Handshake, Reason, Socket};
use crate::wires::{Form, Speech};

type Request = oneshot::Sender<Response>;
type Engine = engineio::Session<Request>;

/// A connection that is about to begin.
pub(crate) struct Beginning {
    pub(crate) open: Open,
    pub(crate) wire: engineio::Wire,
    pub(crate) caller: Caller,
    /// There if it begins with a WebSocket.
    pub(crate) channel: Option<Channel>,
}

struct Connection {
    engine: Engine,
    client: Client,
    channel: Option<Channel>,
    probe: Option<Channel>,
    /// What a POST brought and was not read yet. There is one at a time.
    post: Option<Post>,
    /// The server is about to stop.
    stopping: bool,
}

/// Everything but the transport.
struct Client {
    session: Session,
    lane: Arc<Lane>,
    desk: Arc<Desk>,
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
    /// Sockets that have as many events waiting as they may.
    full: usize,
    begun: Instant,
    /// When it must have joined a namespace.
    join_by: Option<Duration>,
    /// When the attachments of a packet must be there.
    collect_by: Option<Duration>,
    ended: Option<Reason>,
}

/// The longest message of a client that is in no namespace yet: what it brings to join one.
const STRANGERS: usize = 64 * 1024;

/// The client's place in a namespace.
enum Seat {
    /// Middlewares are being asked.
    Waiting,
    /// Of an application.
    Socket(Socket),
    /// In the namespace of rooms.
    Rooms { _counted: InRooms },
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

/// A message that came behind something that takes a while.
enum Late {
    Text(String),
    Binary(Bytes),
}

/// Begins a connection; its task ends with it. Returns where requests find it.
pub(crate) fn begin(beginning: Beginning, shard: &ShardHandle) -> Arc<Desk> {
    let Beginning { open, wire, caller: Caller { handshake, refusal }, mut channel } = beginning;
    let app = Arc::clone(open.app());
    let config = &app.config.socketio;
    let parser = config.parser;
    let transport = if channel.is_some() { Transport::WebSocket } else { Transport::Polling };
    let form = channel.as_ref().map_or(Form::Records, |channel| channel.form(wire));
    // The channel's own outbox has its socket: the session's takes it over.
    let outbox = app.hub.outbox(client_id(), Speech { parser, form: Form::Records }.wire(), None, shard);
    outbox.insist();
    if let Some(channel) = &mut channel {
        let socket = channel.become_main(&outbox);
        outbox.upgrade(socket, Speech { parser, form }.wire(), translate(wire));
    }
    let lane = Lane::new(Arc::clone(&outbox), wire.version(), app.config.websocket.deflate.unwrap_or_default());
    let desk = Desk::new(client_id(), Arc::clone(&lane), transport);
    app.desks.add(&desk);
    let opening = engineio::Handshake {
        sid: &desk.sid,
        upgrades: transport == Transport::Polling && config.upgrades && config.websocket,
        ping_interval: config.ping_interval,
        ping_timeout: config.ping_timeout,
        max_payload: config.max_payload,
    };
    let engine = engineio::Config {
        version: wire.version(),
        ping_interval: config.ping_interval,
        ping_timeout: config.ping_timeout,
        upgrade_timeout: config.upgrade_timeout,
        allow_upgrades: config.upgrades,
        payload_packets: config.payload_packets,
    };
    let limits = config.packets;
    let join_by = Some(config.connect_timeout);
    // Known to nobody by its id, and reminded of no heartbeat: the engine has its own.
    let session = Session::new(open, outbox, Identity::default(), Duration::MAX);
    let mut client = Client {
        session,
        lane,
        desk: Arc::clone(&desk),
        wire,
        handshake: Arc::new(handshake),
        refusal,
        decoder: Decoder::new(parser, wire.version(), limits),
        seats: Vec::new(),
        under_way: UnderWay::default(),
        asked: None,
        late: VecDeque::new(),
        full: 0,
        begun: Instant::now(),
        join_by,
        collect_by: None,
        ended: None,
    };
    client.queue(&Packet::Open(&opening.to_json()));
    if let Some(engine) = &client.session.app.engine {
        client.join_by = None;
        engine.opened(&engine::Client::new(&client.lane));
    } else if wire.version() == engineio::Version::V3 {
        // Clients of version 3 are in `/` without asking.
        client.join("/", None);
    }
    let engine = Engine::new(engine, transport, Duration::ZERO);
    let connection = Box::new(Connection { engine, client, channel, probe: None, post: None, stopping: false });
    tokio::spawn(connection.run());
    desk
}

impl Connection {
    async fn run(mut self: Box<Self>) {
        while self.client.ended.is_none() {
            self.attend();
            if self.stopping {
                Box::pin(self.stop()).await;
                break;
            }
            if self.client.asked.is_some() || !self.client.late.is_empty() {
                Box::pin(self.catch_up()).await;
                continue;
            }
            self.give();
            if self.client.ended.is_some() {
                break;
            }
            if self.client.session.is_behind()
                && let Some(cursor) = Box::pin(self.client.session.page(rooms::owed)).await
            {
                cursor.live();
                continue;
            }
            self.wait().await;
        }
        let Self { mut client, channel, probe, .. } = *self;
        let reason = client.ended.take().unwrap_or(Reason::TransportClose);
        client.leave_all(reason);
        if let Some(engine) = &client.session.app.engine {
            engine.closed(&engine::Client::new(&client.lane), reason);
        }
        client.session.outbox.flush();
        for channel in [channel, probe].into_iter().flatten() {
            channel.close(close::NORMAL);
        }
    }

    /// Does what requests, handlers and the shard have left.
    fn attend(&mut self) {
        for order in self.client.lane.orders() {
            if let Some(reason) = self.client.seat(order) {
                self.end(reason);
            }
        }
        for visit in self.client.desk.visits() {
            self.receive(visit);
        }
        // Who has too much under way is not read: its POST waits, as its WebSocket would.
        if self.client.may_read()
            && let Some(post) = self.post.take()
        {
            self.read_post(&post);
        }
        match self.client.session.attend() {
            Some(Attention::Shutdown) => self.stopping = true,
            // A client that cannot keep up with what must not be lost begins anew, and may recover.
            Some(Attention::Overflow) => self.end(Reason::TransportError),
            Some(Attention::Heartbeat) | None => {}
        }
        // A request that its client has gone from has dropped its receiver, and woken us.
        let now = self.client.now();
        let outputs = self.engine.aborted(now, Request::is_closed);
        self.client.obey(outputs, &mut self.probe);
        self.tick();
    }

    fn tick(&mut self) {
        let now = self.client.now();
        // Who is not read cannot be blamed for being silent.
        if self.client.may_read() && self.engine.deadline().is_some_and(|deadline| deadline <= now) {
            let outputs = self.engine.tick(now);
            self.client.obey(outputs, &mut self.probe);
        }
        let late = [self.client.join_by, self.client.collect_by].into_iter().flatten().any(|by| by <= now);
        if late {
            self.end(Reason::TransportError);
        }
    }

    /// The server stops.
    async fn stop(&mut self) {
        // What is under way is answered first, behind what the shard has to do: what is kept was acknowledged.
        self.client.under_way.clone().settled().await;
        self.client.session.outbox.shard().settled().await;
        self.end(Reason::ServerShuttingDown);
        // A client that does not poll at the moment cannot be told: no request comes in any more.
        self.client.ended.get_or_insert(Reason::ServerShuttingDown);
    }

    /// The server ends it: tells the client, as far as it can be told.
    fn end(&mut self, reason: Reason) {
        let now = self.client.now();
        self.client.leave_all(reason);
        let outputs = self.engine.close(now);
        self.client.obey(outputs, &mut self.probe);
    }

    fn receive(&mut self, visit: Visit) {
        let now = self.client.now();
        match visit {
            Visit::Poll(request) => {
                let outputs = self.engine.get(now, request);
                self.client.obey(outputs, &mut self.probe);
            }
            Visit::Post(request) => {
                let outputs = self.engine.post(now, request);
                self.client.obey(outputs, &mut self.probe);
            }
            Visit::Body(post) => self.post = Some(post),
            Visit::WebSocket(channel) => match self.engine.probe(now) {
                Ok(()) => self.probe = Some(*channel),
                Err(_) => channel.close(close::NORMAL),
            },
        }
        self.client.session.outbox.await_bytes(self.engine.is_polled() || self.channel.is_some());
    }

    /// Reads what a POST brought.
    fn read_post(&mut self, post: &Post) {
        let now = self.client.now();
        let outputs = match post {
            Post::Body { body, binary: true } => self.engine.body(now, Body::Binary(body)),
            Post::Body { body, binary: false } => self.engine.body(now, Body::Text(body)),
            Post::TooBig => self.engine.too_big(now),
        };
        self.client.obey(outputs, &mut self.probe);
    }

    /// Gives what is queued to the poll that waits for it.
    fn give(&mut self) {
        if self.channel.is_none() && self.engine.is_polled() && self.client.session.outbox.is_blocked() {
            let outputs = self.engine.flush(self.client.now());
            self.client.obey(outputs, &mut self.probe);
            self.client.session.outbox.await_bytes(false);
        }
    }

    /// Does what the client asked and what it has said since, in its order.
    async fn catch_up(&mut self) {
        if let Some(asked) = self.client.asked.take() {
            rooms::answer(&mut self.client.session, &self.client.lane, asked).await;
        }
        while self.client.asked.is_none()
            && let Some(late) = self.client.late.pop_front()
        {
            let understood = match &late {
                Late::Text(text) => self.client.hear(&Message::Text(text)),
                Late::Binary(data) => self.client.hear(&Message::Binary((&**data).into())),
            };
            if !understood {
                self.end(Reason::ParseError);
                return;
            }
        }
    }

    /// Waits for the next thing to happen, and reads what has come.
    async fn wait(&mut self) {
        let reading = self.client.may_read();
        let hub = &self.client.session.app.hub;
        if reading && hub.is_pressed() {
            let hub = hub.clone();
            Box::pin(hub.relieved()).await;
        }
        let deadline = self.client.deadline(if reading { self.engine.deadline() } else { None });
        let Self { client, channel, probe, .. } = self;
        let early = reading && channel.as_ref().is_some_and(Channel::has_early);
        let readable = match (channel.as_mut(), probe.as_mut()) {
            _ if early => Some(true),
            (None, Some(probe)) => Box::pin(wait_both(client, probe, deadline)).await,
            (Some(channel), _) => {
                let (link, _) = channel.parts();
                within(deadline, client.session.wait(link, reading)).await
            }
            (None, None) => {
                let mut link = Link::Visits;
                Box::pin(within(deadline, client.session.wait(&mut link, false))).await
            }
        };
        match readable {
            Some(true) if self.channel.is_some() => self.read(),
            Some(true) => self.read_probe(),
            Some(false) => {}
            None => self.lose(&Lost::Broken),
        }
    }

    fn read(&mut self) {
        let Self { engine, client, channel, probe, .. } = self;
        let Some(mut main) = channel.take() else { return };
        client.session.outbox.hold();
        let read = main.read(|event| {
            let now = client.now();
            let outputs = match &event {
                Event::Text(text) => engine.text(now, text),
                Event::Binary(data) => engine.binary(now, data),
                _ => return true,
            };
            client.obey(outputs, probe);
            client.ended.is_none() && client.may_read()
        });
        self.channel = Some(main);
        if let Err(lost) = read {
            self.lose(&lost);
        }
        self.client.session.outbox.flush();
    }

    fn lose(&mut self, lost: &Lost) {
        let now = self.client.now();
        if self.channel.is_none() {
            return;
        }
        let outputs = match lost {
            Lost::Closed(_) | Lost::Broken => self.engine.websocket_closed(now),
            Lost::Violation(_) => self.engine.websocket_failed(now),
        };
        self.client.obey(outputs, &mut self.probe);
        let code = match lost {
            Lost::Closed(code) => *code,
            Lost::Violation(violation) => violation.close_code(),
            Lost::Broken => close::NORMAL,
        };
        if let Some(channel) = self.channel.take() {
            channel.close(code);
        }
    }

    fn read_probe(&mut self) {
        let Self { engine, client, channel, probe, .. } = self;
        let Some(mut trying) = probe.take() else { return };
        let mut steps = Vec::new();
        let read = trying.read(|event| {
            let now = client.now();
            let outputs = match &event {
                Event::Text(text) => engine.probe_text(now, text),
                _ => engine.probe_binary(now),
            };
            for output in outputs {
                match output {
                    Output::Probed => steps.push(Probe::Say),
                    Output::Upgraded => steps.push(Probe::Upgrade),
                    Output::CloseProbe => steps.push(Probe::Close),
                    other => client.do_one(other),
                }
            }
            !steps.iter().any(|step| matches!(step, Probe::Upgrade | Probe::Close))
        });
        let mut trying = Some(trying);
        for step in steps {
            match (step, trying.take()) {
                (Probe::Say, Some(probe)) => {
                    probe.say("3probe");
                    trying = Some(probe);
                }
                (Probe::Upgrade, Some(mut probe)) => {
                    client.upgrade(&mut probe);
                    *channel = Some(probe);
                }
                (Probe::Close, Some(probe)) => probe.close(close::NORMAL),
                (_, None) => {}
            }
        }
        match (read, trying) {
            (Ok(()), trying) => *probe = trying,
            (Err(_), Some(trying)) => {
                engine.probe_closed();
                trying.close(close::NORMAL);
            }
            // It broke right behind its upgrade: the next read says so again.
            (Err(_), None) => {}
        }
    }
}

/// What a probe's message leads to.
enum Probe {
    Say,
    Upgrade,
    Close,
}

/// Whether there is something to read before the deadline; none when the connection is broken.
async fn within(deadline: Instant, wait: impl Future<Output = io::Result<Woke>>) -> Option<bool> {
    match tokio::time::timeout_at(deadline, wait).await {
        Ok(Ok(woke)) => Some(woke == Woke::Readable),
        Ok(Err(_)) => None,
        Err(_) => Some(false),
    }
}

/// While a probe is under way: waits for it and for what comes by other ways.
async fn wait_both(client: &mut Client, probe: &mut Channel, deadline: Instant) -> Option<bool> {
    let mut visits = Link::Visits;
    tokio::select! {
        _ = probe.readable() => Some(true),
        _ = tokio::time::timeout_at(deadline, client.session.wait(&mut visits, false)) => Some(false),
    }
}

impl Client {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// When to look again at the latest.
    fn deadline(&self, engine: Option<Duration>) -> Instant {
        // A connection whose client is not read looks at its other deadlines once a second.
        let engine = engine.unwrap_or_else(|| self.now() + Duration::from_secs(1));
        let next = [self.join_by, self.collect_by].into_iter().flatten().fold(engine, Duration::min);
        self.begun + next
    }

    /// A peer that has too much under way is not read further.
    fn may_read(&self) -> bool {
        self.full == 0
            && self.asked.is_none()
            && self.late.is_empty()
            && self.under_way.count() < self.session.app.config.limits.publishes
    }

    /// Queues a packet of the engine's own.
    fn queue(&self, packet: &Packet<'_>) {
        self.lane.send_record(engineio::record(packet));
    }

    fn upgrade(&mut self, probe: &mut Channel) {
        let outbox = &self.session.outbox;
        let form = probe.form(self.wire);
        let parser = self.session.app.config.socketio.parser;
        let socket = probe.become_main(outbox);
        outbox.upgrade(socket, Speech { parser, form }.wire(), translate(self.wire));
        self.desk.has_upgraded();
        outbox.flush();
    }

    /// Does what the engine says.
    fn obey(&mut self, mut outputs: engineio::Outputs<'_, '_, Request>, probe: &mut Option<Channel>) {
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

    fn do_one(&mut self, output: Output<'_, Request>) {
        match output {
            Output::Queue(packet) => self.queue(&packet),
            Output::Answer(request, answer) => {
                let queued = if answer.takes_queue() { self.session.outbox.take() } else { VecDeque::new() };
                let response = answer.respond(self.wire, queued.iter().map(|chunk| &chunk[..]));
                // Whoever has gone needs no answer.
                let _ = request.send(response);
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
        if self.asked.is_none() && self.late.is_empty() {
            return self.hear(message);
        }
        self.late.push_back(match message {
            Message::Text(text) => Late::Text((*text).to_owned()),
            Message::Binary(data) => Late::Binary(Bytes::copy_from_slice(data)),
        });
        true
    }

    /// Understands a message; false ends the connection.
    fn hear(&mut self, message: &Message<'_>) -> bool {
        // Who is in no namespace yet has nothing to say but who it is.
        let stranger = self.seats.is_empty();
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
        let at = self.seats.iter().position(|(name, _)| **name == *namespace);
        let seat = at.map(|at| &self.seats[at].1);
        match (packet.body, seat) {
            (Say::Connect { auth }, None) if self.seats.len() < self.session.app.config.socketio.namespaces => {
                self.join(namespace, auth);
                true
            }
            (Say::Disconnect, Some(Seat::Socket(socket))) => {
                socket.leave(Reason::ClientNamespaceDisconnect);
                self.seats.retain(|(name, _)| **name != *namespace);
                true
            }
            (Say::Disconnect, Some(Seat::Rooms { .. })) => {
                self.session.leave_all();
                self.seats.retain(|(name, _)| **name != *namespace);
                true
            }
            (Say::Event { id, name, args }, Some(Seat::Socket(socket))) => {
                if !socket.receive(id, &name, args) {
                    self.full += 1;
                }
                true
            }
            (Say::Event { id, name, args }, Some(Seat::Rooms { .. })) => {
                self.asked = rooms::event(&mut self.session, &self.under_way, &self.lane, id, &name, &args);
                true
            }
            (Say::Ack { id, args }, Some(Seat::Socket(socket))) => {
                socket.answer(id, args);
                true
            }
            // Nothing is asked of the client there.
            (Say::Ack { .. }, Some(Seat::Rooms { .. })) => true,
            // Node ends a client that speaks to a namespace it is not in, joins one twice, or says what servers say.
            _ => false,
        }
    }

    /// The client wants to be in a namespace.
    fn join(&mut self, namespace: &str, auth: Option<Bytes>) {
        let handshake = match self.identify(auth.as_deref()) {
            Ok(handshake) => handshake,
            Err(refusal) => {
                let data = refusal.body();
                let v3 = self.lane.version == engineio::Version::V3;
                let error = if v3 { Outgoing::connect_error_v3 } else { Outgoing::connect_error };
                return self.lane.send(&error(namespace, &refusal.sentence, Some(&data)));
            }
        };
        let app = Arc::clone(&self.session.app);
        let name: Arc<str> = namespace.into();
        if namespace == "/" && app.config.socketio.rooms && !app.io.has("/") {
            self.session.identity = handshake.identity().clone();
            rooms::enter(&self.session, &self.lane);
            self.seats.push((name, Seat::Rooms { _counted: InRooms::new(&app) }));
            self.join_by = None;
            return;
        }
        self.seats.push((name, Seat::Waiting));
        app.io.connect(&self.lane, &handshake, namespace, auth);
        // Where nobody had to be asked, the answer is there already.
        for order in self.lane.orders() {
            self.seat(order);
        }
    }

    /// Who it is: what the namespace's `auth.token` says, else what the first request said.
    fn identify(&self, auth: Option<&[u8]>) -> Result<Arc<Handshake>, Refusal> {
        #[derive(serde::Deserialize)]
        struct Auth<'a> {
            #[serde(borrow)]
            token: Option<std::borrow::Cow<'a, str>>,
        }
        let access = &self.session.app.config.access;
        // Where the house knows no tokens, what clients call one is the application's.
        let auth = auth.filter(|_| access.secret.is_some());
        let token = auth.and_then(|auth| serde_json::from_slice::<Auth<'_>>(auth).ok()?.token);
        match token {
            Some(token) => {
                let identity = admission::verify(access, &token)?;
                Ok(Arc::new(self.handshake.identified(identity)))
            }
            None => match &self.refusal {
                None => Ok(Arc::clone(&self.handshake)),
                Some(refusal) => Err((**refusal).clone()),
            },
        }
    }

    /// Notes what became of a namespace, and gives back what else there is to do.
    fn seat(&mut self, order: Order) -> Option<Reason> {
        match order {
            Order::Joined(socket) => {
                let waiting = self.seats.iter_mut().find(|(name, _)| **name == *socket.namespace().name());
                match waiting {
                    Some((_, seat)) => *seat = Seat::Socket(socket),
                    // The client has left in the meantime.
                    None => socket.leave(Reason::ClientNamespaceDisconnect),
                }
                self.join_by = None;
            }
            Order::Refused(namespace) => {
                self.seats.retain(|(name, seat)| **name != *namespace || !matches!(seat, Seat::Waiting));
            }
            Order::Left(namespace) => self.seats.retain(|(name, _)| **name != *namespace),
            Order::Relieved => self.full = self.full.saturating_sub(1),
            Order::Close(reason) => return Some(reason),
        }
        None
    }

    fn leave_all(&mut self, reason: Reason) {
        for (_, seat) in self.seats.drain(..) {
            if let Seat::Socket(socket) = seat {
                socket.leave(reason);
            }
        }
        self.session.leave_all();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.session.app.desks.remove(&self.desk.sid);
        // A namespace that answers only now finds nobody.
        for order in self.lane.orders() {
            if let Order::Joined(socket) = order {
                socket.leave(Reason::TransportClose);
            }
        }
    }
}
