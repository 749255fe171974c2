//! Bodies of requests: within limits of size and time, and of what all that arrive hold together.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use denrei_proto::codes::Code;
use http_body_util::BodyExt;
use serde::Deserialize;

use crate::app::App;
use crate::refusal::Refusal;

/// A body that has arrived. It counts among those that the server holds as long as it lives.
pub(super) struct Arrived {
    pub(super) bytes: Bytes,
    _held: Held,
}

/// Why a body is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It exceeds its limit.
    TooBig,
    /// It did not come in time.
    TooSlow,
    /// The server holds as many bytes of bodies as it may.
    Full,
    /// The client has gone, or broke HTTP.
    Broken,
}

/// What every body may hold without being counted: most are smaller, and a flood of large ones keeps none of them out.
const FREE: usize = 64 * 1024;

/// Reads a body that may be as long as a message.
pub(super) async fn message(app: &Arc<App>, body: Body) -> Result<Arrived, Refusal> {
    let most = app.limits().message;
    read(app, body, most).await.map_err(|unread| unread.refusal(most))
}

/// Reads a body of at most so many bytes.
pub(super) async fn read(app: &Arc<App>, body: Body, most: usize) -> Result<Arrived, Unread> {
    // Who says before that it will be too big is told before.
    if HttpBody::size_hint(&body).lower() > most as u64 {
        return Err(Unread::TooBig);
    }
    let time = app.limits().body;
    tokio::time::timeout(time, collect(app, body, most)).await.unwrap_or(Err(Unread::TooSlow))
}

async fn collect(app: &Arc<App>, mut body: Body, most: usize) -> Result<Arrived, Unread> {
    let mut held = Held { app: Arc::clone(app), bytes: 0 };
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > most {
            return Err(Unread::TooBig);
        }
        held.grow(length.saturating_sub(FREE))?;
        if bytes.is_empty() && body.is_end_stream() {
            return Ok(Arrived { bytes: data, _held: held });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Arrived { bytes: bytes.freeze(), _held: held })
}

/// Reads a JSON object.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Refusal> {
    // serde would take an array of the fields' values for the object.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::new(Code::InvalidMessage, "Invalid message format"));
    }
    serde_json::from_slice(json).map_err(|error| {
        if !error.is_data() {
            return Refusal::new(Code::InvalidMessage, "Invalid message format");
        }
        let sentence = error.to_string();
        Refusal::new(Code::InvalidField, sentence.split(" at line ").next().unwrap_or(&sentence))
    })
}

/// A body's part of what all may hold.
struct Held {
    app: Arc<App>,
    bytes: usize,
}

impl Held {
    fn grow(&mut self, bytes: usize) -> Result<(), Unread> {
        let more = bytes - self.bytes;
        let before = self.app.bodies.fetch_add(more, Ordering::Relaxed);
        self.bytes = bytes;
        if more > 0 && before + more > self.app.limits().bodies { Err(Unread::Full) } else { Ok(()) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.app.bodies.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Unread {
    /// The no to tell; `most` is the limit.
    pub(super) fn refusal(self, most: usize) -> Refusal {
        match self {
            Self::TooBig | Self::Broken => {
                Refusal::new(Code::TooLarge, format!("a body is at most {most} bytes, and whole"))
            }
            Self::TooSlow => Refusal::new(Code::TooSlow, "the body took too long to arrive"),
            Self::Full => Refusal::later(Code::Unavailable, "the server holds as many large bodies as it may"),
        }
    }
}
