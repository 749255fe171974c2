//! Webhooks: what is published on a channel, by HTTP, signed as Standard Webhooks are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use denrei_hub::{Channel, Channels, Listen, random_token};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::{listen, next};
use crate::app::now_ms;
use crate::duty::Duty;
use crate::outgoing;

/// Somebody who is told of what is published on a channel.
#[derive(Clone, Debug)]
pub struct EventHook {
    /// The channel.
    pub channel: String,
    /// Where a POST goes: with `https`, or to this machine.
    pub url: String,
    /// What it is signed with.
    pub secret: HookSecret,
}

/// A key of Standard Webhooks.
#[derive(Clone)]
pub struct HookSecret(Arc<hmac::Key>);

/// A secret that is none.
#[derive(Debug, thiserror::Error)]
#[error("the secret is whsec_ and 24 to 64 bytes in base64")]
pub struct InvalidHookSecret;

impl HookSecret {
    /// Reads `whsec_` and base64.
    ///
    /// # Errors
    /// It is not that, or too short.
    pub fn parse(text: &str) -> Result<Self, InvalidHookSecret> {
        let text = text.strip_prefix("whsec_").ok_or(InvalidHookSecret)?;
        let bytes = STANDARD.decode(text).map_err(|_| InvalidHookSecret)?;
        if !(24..=64).contains(&bytes.len()) {
            return Err(InvalidHookSecret);
        }
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))))
    }

    /// The signature of a message that was sent at a time, in seconds since 1970.
    pub(super) fn sign(&self, id: &str, at: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{at}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

impl fmt::Debug for HookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookSecret")
    }
}

pub(super) struct Hooks(Vec<EventHook>);

impl Hooks {
    /// Events that wait for one hook; what is too much is dropped, and said so.
    const QUEUE: usize = 1000;
    /// How long it is waited before the next try.
    const AGAIN: [Duration; 4] =
        [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)];
    const PATIENCE: Duration = Duration::from_secs(10);

    pub(super) fn new(hooks: Vec<EventHook>) -> Self {
        Self(hooks)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells everybody who is to be told. One node does.
    pub(super) async fn run(&self, channels: &dyn Channels, duty: &Duty) {
        futures_util::future::join_all(self.0.iter().map(|hook| attend(hook, channels, duty))).await;
    }
}

async fn attend(hook: &EventHook, channels: &dyn Channels, duty: &Duty) {
    let (queue, waiting) = mpsc::channel(Hooks::QUEUE);
    let hearing = async {
        let channel = Channel::Plain(hook.channel.as_str().into());
        let mut listening = listen(channels, &Listen::To(channel)).await;
        while let Some((_, bytes)) = next(&mut listening).await {
            if duty.is_ours() && queue.try_send(bytes).is_err() {
                tracing::warn!(channel = hook.channel, "a webhook is too slow: an event was dropped");
            }
        }
    };
    tokio::join!(hearing, deliver(hook, waiting));
}

/// Delivers one event after the other, so that they keep their order.
async fn deliver(hook: &EventHook, mut waiting: mpsc::Receiver<Bytes>) {
    while let Some(event) = waiting.recv().await {
        let Some(body) = body(hook, &event) else {
            tracing::debug!(channel = hook.channel, "an event that is no JSON is nobody's webhook");
            continue;
        };
        let id = format!("msg_{}", random_token(20));
        let mut tries = Hooks::AGAIN.into_iter();
        loop {
            let at = now_ms() / 1000;
            let headers = [
                ("webhook-id", id.clone()),
                ("webhook-timestamp", at.to_string()),
                ("webhook-signature", hook.secret.sign(&id, at, &body)),
            ];
            let error = match outgoing::post_signed(&hook.url, body.clone(), &headers, Hooks::PATIENCE).await {
                Ok(()) => break,
                Err(error) => error,
            };
            let host = outgoing::host(&hook.url);
            match tries.next() {
                Some(again) => {
                    tracing::debug!(error, host, channel = hook.channel, "a webhook failed, and is tried again");
                    tokio::time::sleep(again).await;
                }
                None => {
                    tracing::warn!(error, host, channel = hook.channel, "a webhook failed: the event is given up");
                    break;
                }
            }
        }
    }
}

fn body(hook: &EventHook, event: &[u8]) -> Option<Bytes> {
    let event: &RawValue = serde_json::from_slice(event).ok()?;
    let body = serde_json::json!({ "channel": hook.channel, "timestamp": now_ms(), "event": event });
    serde_json::to_vec(&body).ok().map(Bytes::from)
}
