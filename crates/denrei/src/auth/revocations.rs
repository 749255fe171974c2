//! What was taken back: a fold of the room `sys:revocations`.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Draft, Epoch, Hub, LogError, Name, Position, RoomName, Seq};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::app::now_ms;
use crate::auth::now;
use crate::identity::Identity;
use crate::refusal::Refusal;

/// Something that is taken back. Live sessions end at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Revocation {
    /// Tokens of a user that were issued before a time, in s since 1970; tokens without `iat` always.
    #[serde(rename_all = "camelCase")]
    User {
        /// The user.
        #[serde(with = "name")]
        user_id: Name,
        /// The time.
        issued_before: u64,
    },
    /// One token, by its `jti`.
    #[serde(rename_all = "camelCase")]
    Token {
        /// The token's id.
        token_id: Box<str>,
    },
    /// Everybody's tokens that were issued before a time: after a secret has leaked, say.
    #[serde(rename_all = "camelCase")]
    Everybody {
        /// The time.
        issued_before: u64,
    },
}

impl Revocation {
    /// Everything that a user has until now. A token of this very second is taken for an old one.
    pub fn of_user(user_id: Name) -> Self {
        Self::User { user_id, issued_before: now() + 1 }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Revocations {
    fold: Mutex<Fold>,
    /// Whether the room was read to its end once.
    read: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Fold {
    users: HashMap<Name, u64>,
    tokens: HashSet<Box<str>>,
    everybody: u64,
}

impl Fold {
    /// Adds a revocation; whether it takes back anything that was not taken back before.
    fn add(&mut self, revocation: Revocation) -> bool {
        let later = |before: &mut u64, than: u64| than > std::mem::replace(before, than.max(*before));
        match revocation {
            Revocation::User { user_id, issued_before } => later(self.users.entry(user_id).or_default(), issued_before),
            Revocation::Token { token_id } => self.tokens.insert(token_id),
            Revocation::Everybody { issued_before } => later(&mut self.everybody, issued_before),
        }
    }

    fn covers(&self, identity: &Identity) -> bool {
        let (Some(user), Some(credential)) = (&identity.user, &identity.credential) else { return false };
        credential.issued < self.everybody
            || self.users.get(user).is_some_and(|before| credential.issued < *before)
            || credential.id.as_ref().is_some_and(|id| self.tokens.contains(id))
    }
}

impl Revocations {
    /// Whether what an identity was shown with is taken back.
    pub(crate) fn cover(&self, identity: &Identity) -> bool {
        self.fold.lock().unwrap_or_else(PoisonError::into_inner).covers(identity)
    }

    /// Waits until everything is known that was taken back before this server began. Cancel safe.
    pub(crate) async fn known(&self) {
        // The sender lives as long as this.
        let _ = self.read.subscribe().wait_for(|&read| read).await;
    }

    /// Keeps a revocation, then applies it here. Other nodes hear of it by the room.
    pub(crate) async fn add(&self, hub: &Hub, revocation: Revocation) -> Result<(), Refusal> {
        let payload = serde_json::to_vec(&revocation).expect("names and numbers have a form in JSON");
        let draft =
            Draft::new(room(), Name::parse("revocation").expect("a word is a name"), Bytes::from(payload), now_ms());
        hub.publish_and_wait(draft).await?;
        self.apply(hub, revocation);
        Ok(())
    }

    fn apply(&self, hub: &Hub, revocation: Revocation) {
        let user = match &revocation {
            Revocation::User { user_id, .. } => Some(user_id.clone()),
            Revocation::Token { .. } | Revocation::Everybody { .. } => None,
        };
        // This node reads in the room what it has applied itself.
        if self.fold.lock().unwrap_or_else(PoisonError::into_inner).add(revocation) {
            hub.remind(user.as_ref());
        }
    }

    /// Reads the room, from its beginning, and on.
    pub(crate) async fn run(&self, hub: &Hub) {
        let mut place = Position { epoch: Epoch::none(), seq: Seq::ZERO };
        loop {
            if let Err(error) = self.follow(hub, &mut place).await {
                tracing::warn!(%error, "what was taken back could not be read, trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Reads what follows a place, and waits for more.
    async fn follow(&self, hub: &Hub, place: &mut Position) -> Result<(), LogError> {
        const PAGE: usize = 500;
        let room = room();
        // Watched first, read then: an event in between is found by one or the other.
        let mut watch = hub.watch(&room).await?;
        loop {
            let page = hub.read_after(&room, place, PAGE).await?;
            if page.epoch != place.epoch {
                // Another life of the log, or the first look at it: from its beginning. What is known stays taken back.
                *place = Position { epoch: page.epoch, seq: Seq::ZERO };
                continue;
            }
            let Some(last) = page.messages.last() else { break };
            place.seq = last.seq;
            for message in &page.messages {
                match serde_json::from_slice(&message.payload) {
                    Ok(revocation) => self.apply(hub, revocation),
                    Err(error) => tracing::warn!(%error, seq = message.seq.0, "a revocation was not understood"),
                }
            }
        }
        self.read.send_replace(true);
        // However it is told of nothing, it looks again.
        let _ = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
        Ok(())
    }
}

/// A name as a text.
mod name {
    use denrei_hub::Name;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(name: &Name, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        let text = String::deserialize(deserializer)?;
        Name::parse(&text).map_err(serde::de::Error::custom)
    }
}

fn room() -> RoomName {
    RoomName::parse("sys:revocations").expect("it is a name")
}
