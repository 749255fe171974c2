//! Keys that somebody else publishes as a JWK set (RFC 7517), and changes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::auth::{Key, Shared};
use crate::outgoing;

/// A JWK set and how often it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    /// Where it is.
    pub source: KeySource,
    /// Time between looks at it. Default 5 min.
    pub refresh: Duration,
}

/// Where a JWK set is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySource {
    /// A file.
    File(PathBuf),
    /// An address, with `https`; `http` on this machine only.
    Url(String),
}

impl KeySet {
    /// A set at this place, read each 5 min.
    pub fn at(source: KeySource) -> Self {
        Self { source, refresh: Duration::from_secs(300) }
    }

    /// Reads it once; how many keys are in it that can be used, at least one.
    ///
    /// # Errors
    /// A sentence for the operator: it cannot be read, or has no such keys.
    pub async fn look(&self) -> Result<usize, String> {
        self.load().await.map(|keys| keys.len())
    }

    async fn load(&self) -> Result<Vec<Key>, String> {
        let json = match &self.source {
            KeySource::File(path) => tokio::fs::read(path).await.map_err(|error| error.to_string())?,
            KeySource::Url(url) => outgoing::get(url).await?.to_vec(),
        };
        Key::set(&json).map_err(|error| error.to_string())
    }
}

/// The keys of a set, as they were when it could last be read.
#[derive(Debug)]
pub(crate) struct Published {
    set: KeySet,
    keys: Shared<Vec<Key>>,
    /// The last look at the set failed.
    stale: AtomicBool,
    wanted: Notify,
}

impl Published {
    /// The least time between two looks, whatever tokens name: what a stranger brings does not decide how often somebody
    /// else is asked.
    const LEAST: Duration = Duration::from_secs(10);

    pub(crate) fn new(set: KeySet) -> Self {
        Self { set, keys: Shared::default(), stale: AtomicBool::new(false), wanted: Notify::new() }
    }

    /// What it reads.
    pub(crate) fn set(&self) -> &KeySet {
        &self.set
    }

    pub(crate) fn keys(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// A token has named a key that is not there: it may be new.
    pub(crate) fn look_again(&self) {
        self.wanted.notify_one();
    }

    /// Reads the set again and again. One that cannot be read, or is none, changes nothing.
    pub(crate) async fn run(&self) {
        loop {
            let begun = Instant::now();
            let loaded = self.set.load().await;
            self.stale.store(loaded.is_err(), Ordering::Relaxed);
            match loaded {
                Ok(keys) => *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys),
                Err(reason) => tracing::error!(%reason, source = ?self.set.source, "the key set could not be read"),
            }
            tokio::time::sleep_until(begun + Self::LEAST.min(self.set.refresh)).await;
            let _ = tokio::time::timeout_at(begun + self.set.refresh, self.wanted.notified()).await;
        }
    }
}
