//! A client's engine connection as its sockets see it: somewhere to send packets to, and to leave orders for.

use std::sync::Arc;

use bytes::Bytes;
use denrei_hub::Outbox;
use denrei_proto::engineio::Version;
use denrei_proto::socketio::Outgoing;
use denrei_proto::ws::DeflateConfig;
use tokio::sync::Notify;

use crate::socketio::mailbox::Mailbox;
use crate::socketio::{Reason, Socket};
use crate::wires::{Form, Speech};

/// What the sockets of one client share.
///
/// The connection's task owns the transport and reads; handlers run elsewhere. They send through the outbox, and what
/// only the task can do they leave as an [`Order`], which wakes it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) version: Version,
    deflate: DeflateConfig,
    orders: Mailbox<Order>,
    /// Wakes handlers that wait until the client takes what is queued.
    relief: Notify,
}

/// What the connection's task is to do. Each socket leaves each at most once, which bounds them.
#[derive(Debug)]
pub(crate) enum Order {
    /// The client has joined a namespace: its events go to this socket.
    Joined(Socket),
    /// It may not join the namespace, and was told why.
    Refused(Arc<str>),
    /// The server has taken the socket out of its namespace.
    Left(Socket),
    /// A socket that had too many events waiting has room again.
    Relieved,
    /// End the connection.
    Close(Reason),
}

impl Lane {
    pub(crate) fn new(outbox: Arc<Outbox>, version: Version, deflate: DeflateConfig) -> Arc<Self> {
        Arc::new(Self { outbox, version, deflate, orders: Mailbox::default(), relief: Notify::new() })
    }

    /// Sends a packet, behind everything that this caller has emitted before.
    pub(crate) fn send(&self, packet: &Outgoing<'_>) {
        let speech = self.speech();
        self.outbox.send(speech.wire(), speech.packet(packet, &self.deflate));
    }

    /// Queues a packet before anything that the shard has still to do. For the connection's task, which flushes: what it
    /// replays next must not come first.
    pub(crate) fn push(&self, packet: &Outgoing<'_>) {
        self.outbox.push(self.speech().packet(packet, &self.deflate));
    }

    /// Sends a packet of the engine's, made as a [record](denrei_proto::engineio::Record).
    pub(crate) fn send_record(&self, record: Bytes) {
        // After an upgrade the outbox rewrites it.
        let records = Speech { form: Form::Records, ..self.speech() }.wire();
        self.outbox.send(records, record);
    }

    /// Whether so much is queued that the answers to further events might not fit.
    pub(crate) fn is_flooded(&self) -> bool {
        self.outbox.queued() > self.outbox.capacity() / 4
    }

    /// Waits while it [is](Lane::is_flooded). A connection whose client takes nothing ends, and with it this.
    pub(crate) async fn unflooded(&self) {
        let waits = || self.is_flooded() && !self.orders.is_closed();
        while waits() {
            let relief = self.relief.notified();
            if waits() {
                relief.await;
            }
        }
    }

    /// The client may have taken something. For the connection's task, whenever it has written.
    pub(crate) fn relieve(&self) {
        if !self.is_flooded() {
            self.relief.notify_waiters();
        }
    }

    fn speech(&self) -> Speech {
        Speech::of(self.outbox.wire()).expect("a lane's outbox speaks Socket.IO")
    }

    /// Leaves an order; false if the connection has ended, and nobody will do it.
    pub(crate) fn order(&self, order: Order) -> bool {
        let left = self.orders.put(order).is_ok();
        if left {
            self.outbox.wake();
        }
        left
    }

    /// Takes the orders, oldest first.
    pub(crate) fn orders(&self) -> Vec<Order> {
        self.orders.take()
    }

    /// The connection has ended.
    pub(crate) fn close(&self) {
        for order in self.orders.close() {
            if let Order::Joined(socket) = order {
                socket.leave(Reason::TransportClose);
            }
        }
        self.relief.notify_waiters();
    }
}
