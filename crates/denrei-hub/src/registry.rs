//! Who is connected to this node, by client and by user.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Map;
use crate::ids::{ClientId, Name};
use crate::outbox::Outbox;

/// Finds the connections of a client or a user.
#[derive(Default)]
pub(crate) struct Registry(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    clients: Map<ClientId, Arc<Outbox>>,
    users: Map<Name, Vec<Arc<Outbox>>>,
}

impl Registry {
    pub(crate) fn add(&self, outbox: &Arc<Outbox>) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.clients.insert(Arc::clone(outbox.client()), Arc::clone(outbox));
    }

    pub(crate) fn identify(&self, outbox: &Arc<Outbox>, user: &Name) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.users.entry(user.clone()).or_default().push(Arc::clone(outbox));
    }

    pub(crate) fn remove(&self, outbox: &Outbox, users: &[Name]) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A session that resumed has another connection under the same id.
        if tables.clients.get(outbox.client()).is_some_and(|present| present.number() == outbox.number()) {
            tables.clients.remove(outbox.client());
        }
        for user in users {
            if let Some(theirs) = tables.users.get_mut(user) {
                theirs.retain(|other| other.number() != outbox.number());
                if theirs.is_empty() {
                    tables.users.remove(user);
                }
            }
        }
    }

    pub(crate) fn client(&self, client: &str) -> Option<Arc<Outbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clients.get(client).cloned()
    }

    pub(crate) fn everybody(&self) -> Vec<Arc<Outbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clients.values().cloned().collect()
    }

    pub(crate) fn user(&self, user: &Name) -> Vec<Arc<Outbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).users.get(user).cloned().unwrap_or_default()
    }
}
