//! The NATS server's clock, as far as a node can know it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use denrei_hub::Name;

use super::jetstream::{Limits, Storage, Stream, StreamError};
use super::link::Link;
use crate::encoded;

/// Tells the time of the server that stores leases and values, within the bounds of what a request takes: a message is
/// written, and when the server says that it was stored lies between the request and its answer. From then on this node's
/// monotonic clock goes on. So nodes need not agree on the time of day; only their clocks must run at the same speed for
/// as long as a sample is used. The servers of a NATS cluster do have to agree, as they must for the ages of messages.
pub(super) struct Clock {
    stream: Arc<Stream>,
    subject: String,
    sample: Mutex<Option<Sample>>,
    sampling: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy)]
struct Sample {
    life: u64,
    at: u64,
    answered: Instant,
}

impl Clock {
    /// How long a sample is used.
    const GOOD: Duration = Duration::from_secs(20);

    /// The longest that a lease lasts.
    pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

    /// The clock of the stream of leases, which it shares.
    pub(super) fn new(link: &Arc<Link>, prefix: &str, node: &Name) -> Arc<Self> {
        // A file: a fence of before a restart is known after it. Twice the longest lease, so that none is forgotten.
        let limits = Limits { per_subject: 1, bytes: 64 << 20, age: Self::LONGEST * 2 };
        let subjects = format!("{prefix}.g.>");
        let stream = Stream::new(link, format!("{prefix}-leases"), &subjects, Storage::File, limits);
        let subject = format!("{prefix}.g.clock.{}", encoded(node.as_str()));
        Arc::new(Self { stream, subject, sample: Mutex::default(), sampling: tokio::sync::Mutex::default() })
    }

    pub(super) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The server's time in µs since 1970: no later than it is there, and earlier by no more than an answer takes.
    pub(super) async fn now(&self) -> Result<u64, StreamError> {
        let life = self.stream.ensure().await?;
        if let Some(now) = self.known(life) {
            return Ok(now);
        }
        let _one = self.sampling.lock().await;
        for _ in 0..3 {
            if let Some(now) = self.known(life) {
                return Ok(now);
            }
            let sequence = self.stream.write(&self.subject, None, Bytes::from_static(b"-")).await?;
            let answered = Instant::now();
            // Another of that name may have written, too.
            if let Some(stored) = self.stream.last(&self.subject).await?.filter(|stored| stored.sequence == sequence) {
                *self.sample.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Sample { life, at: stored.at, answered });
            }
        }
        self.known(life).ok_or(StreamError::Conflict)
    }

    fn known(&self, life: u64) -> Option<u64> {
        let sample = *self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        let sample = sample.filter(|sample| sample.life == life)?;
        let elapsed = sample.answered.elapsed();
        (elapsed < Self::GOOD).then(|| sample.at + micros(elapsed))
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
