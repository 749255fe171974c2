//! Who a token says somebody is, and for how long.
//!
//! A token is a JWT (RFC 7519). Which key it is verified with, and by which algorithm, is decided by what the operator has
//! configured, never by the token: its header only says which of the keys to try (RFC 8725 §3.1).
//!
//! What is *taken back* is an event of the stored room `sys:revocations`: every node folds that room, and the fold is
//! what it asks. So it survives a restart, and reaches every node, by the same way as everything else.

mod key;
mod published;
mod revocations;
mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use denrei_hub::Hub;
use denrei_proto::codes::Code;

pub use key::{Algorithm, InvalidKey, Key};
pub use published::{KeySet, KeySource};
pub use revocations::Revocation;
pub(crate) use token::Credential;
pub use token::Tokens;

use crate::auth::published::Published;
use crate::auth::revocations::Revocations;
use crate::auth::token::{Fault, Unverified};
use crate::identity::{Identity, Secret};
use crate::refusal::Refusal;

/// Verifies tokens, and knows what was taken back.
#[derive(Debug, Default)]
pub(crate) struct Auth {
    keys: Vec<Key>,
    tokens: Tokens,
    published: Option<Published>,
    revocations: Revocations,
}

/// How somebody stands whose token was verified some time ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// For so long at least; for ever without a token.
    Good(Option<Duration>),
    /// The token expires at this time, in ms since 1970, and this is over so long from now.
    Expiring(u64, Duration),
    /// No more.
    Over(Refusal),
}

impl Auth {
    pub(crate) fn new(secret: Option<&Secret>, tokens: &Tokens) -> Self {
        Self {
            keys: secret.map(Secret::key).into_iter().chain(tokens.keys.iter().cloned()).collect(),
            tokens: tokens.clone(),
            published: tokens.published.clone().map(Published::new),
            revocations: Revocations::default(),
        }
    }

    /// The cookie that may hold a token.
    pub(crate) fn cookie(&self) -> Option<&str> {
        self.tokens.cookie.as_deref()
    }

    /// Whether tokens mean anything here.
    pub(crate) fn knows_tokens(&self) -> bool {
        !self.keys.is_empty() || self.published.is_some()
    }

    /// Reads a token.
    pub(crate) fn verify(&self, token: &str) -> Result<Identity, Refusal> {
        let identity = self.read(token)?;
        if self.revocations.cover(&identity) {
            return Err(Fault::Revoked.into());
        }
        Ok(identity)
    }

    fn read(&self, token: &str) -> Result<Identity, Refusal> {
        let unverified = Unverified::parse(token)?;
        let published = self.published.as_ref().map(Published::keys);
        let mut keys = self.keys.iter().chain(published.iter().flat_map(|keys| keys.iter()));
        if !keys.any(|key| key.verifies(&unverified)) {
            return Err(self.unverified());
        }
        Ok(unverified.claims()?.identity(&self.tokens, now())?)
    }

    /// No key that is known here has signed it.
    fn unverified(&self) -> Refusal {
        match &self.published {
            Some(published) => {
                // It may be a new one's.
                published.look_again();
                match published.keys().is_empty() {
                    true => {
                        Refusal::later(Code::Unavailable, "the keys that tokens are verified with are not known yet")
                    }
                    false => Fault::Unverified.into(),
                }
            }
            None => Fault::Unverified.into(),
        }
    }

    /// No token, where one is needed.
    pub(crate) fn missing() -> Refusal {
        Fault::Missing.into()
    }

    /// Looks at somebody again.
    pub(crate) fn standing(&self, identity: &Identity) -> Standing {
        let Some(credential) = &identity.credential else { return Standing::Good(None) };
        if self.revocations.cover(identity) {
            return Standing::Over(Fault::Revoked.into());
        }
        let end = Duration::from_secs(credential.expires).saturating_add(self.tokens.leeway);
        match end.saturating_sub(since_1970()) {
            Duration::ZERO => Standing::Over(Fault::Expired.into()),
            left if left <= self.tokens.warning => Standing::Expiring(credential.expires.saturating_mul(1000), left),
            left => Standing::Good(Some(left - self.tokens.warning)),
        }
    }

    /// Keeps published keys and revocations up to date, for as long as the server runs.
    pub(crate) async fn run(&self, hub: &Hub) {
        let published = async {
            match &self.published {
                Some(published) => published.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(published, self.revocations.run(hub));
    }

    /// Waits until everything is known that was taken back before this server began. Cancel safe.
    pub(crate) async fn ready(&self) {
        self.revocations.known().await;
    }

    /// Takes something back, on every node; done when it is kept.
    pub(crate) async fn revoke(&self, hub: &Hub, revocation: Revocation) -> Result<(), Refusal> {
        self.revocations.add(hub, revocation).await
    }
}

/// In s since 1970.
pub(crate) fn now() -> u64 {
    since_1970().as_secs()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What several threads read and one replaces.
type Shared<T> = std::sync::RwLock<Arc<T>>;

#[cfg(test)]
mod tests;
