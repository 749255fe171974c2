//! What an application keeps with a socket.

use std::sync::Mutex;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::identity::Identity;
use crate::socketio::{Socket, lock};

/// Values by name. They are JSON, because they travel: with `fetch_sockets` to other nodes, with recovery to the
/// client's next connection. A `user` with `id` and `roles` is there for clients that said who they are.
#[derive(Debug)]
pub struct Data<'a> {
    socket: &'a Socket,
    kept: &'a Kept,
    identity: &'a Identity,
}

/// Nothing, for most sockets.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Option<Box<Map<String, Value>>>>);

impl<'a> Data<'a> {
    pub(crate) fn new(socket: &'a Socket, kept: &'a Kept, identity: &'a Identity) -> Self {
        Self { socket, kept, identity }
    }

    /// A value; none when there is none of this name and type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let kept = lock(&self.kept.0).as_ref().and_then(|map| map.get(name).cloned());
        serde_json::from_value(kept.or_else(|| (name == "user").then(|| self.user())?)?).ok()
    }

    /// Keeps a value.
    ///
    /// # Errors
    /// It has no form in JSON.
    pub fn set(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), serde_json::Error> {
        let value = serde_json::to_value(value)?;
        lock(&self.kept.0).get_or_insert_default().insert(name.into(), value);
        self.socket.changed();
        Ok(())
    }

    /// Forgets a value.
    pub fn remove(&self, name: &str) {
        if let Some(map) = &mut *lock(&self.kept.0) {
            map.remove(name);
        }
        self.socket.changed();
    }

    /// Everything.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut map = self.kept.to_map();
        if let Some(user) = self.user() {
            map.entry("user").or_insert(user);
        }
        map
    }

    fn user(&self) -> Option<Value> {
        let user = self.identity.user.as_ref()?;
        Some(json!({"id": user.as_str(), "roles": self.identity.roles}))
    }
}

impl Kept {
    pub(crate) fn of(map: Map<String, Value>) -> Self {
        Self(Mutex::new((!map.is_empty()).then(|| Box::new(map))))
    }

    pub(crate) fn to_map(&self) -> Map<String, Value> {
        lock(&self.0).as_ref().map(|map| (**map).clone()).unwrap_or_default()
    }
}
