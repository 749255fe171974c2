//! Leases on a JetStream stream: one message for each thing, written by compare-and-set.

use std::sync::Arc;
use std::time::Duration;

use denrei_hub::{BusError, Grant, Leases, Leasing, Name};
use serde::{Deserialize, Serialize};

use super::clock::{Clock, micros};
use super::jetstream::{Stored, Stream, StreamError};
use crate::encoded;

/// A lease ends when the server's clock says so: it lasts from when the server stored its message. The holder counts from
/// before it has asked, and so is always sooner.
#[derive(Clone)]
pub(super) struct NatsLeases {
    clock: Arc<Clock>,
    prefix: Arc<str>,
}

/// What is stored of a thing.
#[derive(Serialize, Deserialize)]
struct Record {
    token: Arc<str>,
    fence: u64,
    /// In µs; 0 when it was given back.
    lasts: u64,
}

/// A record and where it is.
struct Found {
    record: Record,
    sequence: u64,
    /// Whether it lasts at this time.
    good: bool,
}

impl NatsLeases {
    pub(super) fn new(clock: Arc<Clock>, prefix: &str) -> Self {
        Self { clock, prefix: prefix.into() }
    }

    fn stream(&self) -> &Stream {
        self.clock.stream()
    }

    fn subject(&self, thing: &Name) -> String {
        format!("{}.g.t.{}", self.prefix, encoded(thing.as_str()))
    }

    /// Writes what is decided about a thing, if anything, on what is known of it and the server's time. Looks again when
    /// somebody else was faster, some times.
    async fn change(
        &self,
        subject: &str,
        decide: impl Fn(u64, Option<&Found>) -> Option<Record>,
    ) -> Result<Option<Record>, StreamError> {
        for _ in 0..5 {
            let now = self.clock.now().await?;
            let found = self.stream().last(subject).await?.and_then(|stored| Found::read(&stored, now));
            let Some(record) = decide(now, found.as_ref()) else { return Ok(None) };
            let bytes = rmp_serde::to_vec(&record).expect("a record is plain data, and a Vec takes it all");
            let expected = found.map_or(0, |found| found.sequence);
            match self.stream().write(subject, Some(expected), bytes.into()).await {
                Ok(_) => return Ok(Some(record)),
                Err(StreamError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StreamError::Conflict)
    }
}

impl Record {
    fn lasting(&self, lasts: u64) -> Self {
        Self { token: Arc::clone(&self.token), fence: self.fence, lasts }
    }
}

impl Found {
    /// Whatever else is there is no lease of anybody's.
    fn read(stored: &Stored, now: u64) -> Option<Self> {
        let record: Record = rmp_serde::from_slice(&stored.payload).ok()?;
        let good = record.lasts > 0 && now < stored.at.saturating_add(record.lasts);
        Some(Self { record, sequence: stored.sequence, good })
    }

    fn is_of(&self, grant: &Grant) -> bool {
        self.record.token == grant.token && self.record.fence == grant.fence
    }
}

impl Leases for NatsLeases {
    fn take(&self, thing: &Name, lasts: Duration) -> Leasing<Option<Grant>> {
        let (this, subject) = (self.clone(), self.subject(thing));
        Box::pin(async move {
            let lasts = checked(lasts)?;
            let token = Grant::new(0).token;
            let record = |now: u64, found: Option<&Found>| match found {
                Some(found) if found.good => None,
                found => {
                    let last = found.map_or(0, |found| found.record.fence);
                    // By the server's clock, so that fences grow also when it has lost or let go of what was there.
                    Some(Record { token: Arc::clone(&token), fence: now.max(last.saturating_add(1)), lasts })
                }
            };
            match this.change(&subject, record).await {
                Ok(record) => Ok(record.map(|record| Grant { token: record.token, fence: record.fence })),
                // Others want it, too, and one of them has it.
                Err(StreamError::Conflict) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn renew(&self, thing: &Name, grant: &Grant, lasts: Duration) -> Leasing<bool> {
        let (this, subject, grant) = (self.clone(), self.subject(thing), grant.clone());
        Box::pin(async move {
            let lasts = checked(lasts)?;
            let renewed = |_, found: Option<&Found>| {
                found.filter(|found| found.good && found.is_of(&grant)).map(|found| found.record.lasting(lasts))
            };
            Ok(this.change(&subject, renewed).await?.is_some())
        })
    }

    fn give_back(&self, thing: &Name, grant: &Grant) -> Leasing<()> {
        let (this, subject, grant) = (self.clone(), self.subject(thing), grant.clone());
        Box::pin(async move {
            let free = |_, found: Option<&Found>| {
                found.filter(|found| found.is_of(&grant)).map(|found| found.record.lasting(0))
            };
            this.change(&subject, free).await?;
            Ok(())
        })
    }
}

fn checked(lasts: Duration) -> Result<u64, BusError> {
    if lasts > Clock::LONGEST {
        return Err(BusError(format!("a lease of {lasts:?} exceeds the limit of {:?}", Clock::LONGEST).into()));
    }
    Ok(micros(lasts).max(1))
}
