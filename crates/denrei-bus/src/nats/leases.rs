//! Leases on a JetStream stream: one message for each thing, written by compare-and-set.

use std::sync::Arc;
use std::time::Duration;

use denrei_hub::{BusError, Grant, Leases, Leasing, Name};
use serde::{Deserialize, Serialize};

use super::clock::{Clock, micros};
use super::jetstream::{Stored, Stream, StreamError};
use super::token;

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
        format!("{}.g.t.{}", self.prefix, token(thing.as_str()))
    }

    async fn find(&self, subject: &str) -> Result<(u64, Option<Found>), StreamError> {
        let now = self.clock.now().await?;
        let found = self.stream().last(subject).await?.and_then(|stored| Found::read(&stored, now));
        Ok((now, found))
    }

    async fn write(&self, subject: &str, record: &Record, expected: u64) -> Result<(), StreamError> {
        let bytes = rmp_serde::to_vec(record).expect("a record is plain data, and a Vec takes it all");
        self.stream().write(subject, Some(expected), bytes.into()).await.map(drop)
    }

    async fn take(&self, subject: &str, lasts: u64) -> Result<Option<Grant>, StreamError> {
        let (now, found) = self.find(subject).await?;
        let (expected, last) = match &found {
            Some(found) if found.good => return Ok(None),
            Some(found) => (found.sequence, found.record.fence),
            None => (0, 0),
        };
        // By the server's clock, so that fences grow also when it has lost or let go of what was there.
        let grant = Grant::new(now.max(last + 1));
        let record = Record { token: Arc::clone(&grant.token), fence: grant.fence, lasts };
        self.write(subject, &record, expected).await?;
        Ok(Some(grant))
    }

    async fn renew(&self, subject: &str, grant: &Grant, lasts: u64) -> Result<bool, StreamError> {
        let (_, found) = self.find(subject).await?;
        let Some(found) = found.filter(|found| found.good && found.is_of(grant)) else { return Ok(false) };
        self.write(subject, &Record { lasts, ..found.record }, found.sequence).await?;
        Ok(true)
    }

    async fn give_back(&self, subject: &str, grant: &Grant) -> Result<(), StreamError> {
        let (_, found) = self.find(subject).await?;
        match found.filter(|found| found.is_of(grant)) {
            Some(found) => self.write(subject, &Record { lasts: 0, ..found.record }, found.sequence).await,
            None => Ok(()),
        }
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
            match retry(async || NatsLeases::take(&this, &subject, lasts).await).await {
                // Others want it, too, and one of them has it.
                Err(StreamError::Conflict) => Ok(None),
                other => Ok(other?),
            }
        })
    }

    fn renew(&self, thing: &Name, grant: &Grant, lasts: Duration) -> Leasing<bool> {
        let (this, subject, grant) = (self.clone(), self.subject(thing), grant.clone());
        Box::pin(async move {
            let lasts = checked(lasts)?;
            Ok(retry(async || NatsLeases::renew(&this, &subject, &grant, lasts).await).await?)
        })
    }

    fn give_back(&self, thing: &Name, grant: &Grant) -> Leasing<()> {
        let (this, subject, grant) = (self.clone(), self.subject(thing), grant.clone());
        Box::pin(async move { Ok(retry(async || NatsLeases::give_back(&this, &subject, &grant).await).await?) })
    }
}

/// Looks again when somebody else was faster, some times.
async fn retry<T>(mut attempt: impl AsyncFnMut() -> Result<T, StreamError>) -> Result<T, StreamError> {
    for _ in 0..4 {
        match attempt().await {
            Err(StreamError::Conflict) => {}
            other => return other,
        }
    }
    attempt().await
}

fn checked(lasts: Duration) -> Result<u64, BusError> {
    if lasts > Clock::LONGEST {
        return Err(BusError(format!("a lease of {lasts:?} exceeds the limit of {:?}", Clock::LONGEST).into()));
    }
    Ok(micros(lasts).max(1))
}
