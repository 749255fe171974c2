//! The one loop of a Socket.IO client's connection, whatever carries it.
//!
//! What is answered when, and when it ends, is the engine's ([`engineio::Session`]); what the packets mean is the
//! decoder's. The loop gives both what has happened and does what they say. Handlers run elsewhere and reach it by
//! [`Order`]s, requests by [`Visit`]s; both wake its outbox.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use denrei_hub::ShardHandle;
use denrei_proto::codes::close;
use denrei_proto::engineio::{self, Body, Output, Packet, Transport};
use denrei_proto::ws::Event;
use tokio::time::Instant;

use crate::app::{Open, client_id};
use crate::identity::Identity;
use crate::link::{Link, Woke};
use crate::metrics::{self, Ending};
use crate::session::{Attention, Session};
use crate::socketio::Reason;
use crate::socketio::channel::{Channel, Lost, translate};
use crate::socketio::client::{Client, Request};
use crate::socketio::desk::{Desk, Post, Visit, new_sid};
use crate::socketio::lane::Lane;
use crate::socketio::opening::Caller;
use crate::socketio::rooms;
use crate::wires::{Form, Speech};

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
    /// What a WebSocket is closed with.
    code: u16,
}

/// Begins a connection; its task ends with it. Returns where requests find it.
pub(crate) fn begin(beginning: Beginning, shard: &ShardHandle) -> Arc<Desk> {
    let Beginning { open, wire, caller, mut channel } = beginning;
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
    let desk = Desk::new(new_sid(&app.hub), Arc::clone(&lane), transport);
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
    // Known to nobody by its id, and reminded of no heartbeat: the engine has its own.
    let carried = match transport {
        Transport::Polling => metrics::Transport::SocketIoPolling,
        Transport::WebSocket => metrics::Transport::SocketIoWebSocket,
    };
    let session = Session::new(open, outbox, carried, Identity::default(), Duration::MAX);
    let mut client = Client::new(session, &desk, wire, caller);
    client.queue(&Packet::Open(&opening.to_json()));
    client.begin();
    let engine = Engine::new(engine, transport, Duration::ZERO);
    let connection =
        Box::new(Connection { engine, client, channel, probe: None, post: None, stopping: false, code: close::NORMAL });
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
            if let Some(reason) = self.client.closing {
                Box::pin(self.close(reason)).await;
            }
            if self.client.is_behind() {
                if !Box::pin(self.client.catch_up()).await {
                    self.end(Reason::ForcedClose);
                }
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
        let Self { mut client, channel, probe, code, .. } = *self;
        let session = &client.session;
        let reason = client.ended.map_or("unknown", Reason::as_str);
        session.app.note_closing(&session.outbox, channel.as_ref().map(|_| code), reason);
        client.finish();
        if let Some(probe) = probe {
            probe.close(close::NORMAL);
        }
        // It is a connection until its socket is closed: it counts as one, and its outbox lives.
        if let Some(channel) = channel {
            channel.farewell(code).await;
        }
    }

    /// Does what requests, handlers and the shard have left.
    fn attend(&mut self) {
        self.client.take_orders();
        for visit in self.client.desk.visits() {
            self.receive(visit);
        }
        // Who has too much under way is not read: its POST waits, as its WebSocket would. Not for the poll that takes
        // what is queued: it may come behind.
        if !self.client.is_busy()
            && let Some(post) = self.post.take()
        {
            self.read_post(&post);
        }
        match self.client.session.attend() {
            Some(Attention::Shutdown) => self.stopping = true,
            // A client that cannot keep up with what must not be lost begins anew, and may recover.
            Some(Attention::Overflow) => {
                self.client.session.ending = Ending::Slow;
                self.end(Reason::TransportError);
            }
            Some(Attention::Due) => self.client.look_again(),
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
        // Who is not read cannot be blamed for being silent; who takes nothing of what keeps it from being read, can.
        let outbox = &self.client.session.outbox;
        let is_taking = outbox.has_moved() && outbox.is_blocked();
        if is_taking || self.client.is_busy() && !self.client.lane.is_flooded() {
            self.engine.excuse(now);
        }
        if self.engine.deadline().is_some_and(|deadline| deadline <= now) {
            let outputs = self.engine.tick(now);
            self.client.obey(outputs, &mut self.probe);
        }
        if self.client.is_late() || self.client.is_stuck(now) {
            self.end(Reason::TransportError);
        }
    }

    /// The server stops.
    async fn stop(&mut self) {
        // What is under way is answered first, behind what the shard has to do: what is kept was acknowledged.
        self.client.settled().await;
        self.end(Reason::ServerShuttingDown);
        // A client that does not poll at the moment cannot be told: no request comes in any more.
        self.client.ended.get_or_insert(Reason::ServerShuttingDown);
    }

    /// A handler ends it: behind everything that handlers have said before.
    async fn close(&mut self, reason: Reason) {
        if reason == Reason::ServerNamespaceDisconnect {
            self.client.dismiss();
        }
        self.client.session.outbox.shard().settled().await;
        self.give();
        // A client that polls hears of the end before it looks at what comes in the same answer: that comes before.
        if self.channel.is_some() || self.client.session.outbox.queued() == 0 {
            self.client.closing = None;
            self.end(reason);
        }
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

    /// Waits for the next thing to happen, and reads what has come.
    async fn wait(&mut self) {
        self.client.session.outbox.flush();
        self.client.lane.relieve();
        let reading = self.client.may_read();
        let hub = &self.client.session.app.hub;
        if reading && hub.is_pressed() {
            let hub = hub.clone();
            Box::pin(hub.relieved()).await;
        }
        let deadline = self.client.deadline(self.engine.deadline(), reading);
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
        let now = client.now();
        let read = main.read(|event| {
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
        self.client.ended.get_or_insert(Reason::TransportClose);
        self.code = match lost {
            Lost::Closed(code) => *code,
            Lost::Violation(violation) => violation.close_code(),
            Lost::Broken => close::NORMAL,
        };
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
