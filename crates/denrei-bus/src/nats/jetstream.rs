//! What of JetStream is used here: streams whose messages are written by compare-and-set, and read by subject.
//!
//! These are requests on documented subjects (`$JS.API.…`) with JSON in them; making them here rather than through the
//! client library gives each one time limit, no retries behind our back, and a clear word on what is not known.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use denrei_hub::{BusError, LogError};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::link::{Failure, Link};

/// One stream of ours, which is made when it is missing.
pub(super) struct Stream {
    link: Arc<Link>,
    name: String,
    config: Value,
    /// The life of the link in which it was seen to be there; 0 when it must be looked at again.
    seen: AtomicU64,
    life: AtomicU64,
    /// When the server says it was made: another time is another stream.
    created: Mutex<String>,
    /// It has replicas, of which some may be behind.
    replicated: AtomicBool,
    making: tokio::sync::Mutex<()>,
}

/// A message in a stream.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Its number in the stream; grows.
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
    /// When the server stored it, in µs since 1970 by the server's clock.
    pub(super) at: u64,
}

/// Where a stream keeps its messages.
#[derive(Clone, Copy)]
pub(super) enum Storage {
    Memory,
    File,
}

/// How much a stream keeps.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) per_subject: i64,
    pub(super) bytes: i64,
    pub(super) age: Duration,
}

/// Why a stream did not do something.
#[derive(Clone, Debug)]
pub(super) enum StreamError {
    Link(Failure),
    /// The subject's last message is another one than was expected; nothing was written.
    Conflict,
    /// The stream has no place for it; nothing was written.
    Full(Arc<str>),
    /// JetStream is not there.
    Missing,
    /// What the server says.
    Refused {
        code: u64,
        why: Arc<str>,
    },
}

impl Stream {
    pub(super) fn new(link: &Arc<Link>, name: String, subjects: &str, storage: Storage, limits: Limits) -> Arc<Self> {
        let config = json!({
            "name": name,
            "subjects": [subjects],
            "retention": "limits",
            "discard": "old",
            "storage": match storage { Storage::Memory => "memory", Storage::File => "file" },
            "num_replicas": 1,
            "max_consumers": -1,
            "max_msgs": -1,
            "max_msgs_per_subject": limits.per_subject,
            "max_bytes": limits.bytes,
            "max_age": u64::try_from(limits.age.as_nanos()).unwrap_or(u64::MAX >> 1),
            "allow_direct": true,
        });
        Arc::new(Self {
            link: Arc::clone(link),
            name,
            config,
            seen: AtomicU64::new(0),
            life: AtomicU64::new(0),
            created: Mutex::default(),
            replicated: AtomicBool::new(false),
            making: tokio::sync::Mutex::new(()),
        })
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Sees to it that the stream is there, and says which life of it this is: what was known in another one is void.
    pub(super) async fn ensure(&self) -> Result<u64, StreamError> {
        self.link.ready().await?;
        if self.seen.load(Ordering::Acquire) == self.link.life() {
            return Ok(self.life.load(Ordering::Acquire));
        }
        let _one = self.making.lock().await;
        let present = self.link.life();
        if self.seen.load(Ordering::Acquire) != present {
            self.make().await?;
            self.life.fetch_add(1, Ordering::AcqRel);
            self.seen.store(present, Ordering::Release);
        }
        Ok(self.life.load(Ordering::Acquire))
    }

    /// Has the next use look whether the stream is there.
    pub(super) fn doubt(&self) {
        self.seen.store(0, Ordering::Release);
    }

    /// Looks whether it is still the same stream: an operator may have deleted it.
    pub(super) async fn check(&self) -> Result<(), StreamError> {
        let info = self.api("STREAM.INFO", &Value::Null).await?;
        if info["created"].as_str() != Some(&*self.created()) {
            self.doubt();
        }
        Ok(())
    }

    async fn make(&self) -> Result<(), StreamError> {
        const NO_STREAM: u64 = 10_059;
        const OVERLAPS: u64 = 10_065;
        let (mut tries, mut silences) = (0, 0);
        // Another node may make it in this moment. Then its subjects are taken before it is there, and the server may
        // leave a question about it unanswered.
        let info = loop {
            let found = match self.api("STREAM.INFO", &Value::Null).await {
                Err(StreamError::Refused { code: NO_STREAM, .. }) => self.create().await,
                Ok(info) => self.widen(info).await,
                Err(error) => Err(error),
            };
            match found {
                Err(StreamError::Refused { code: OVERLAPS, .. }) if tries < 10 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(20 * tries)).await;
                }
                Err(StreamError::Link(Failure::Unanswered)) if silences == 0 => silences += 1,
                found => break found?,
            }
        };
        *self.created() = info["created"].as_str().unwrap_or_default().to_owned();
        self.replicated.store(info["config"]["num_replicas"].as_u64().unwrap_or(1) > 1, Ordering::Release);
        Ok(())
    }

    async fn create(&self) -> Result<Value, StreamError> {
        match self.api("STREAM.CREATE", &self.config).await {
            // The server cannot set so much aside; what it has in all is the bound then.
            Err(StreamError::Refused { why, .. }) if why.contains("insufficient") => {
                tracing::warn!(stream = self.name, %why, "the stream is bounded by the NATS server's limits only");
                let mut config = self.config.clone();
                config["max_bytes"] = (-1).into();
                self.api("STREAM.CREATE", &config).await
            }
            created => created,
        }
    }

    /// Nodes may be configured differently for a while, and an operator may have made the stream: limits only grow.
    async fn widen(&self, info: Value) -> Result<Value, StreamError> {
        let mut config = info["config"].clone();
        let mut grows = false;
        for limit in ["max_age", "max_msgs_per_subject"] {
            let (has, wants) = (config[limit].as_i64().unwrap_or(0), self.config[limit].as_i64().unwrap_or(0));
            // 0 and -1 are no limit.
            if has > 0 && has < wants {
                config[limit] = wants.into();
                grows = true;
            }
        }
        if config["allow_direct"] != true && config["num_replicas"].as_u64().unwrap_or(1) <= 1 {
            config["allow_direct"] = true.into();
            grows = true;
        }
        if grows { self.api("STREAM.UPDATE", &config).await } else { Ok(info) }
    }

    /// Writes a message, if the last one on its subject has this number, 0 for none; says its number.
    pub(super) async fn write(&self, subject: &str, expected: Option<u64>, payload: Bytes) -> Result<u64, StreamError> {
        const WRONG_LAST: u64 = 10_071;
        let headers = expected.map(|expected| {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
            headers
        });
        let answer = self.link.request(subject, headers, payload).await.inspect_err(|failure| {
            if matches!(failure, Failure::Nobody) {
                self.doubt();
            }
        })?;
        match parsed(&answer) {
            Ok(answer) => answer["seq"].as_u64().ok_or_else(|| unreadable(&answer)),
            Err(StreamError::Refused { code: WRONG_LAST, .. }) => Err(StreamError::Conflict),
            Err(StreamError::Refused { why, .. }) => Err(StreamError::Full(why)),
            Err(error) => Err(error),
        }
    }

    /// The last message on a subject.
    pub(super) async fn last(&self, subject: &str) -> Result<Option<Stored>, StreamError> {
        let wanted = json!({ "last_by_subj": subject });
        if self.replicated.load(Ordering::Acquire) {
            return self.at_leader(&wanted).await;
        }
        self.direct(format!("$JS.API.DIRECT.GET.{}.{subject}", self.name), Bytes::new(), &wanted).await
    }

    /// The message of a number.
    pub(super) async fn at(&self, sequence: u64) -> Result<Option<Stored>, StreamError> {
        let wanted = json!({ "seq": sequence });
        if self.replicated.load(Ordering::Acquire) {
            return self.at_leader(&wanted).await;
        }
        self.direct(format!("$JS.API.DIRECT.GET.{}", self.name), wanted.to_string().into(), &wanted).await
    }

    /// Every replica answers a direct request; only the leader is sure to have what was written last.
    async fn at_leader(&self, wanted: &Value) -> Result<Option<Stored>, StreamError> {
        const NO_MESSAGE: u64 = 10_037;
        let answer = match self.api("STREAM.MSG.GET", wanted).await {
            Ok(answer) => answer,
            Err(StreamError::Refused { code: NO_MESSAGE, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let message = &answer["message"];
        // Without a payload there is no such field.
        let payload = BASE64_STANDARD.decode(message["data"].as_str().unwrap_or_default());
        match (message["seq"].as_u64(), message["time"].as_str().and_then(micros), payload) {
            (Some(sequence), Some(at), Ok(payload)) => Ok(Some(Stored { sequence, payload: payload.into(), at })),
            _ => Err(unreadable(&Value::Null)),
        }
    }

    /// Asks the stream itself; of one that was made in this moment, and does not answer yet, its leader.
    async fn direct(&self, subject: String, payload: Bytes, wanted: &Value) -> Result<Option<Stored>, StreamError> {
        const PATIENCE: Duration = Duration::from_millis(500);
        let Ok(answer) = tokio::time::timeout(PATIENCE, self.link.request(subject, None, payload)).await else {
            return self.at_leader(wanted).await;
        };
        let answer = answer.inspect_err(|failure| {
            if matches!(failure, Failure::Nobody) {
                self.doubt();
            }
        })?;
        if answer.status == Some(StatusCode::NOT_FOUND) {
            return Ok(None);
        }
        let header = |name: &str| Some(answer.headers.as_ref()?.get(name)?.as_str());
        let sequence = header("Nats-Sequence").and_then(|text| text.parse().ok());
        let at = header("Nats-Time-Stamp").and_then(micros);
        match (sequence, at) {
            (Some(sequence), Some(at)) => Ok(Some(Stored { sequence, payload: answer.payload, at })),
            _ => Err(StreamError::Refused { code: 0, why: format!("{:?} was answered", answer.status).into() }),
        }
    }

    /// Reads all messages on a subject from a number on, in their order.
    pub(super) async fn scan(
        &self,
        subject: &str,
        from: u64,
        mut take: impl FnMut(u64, &Bytes),
    ) -> Result<(), StreamError> {
        let inbox = self.link.client().new_inbox();
        let mut messages = self.link.subscribe(&*inbox)?;
        let config = json!({
            "stream_name": self.name,
            "config": {
                "deliver_subject": inbox,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": from.max(1),
                "filter_subject": subject,
                "ack_policy": "none",
                "replay_policy": "instant",
                "mem_storage": true,
                "inactive_threshold": 10_000_000_000_u64,
            },
        });
        let made = self.api("CONSUMER.CREATE", &config).await?;
        let waiting = made["num_pending"].as_u64().unwrap_or(0);
        let delivered = made["delivered"]["consumer_seq"].as_u64().unwrap_or(0);
        let mut left = waiting + delivered;
        let mut count = 0;
        while left > 0 {
            let message = tokio::time::timeout(Link::PATIENCE, messages.next()).await;
            let Ok(Some(message)) = message else { return Err(Failure::Unanswered.into()) };
            let place = message.reply.as_ref().and_then(|reply| Place::parse(reply));
            let place = place.ok_or_else(|| StreamError::Refused { code: 0, why: "a message has no number".into() })?;
            count += 1;
            if place.delivery != count {
                return Err(Failure::Unanswered.into());
            }
            take(place.sequence, &message.payload);
            left = place.pending;
        }
        if let Some(consumer) = made["name"].as_str() {
            // It ends by itself, too; this is only sooner.
            let subject = format!("$JS.API.CONSUMER.DELETE.{}.{consumer}", self.name);
            let _ = self.link.publish(subject.into(), None, Bytes::new());
        }
        Ok(())
    }

    /// Removes one message; true for the one caller that did it.
    pub(super) async fn remove(&self, sequence: u64) -> Result<bool, StreamError> {
        // `JSSequenceNotFoundErrF`, and what a file store says of a message that is not there.
        const NO_MESSAGE: [u64; 2] = [10_043, 10_057];
        match self.api("STREAM.MSG.DELETE", &json!({ "seq": sequence, "no_erase": true })).await {
            Ok(_) => Ok(true),
            Err(StreamError::Refused { code, .. }) if NO_MESSAGE.contains(&code) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the messages on a subject below a number.
    pub(super) async fn purge(&self, subject: &str, below: u64) -> Result<(), StreamError> {
        self.api("STREAM.PURGE", &json!({ "filter": subject, "seq": below })).await.map(drop)
    }

    async fn api(&self, what: &str, request: &Value) -> Result<Value, StreamError> {
        let body = if request.is_null() { Bytes::new() } else { request.to_string().into() };
        match self.link.request(format!("$JS.API.{what}.{}", self.name), None, body).await {
            Ok(answer) => parsed(&answer),
            Err(Failure::Nobody) => Err(StreamError::Missing),
            // Who listens to everything hides that nobody answers.
            Err(Failure::Unanswered) if !self.link.client().server_info().jetstream => Err(StreamError::Missing),
            Err(failure) => Err(failure.into()),
        }
    }

    fn created(&self) -> std::sync::MutexGuard<'_, String> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a delivered message's reply subject says:
/// `$JS.ACK.STREAM.CONSUMER.DELIVERED.SEQUENCE.DELIVERY.TIME.PENDING`, newer servers with domain and account before the
/// stream.
struct Place {
    sequence: u64,
    delivery: u64,
    pending: u64,
}

impl Place {
    fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<_> = reply.split('.').collect();
        let skipped = if tokens.len() >= 11 { 2 } else { 0 };
        let number = |at: usize| tokens.get(at + skipped)?.parse().ok();
        Some(Self { sequence: number(5)?, delivery: number(6)?, pending: number(8)? })
    }
}

fn parsed(answer: &Message) -> Result<Value, StreamError> {
    let value: Value = serde_json::from_slice(&answer.payload).map_err(|_| unreadable(&Value::Null))?;
    let Some(error) = value.get("error") else { return Ok(value) };
    const NO_JETSTREAM: [u64; 2] = [10_039, 10_076];
    let code = error["err_code"].as_u64().unwrap_or(0);
    if NO_JETSTREAM.contains(&code) {
        return Err(StreamError::Missing);
    }
    let why = error["description"].as_str().unwrap_or("no reason is given").into();
    Err(StreamError::Refused { code, why })
}

fn unreadable(answer: &Value) -> StreamError {
    StreamError::Refused { code: 0, why: format!("its answer cannot be read: {answer}").into() }
}

/// µs since 1970 of a time like `2026-11-21T18:08:47.123456789Z` (RFC 3339, as the server writes it: in UTC).
fn micros(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let parts: Vec<_> = text.split(by).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        parts.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
    let in_range = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1_000_000 + digits.parse::<u64>().ok()?)
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(failure) => failure.fmt(f),
            Self::Conflict => f.write_str("other nodes were always faster"),
            Self::Full(why) => write!(f, "the NATS server does not keep it: {why}"),
            Self::Missing => f.write_str("the NATS server has no JetStream: start it with -js"),
            Self::Refused { code, why } => write!(f, "the NATS server refuses: {why} ({code})"),
        }
    }
}

impl From<Failure> for StreamError {
    fn from(failure: Failure) -> Self {
        Self::Link(failure)
    }
}

impl From<StreamError> for BusError {
    fn from(error: StreamError) -> Self {
        Self(error.to_string().into())
    }
}

impl From<StreamError> for LogError {
    fn from(error: StreamError) -> Self {
        let sentence = error.to_string().into();
        match error {
            StreamError::Full(_) | StreamError::Link(Failure::Large(_)) => Self::Full(sentence),
            _ => Self::Unavailable(sentence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, micros};

    #[test]
    fn times_of_the_server_are_read() {
        assert_eq!(micros("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(micros("2000-02-29T12:00:00.5Z"), Some(951_825_600_500_000));
        assert_eq!(micros("2026-11-21T18:08:47.123456789Z"), Some(1_795_284_527_123_456));
        for wrong in
            ["", "Z", "2026-11-21", "2026-11-21T18:08:47", "2026-13-21T18:08:47Z", "a-b-cTd:e:fZ", "1-1-1T1:1:1Z"]
        {
            assert_eq!(micros(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_place_of_a_message_is_read() {
        for reply in ["$JS.ACK.s.c.1.57.3.1700.4", "$JS.ACK.d.a.s.c.1.57.3.1700.4", "$JS.ACK.d.a.s.c.1.57.3.1700.4.r"] {
            let place = Place::parse(reply).expect("a place");
            assert_eq!((place.sequence, place.delivery, place.pending), (57, 3, 4), "{reply}");
        }
        assert!(Place::parse("_INBOX.x").is_none());
    }
}
