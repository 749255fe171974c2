//! The seam to who may do what only one node may do at a time.

use std::collections::hash_map::Entry;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::BusError;
use crate::ids::{Name, random_token};
use crate::{Map, lock};

/// Gives a thing to one holder at a time, for a time.
///
/// # Laws
/// Every implementation passes the suite in `laws.rs` (feature `laws`):
/// 1. While a grant lasts, nobody else is given the thing.
/// 2. Fences of one thing grow with every grant, whoever gets it, also after it was given back or forgotten.
/// 3. A grant that is renewed lasts; one that is not ends by itself, and cannot be renewed then, even while nobody else
///    has the thing.
/// 4. What is given back is free at once; giving back what one does not have any more changes nothing.
pub trait Leases: Send + Sync + 'static {
    /// Takes a thing that nobody has.
    fn take(&self, thing: &Name, lasts: Duration) -> Leasing<Option<Grant>>;

    /// Has a grant last so long from now; false when it has ended.
    fn renew(&self, thing: &Name, grant: &Grant, lasts: Duration) -> Leasing<bool>;

    /// Gives a thing back.
    fn give_back(&self, thing: &Name, grant: &Grant) -> Leasing<()>;
}

/// An answer of [`Leases`] that may take a while.
pub type Leasing<T> = Pin<Box<dyn Future<Output = Result<T, BusError>> + Send>>;

/// That somebody has a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Tells this grant from all others.
    pub token: Arc<str>,
    /// What is changed on behalf of the thing carries this number; who keeps it refuses a smaller one than it has seen. So
    /// a holder that was asleep beyond its time cannot undo what the next one has done.
    pub fence: u64,
}

impl Grant {
    /// A grant with a token of its own.
    pub fn new(fence: u64) -> Self {
        Self { token: random_token(20).into(), fence }
    }
}

/// A thing that this node has for as long as the value lives and can be renewed.
///
/// Ask [`Lease::is_good`] right before acting: it goes by this node's own clock, from before the grant was asked for, and
/// so is over here before it is over anywhere else, also for a process that was stopped in between.
pub struct Lease {
    leases: Arc<dyn Leases>,
    thing: Name,
    grant: Grant,
    lasts: Duration,
    until: Mutex<Instant>,
}

impl Lease {
    /// Takes a thing, if nobody has it.
    ///
    /// # Errors
    /// When nobody can say who has it.
    pub async fn take(leases: &Arc<dyn Leases>, thing: &Name, lasts: Duration) -> Result<Option<Self>, BusError> {
        let asked = Instant::now();
        let Some(grant) = leases.take(thing, lasts).await? else { return Ok(None) };
        let (leases, thing) = (Arc::clone(leases), thing.clone());
        Ok(Some(Self { leases, thing, grant, lasts, until: Mutex::new(asked + lasts) }))
    }

    /// What it is about.
    pub fn thing(&self) -> &Name {
        &self.thing
    }

    /// See [`Grant::fence`].
    pub fn fence(&self) -> u64 {
        self.grant.fence
    }

    /// Whether this node still has the thing.
    pub fn is_good(&self) -> bool {
        Instant::now() < *self.until()
    }

    /// Has it last; false when it has ended, and another must be taken.
    ///
    /// # Errors
    /// When nobody can say; it may still be good.
    pub async fn renew(&self) -> Result<bool, BusError> {
        let asked = Instant::now();
        if asked >= *self.until() {
            return Ok(false);
        }
        let renewed = self.leases.renew(&self.thing, &self.grant, self.lasts).await?;
        *self.until() = if renewed { asked + self.lasts } else { asked };
        Ok(renewed)
    }

    /// Gives it back, so that others need not wait.
    pub async fn give_back(self) {
        if let Err(error) = self.leases.give_back(&self.thing, &self.grant).await {
            tracing::debug!(%error, thing = %self.thing, "a lease ends by itself");
        }
    }

    fn until(&self) -> std::sync::MutexGuard<'_, Instant> {
        lock(&self.until)
    }
}

/// [`Leases`] within one process.
#[derive(Default)]
pub struct LocalLeases(Mutex<Held>);

#[derive(Default)]
struct Held {
    things: Map<Name, (Grant, Instant)>,
    /// One for all things: so no fence has to be kept for those that nobody has.
    last: u64,
}

impl LocalLeases {
    fn with<T>(&self, look: impl FnOnce(&mut Held) -> T) -> Leasing<T>
    where
        T: Send + 'static,
    {
        let mut held = lock(&self.0);
        let now = Instant::now();
        held.things.retain(|_, (_, until)| *until > now);
        Box::pin(std::future::ready(Ok(look(&mut held))))
    }
}

impl Leases for LocalLeases {
    fn take(&self, thing: &Name, lasts: Duration) -> Leasing<Option<Grant>> {
        self.with(|held| match held.things.entry(thing.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                held.last += 1;
                let grant = Grant::new(held.last);
                free.insert((grant.clone(), Instant::now() + lasts));
                Some(grant)
            }
        })
    }

    fn renew(&self, thing: &Name, grant: &Grant, lasts: Duration) -> Leasing<bool> {
        self.with(|held| match held.things.get_mut(thing) {
            Some((present, until)) if present == grant => {
                *until = Instant::now() + lasts;
                true
            }
            _ => false,
        })
    }

    fn give_back(&self, thing: &Name, grant: &Grant) -> Leasing<()> {
        self.with(|held| {
            if held.things.get(thing).is_some_and(|(present, _)| present == grant) {
                held.things.remove(thing);
            }
        })
    }
}
