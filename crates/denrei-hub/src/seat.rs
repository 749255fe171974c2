//! A connection that the hub knows.

use std::sync::Arc;
use std::time::Duration;

use crate::hub::Hub;
use crate::ids::Name;
use crate::outbox::Outbox;

/// A connection that the hub knows. Dropping it makes the hub forget the connection.
pub struct Seat {
    hub: Hub,
    outbox: Arc<Outbox>,
    /// Mostly one, or none.
    users: Vec<Name>,
}

impl Seat {
    pub(crate) fn new(hub: Hub, outbox: Arc<Outbox>, user: Option<Name>) -> Self {
        let mut seat = Self { hub, outbox, users: Vec::new() };
        seat.identify(user);
        seat
    }

    /// Has the session told [`Notice::Due`] when this time is over, to the second, or before.
    pub fn remind(&self, after: Duration) {
        self.outbox.shard().remind(&self.outbox, after);
    }

    /// The connection turns out to belong to a user, perhaps besides another.
    pub fn identify(&mut self, user: Option<Name>) {
        if let Some(user) = user.filter(|user| !self.users.contains(user)) {
            self.hub.0.reach.registry.identify(&self.outbox, &user);
            self.hub.tracer().identified(&self.outbox, &user);
            self.users.reserve_exact(1);
            self.users.push(user);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let ended = self.outbox.ended();
        self.outbox.end();
        self.hub.0.reach.registry.remove(&self.outbox, &self.users);
        self.hub.tracer().gone(&self.outbox, ended);
        self.outbox.shard().leave(&self.outbox);
    }
}
