//! What one node does for all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use denrei_hub::{Hub, Lease, Name};

/// Whether this node is the one.
#[derive(Default)]
pub(crate) struct Duty(Mutex<Option<Arc<Lease>>>);

impl Duty {
    /// After so long without a word of its holder, another node takes over.
    const LASTS: Duration = Duration::from_secs(10);
    const RENEWED: Duration = Duration::from_secs(3);

    pub(crate) fn is_ours(&self) -> bool {
        self.lock().as_ref().is_some_and(|lease| lease.is_good())
    }

    /// Takes the duty, which is a word, when it is free, and keeps it.
    pub(crate) async fn run(&self, hub: &Hub, what: &str) {
        let thing = Name::parse(what).expect("a word is a name");
        let mut tick = tokio::time::interval(Self::RENEWED);
        loop {
            tick.tick().await;
            let held = self.lock().clone();
            let kept = match &held {
                // Whoever cannot be asked now may answer the next time; until then the lease goes by its clock.
                Some(lease) => lease.renew().await.unwrap_or_else(|_| lease.is_good()),
                None => false,
            };
            if kept {
                continue;
            }
            let taken = match Lease::take(hub.leases(), &thing, Self::LASTS).await {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::debug!(%error, what, "nobody can say which node does this for all");
                    None
                }
            };
            *self.lock() = taken.map(Arc::new);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Lease>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
