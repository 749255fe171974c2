//! Who is connected, and what is for them alone.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::bus::Subject;
use crate::cluster::{NodeMessage, Whom};
use crate::hub::Hub;
use crate::ids::{ClientId, Name, RoomName};
use crate::message::{Dialect, Message};
use crate::outbox::{Notice, Outbox};
use crate::trace::{Outcome, Record, Step, not_here};

impl Hub {
    /// Sends one connection a message that belongs to no room; false when it is not connected here, or too slow.
    pub fn direct(&self, client: &str, message: &Message) -> bool {
        let outbox = self.0.reach.registry.client(client);
        if outbox.is_none() && self.tracer().is_on() {
            self.tracer().note(not_here(message, Some(&client.into()), None));
        }
        outbox.is_some_and(|outbox| self.offer(&outbox, message))
    }

    /// The same for every connection of a user; how many it reached.
    pub fn direct_to_user(&self, user: &Name, message: &Message) -> usize {
        let theirs = self.0.reach.registry.user(user);
        if theirs.is_empty() && self.tracer().is_on() {
            self.tracer().note(not_here(message, None, Some(user)));
        }
        theirs.iter().filter(|outbox| self.offer(outbox, message)).count()
    }

    /// Sends a message to a client, wherever it is; whether it was there. It goes out when this is called.
    pub fn direct_anywhere(
        &self,
        client: &ClientId,
        message: &Arc<Message>,
    ) -> impl Future<Output = bool> + Send + use<> {
        let here = self.direct(client, message);
        let elsewhere = (!here).then(|| self.direct_elsewhere(Whom::Client(client.clone()), message));
        async move {
            match elsewhere {
                Some(elsewhere) => elsewhere.await > 0,
                None => here,
            }
        }
    }

    /// The same for every connection of a user, on all nodes; how many it reached.
    pub fn direct_to_user_anywhere(
        &self,
        user: &Name,
        message: &Arc<Message>,
    ) -> impl Future<Output = usize> + Send + use<> {
        let here = self.direct_to_user(user, message);
        let elsewhere = self.direct_elsewhere(Whom::User(user.clone()), message);
        async move { here + elsewhere.await }
    }

    fn direct_elsewhere(&self, to: Whom, message: &Arc<Message>) -> impl Future<Output = usize> + Send + use<> {
        let message = Arc::clone(message);
        let asked = self.0.cluster.as_ref().map(|cluster| {
            cluster.ask(None, Self::DIRECT, |from, number| NodeMessage::Direct { from, number, to, message })
        });
        async move {
            let Some(asked) = asked else { return 0 };
            let counts = asked.await.given.into_iter().filter_map(|(_, bytes)| bytes[..].try_into().ok());
            counts.map(|count| u32::from_le_bytes(count) as usize).sum()
        }
    }

    /// How long other nodes may take to say whom they have.
    const DIRECT: Duration = Duration::from_secs(1);

    /// Another node has a message for somebody who may be connected here.
    pub(crate) fn hear_direct(&self, from: Name, number: u64, to: &Whom, message: &Message) {
        let count = match to {
            Whom::Client(client) => usize::from(self.direct(client, message)),
            Whom::User(user) => self.direct_to_user(user, message),
        };
        if let Some(cluster) = &self.0.cluster {
            let count = u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
            cluster.answering(from, number).with(Bytes::copy_from_slice(&count));
        }
    }

    /// Has the connections of a user, or all, told [`Notice::Due`].
    pub fn remind(&self, user: Option<&Name>) {
        let theirs = match user {
            Some(user) => self.0.reach.registry.user(user),
            None => self.0.reach.registry.everybody(),
        };
        theirs.iter().for_each(|outbox| outbox.notify(Notice::Due));
    }

    /// Ends the reading of a room by a user's connections, on every node: they get nothing that is published after this,
    /// and their sessions are told [`Notice::Expelled`](crate::Notice::Expelled).
    pub fn expel(&self, user: &Name, room: &RoomName) {
        self.show_out(user, room);
        if let Some(cluster) = &self.0.cluster {
            cluster.say(&Subject::Room(room.clone()), &NodeMessage::Expelled(user.clone(), room.clone()));
        }
    }

    pub(crate) fn show_out(&self, user: &Name, room: &RoomName) {
        let Some(room) = self.0.find(room) else { return };
        self.0.reach.expel(&room.name, room.key, user);
    }

    /// Users whose connections have changed since the last call: for whom it concerns who is there.
    pub fn comings_and_goings(&self) -> impl Iterator<Item = Name> + use<> {
        self.0.reach.registry.changed().into_iter()
    }

    /// The numbers of a user's connections.
    pub fn connections_of(&self, user: &Name) -> Vec<u64> {
        self.0.reach.registry.user(user).iter().map(|outbox| outbox.number()).collect()
    }

    /// Whether a client is connected here.
    pub fn is_connected(&self, client: &str) -> bool {
        self.0.reach.registry.client(client).is_some()
    }

    fn offer(&self, outbox: &Arc<Outbox>, message: &Message) -> bool {
        let wire = outbox.wire();
        let frame = message.frame(wire, Dialect::default(), &self.0.encoders);
        let taken = outbox.offer(wire, &frame);
        if self.tracer().is_on() {
            let outcome = if taken { Outcome::Queued } else { Outcome::Overflow };
            let record = Record { user: None, ..Record::message(Step::Direct, outcome, message).of(outbox) };
            self.tracer().note(Record { bytes: Some(frame.len() as u64), ..record });
        }
        taken
    }
}
