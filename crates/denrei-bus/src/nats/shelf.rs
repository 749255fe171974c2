//! The shelf on a JetStream stream: one message for each name.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use denrei_hub::{BusError, Name, Shelf, Shelving};

use super::clock::{Clock, micros};
use super::jetstream::{Limits, Storage, Stored, Stream, StreamError};
use super::link::Link;
use crate::encoded;

/// A value is there from when the server stored it until its time is over by the server's clock; for how long begins the
/// message, as 8 bytes.
#[derive(Clone)]
pub(super) struct NatsShelf {
    stream: Arc<Stream>,
    clock: Arc<Clock>,
    prefix: Arc<str>,
}

impl NatsShelf {
    /// The longest that a value is there.
    const LONGEST: Duration = Duration::from_secs(24 * 3600);
    /// Of all values, past which the oldest go.
    const BYTES: i64 = 1 << 30;

    pub(super) fn new(link: &Arc<Link>, clock: Arc<Clock>, prefix: &str) -> Self {
        let limits = Limits { per_subject: 1, bytes: Self::BYTES, age: Self::LONGEST };
        let name = format!("{prefix}-shelf");
        let stream = Stream::new(link, name, &format!("{prefix}.k.*"), Storage::File, limits);
        Self { stream, clock, prefix: prefix.into() }
    }

    fn subject(&self, name: &Name) -> String {
        format!("{}.k.{}", self.prefix, encoded(name.as_str()))
    }

    async fn find(&self, subject: &str) -> Result<Option<(u64, Bytes)>, StreamError> {
        self.stream.ensure().await?;
        let now = self.clock.now().await?;
        Ok(self.stream.last(subject).await?.and_then(|stored| good(&stored, now)))
    }
}

impl Shelf for NatsShelf {
    fn put(&self, name: &Name, value: Bytes, lasts: Duration) -> Shelving<()> {
        let (this, subject) = (self.clone(), self.subject(name));
        Box::pin(async move {
            if lasts > Self::LONGEST {
                let sentence = format!("{lasts:?} exceeds the limit of {:?} for what is put aside", Self::LONGEST);
                return Err(BusError(sentence.into()));
            }
            let mut bytes = BytesMut::with_capacity(8 + value.len());
            bytes.put_u64_le(micros(lasts));
            bytes.extend_from_slice(&value);
            this.stream.ensure().await?;
            this.stream.write(&subject, None, bytes.freeze()).await?;
            Ok(())
        })
    }

    fn get(&self, name: &Name) -> Shelving<Option<Bytes>> {
        let (this, subject) = (self.clone(), self.subject(name));
        Box::pin(async move { Ok(this.find(&subject).await?.map(|(_, value)| value)) })
    }

    fn take(&self, name: &Name) -> Shelving<Option<Bytes>> {
        let (this, subject) = (self.clone(), self.subject(name));
        Box::pin(async move {
            // The server removes a message for one caller. Another value may have come in its place meanwhile.
            while let Some((sequence, value)) = this.find(&subject).await? {
                if this.stream.remove(sequence).await? {
                    return Ok(Some(value));
                }
            }
            Ok(None)
        })
    }
}

fn good(stored: &Stored, now: u64) -> Option<(u64, Bytes)> {
    let (lasts, _) = stored.payload.split_first_chunk()?;
    let until = stored.at.saturating_add(u64::from_le_bytes(*lasts));
    (now < until).then(|| (stored.sequence, stored.payload.slice(8..)))
}
