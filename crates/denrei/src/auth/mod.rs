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

use arc_swap::{ArcSwap, Guard};
use denrei_hub::Hub;
use denrei_proto::codes::Code;
use tokio::sync::Notify;

pub use key::{Algorithm, InvalidKey, Key};
pub use published::{KeySet, KeySource};
pub use revocations::Revocation;
pub(crate) use token::Credential;
pub use token::Tokens;

use crate::auth::published::Published;
use crate::auth::revocations::Revocations;
use crate::auth::token::{Fault, Unverified};
use crate::identity::{Identity, Secret};
use crate::metrics::ByCode;
use crate::refusal::Refusal;

/// Verifies tokens, and knows what was taken back.
#[derive(Debug)]
pub(crate) struct Auth {
    known: ArcSwap<Known>,
    /// Told when the published keys are others.
    changed: Notify,
    revocations: Revocations,
    /// Tokens that were refused or missing.
    pub(crate) refused: ByCode,
}

/// What the operator has said of tokens; it is replaced as a whole.
#[derive(Debug)]
pub(crate) struct Known {
    keys: Vec<Key>,
    tokens: Tokens,
    published: Option<Arc<Published>>,
}

impl Default for Auth {
    fn default() -> Self {
        Self::new(None, &Tokens::default())
    }
}

/// How published keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeysState {
    /// As they were lately.
    Good,
    /// They could not be read lately: those of before are used.
    Stale,
    /// They were never read: only tokens of other keys are verified.
    Missing,
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
        let published = tokens.published.clone().map(Published::new).map(Arc::new);
        Self {
            known: ArcSwap::from_pointee(Known::new(secret, tokens, published)),
            changed: Notify::new(),
            revocations: Revocations::default(),
            refused: ByCode::default(),
        }
    }

    /// Goes by other keys and claims from now on. Whoever was let in by a key that is gone is looked at again, and goes
    /// too; who came by a published key stays until the token expires.
    pub(crate) fn replace(&self, hub: &Hub, secret: Option<&Secret>, tokens: &Tokens) {
        // A set that is read already is known on.
        let kept = self.known().published.clone().filter(|known| Some(known.set()) == tokens.published.as_ref());
        let published = kept.or_else(|| tokens.published.clone().map(Published::new).map(Arc::new));
        self.known.store(Arc::new(Known::new(secret, tokens, published)));
        self.changed.notify_one();
        hub.remind(None);
    }

    /// What is said of tokens now.
    pub(crate) fn known(&self) -> Guard<Arc<Known>> {
        self.known.load()
    }

    /// How the keys are that somebody else publishes; none where nobody does.
    pub(crate) fn published(&self) -> Option<KeysState> {
        let known = self.known();
        let published = known.published.as_ref()?;
        Some(match (published.keys().is_empty(), published.is_stale()) {
            (true, _) => KeysState::Missing,
            (false, true) => KeysState::Stale,
            (false, false) => KeysState::Good,
        })
    }

    /// Whether tokens mean anything here.
    pub(crate) fn knows_tokens(&self) -> bool {
        let known = self.known();
        !known.keys.is_empty() || known.published.is_some()
    }

    /// Reads a token.
    pub(crate) fn verify(&self, token: &str) -> Result<Identity, Refusal> {
        let identity = self.read(token).and_then(|identity| match self.revocations.cover(&identity) {
            true => Err(Fault::Revoked.into()),
            false => Ok(identity),
        });
        identity.inspect_err(|refusal| self.refused.count(refusal.code))
    }

    fn read(&self, token: &str) -> Result<Identity, Refusal> {
        let unverified = Unverified::parse(token)?;
        let known = self.known();
        let published = known.published.as_ref().map(|published| published.keys());
        let mut keys = known.keys.iter().chain(published.iter().flat_map(|keys| keys.iter()));
        let Some(key) = keys.find(|key| key.verifies(&unverified)) else {
            return Err(known.unverified());
        };
        Ok(unverified.claims()?.identity(&known.tokens, now(), key.print())?)
    }

    /// No token, where one is needed.
    pub(crate) fn missing(&self) -> Refusal {
        self.refused.count(Code::TokenMissing);
        Fault::Missing.into()
    }

    /// Looks at somebody again.
    pub(crate) fn standing(&self, identity: &Identity) -> Standing {
        let Some(credential) = &identity.credential else { return Standing::Good(None) };
        if self.revocations.cover(identity) {
            return Standing::Over(Fault::Revoked.into());
        }
        let known = self.known();
        if credential.key.is_some_and(|print| !known.keys.iter().any(|key| key.print() == Some(print))) {
            return Standing::Over(Fault::Unverified.into());
        }
        let end = Duration::from_secs(credential.expires).saturating_add(known.tokens.leeway);
        match end.saturating_sub(since_1970()) {
            Duration::ZERO => Standing::Over(Fault::Expired.into()),
            left if left <= known.tokens.warning => Standing::Expiring(credential.expires.saturating_mul(1000), left),
            left => Standing::Good(Some(left - known.tokens.warning)),
        }
    }

    /// Keeps published keys and revocations up to date, for as long as the server runs.
    pub(crate) async fn run(&self, hub: &Hub) {
        let published = async {
            loop {
                let published = self.known().published.clone();
                let reading = async {
                    match published {
                        Some(published) => published.run().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = reading => {}
                    () = self.changed.notified() => {}
                }
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

impl Known {
    fn new(secret: Option<&Secret>, tokens: &Tokens, published: Option<Arc<Published>>) -> Self {
        let keys = secret.map(Secret::key).into_iter().chain(tokens.keys.iter().cloned()).collect();
        Self { keys, tokens: tokens.clone(), published }
    }

    /// The cookie that may hold a token.
    pub(crate) fn cookie(&self) -> Option<&str> {
        self.tokens.cookie.as_deref()
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
