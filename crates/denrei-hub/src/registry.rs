//! Who is connected to this node, by client and by user.

use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::{ClientId, Name};
use crate::outbox::Outbox;
use crate::{Map, Set};

/// Finds the connections of a client or a user.
#[derive(Default)]
pub(crate) struct Registry(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    clients: Map<ClientId, Arc<Outbox>>,
    users: Map<Name, Vec<Arc<Outbox>>>,
    /// Users whose connections have changed since somebody asked; none until somebody does.
    changed: Option<Set<Name>>,
}

impl Registry {
    pub(crate) fn add(&self, outbox: &Arc<Outbox>) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.clients.insert(Arc::clone(outbox.client()), Arc::clone(outbox));
    }

    pub(crate) fn identify(&self, outbox: &Arc<Outbox>, user: &Name) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.users.entry(user.clone()).or_default().push(Arc::clone(outbox));
        if let Some(changed) = &mut tables.changed {
            changed.insert(user.clone());
        }
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
                if let Some(changed) = &mut tables.changed {
                    changed.insert(user.clone());
                }
            }
        }
    }

    /// Each user with each of their connections.
    pub(crate) fn identified(&self) -> Vec<(Name, Arc<Outbox>)> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(user, theirs): (&Name, &Vec<Arc<Outbox>>)| {
            theirs.iter().map(|outbox| (user.clone(), Arc::clone(outbox))).collect::<Vec<_>>()
        };
        tables.users.iter().flat_map(of).collect()
    }

    pub(crate) fn client(&self, client: &str) -> Option<Arc<Outbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clients.get(client).cloned()
    }

    /// Users whose connections have changed since the last call; at the first one, those who have any.
    pub(crate) fn changed(&self) -> Set<Name> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = tables.changed.replace(Set::default());
        changed.unwrap_or_else(|| tables.users.keys().cloned().collect())
    }

    pub(crate) fn everybody(&self) -> Vec<Arc<Outbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clients.values().cloned().collect()
    }

    pub(crate) fn user(&self, user: &Name) -> Vec<Arc<Outbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).users.get(user).cloned().unwrap_or_default()
    }
}
