//! The protocol in Protobuf: `proto/denrei/v1/websocket.proto` says what stands where.
//!
//! Payloads are JSON text, but for messages of the chat, which have a type of their own.

mod chat;

// Made by `tests/protobuf.rs` of this crate, and left as it was made.
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "nobody wrote it")]
mod generated;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message;
use serde_json::value::RawValue;

use self::generated::web_socket_frame::Control;
use self::generated::{Direct, Error, Expiring, Gap, Positions, Reply, Shutdown, WebSocketFrame, Welcome};
use super::answer::Answer;
use super::event::Event;
use super::request::{Invalid, Ref, Request, Target};
use super::syntax::Syntax;
use crate::ws::FrameWriter;

/// Reads a client's frame, see [`Syntax::read`].
///
/// What is decoded is let go when this returns. It may be 30 times as long as its bytes, which are bounded: a list of
/// empty entries has two bytes for each.
pub(super) fn read<R>(bytes: &[u8], see: impl FnOnce(Option<Ref<'_>>, Result<Request<'_>, Invalid>) -> R) -> R {
    let Ok(frame) = WebSocketFrame::decode(bytes) else { return see(None, Err(Invalid::format())) };
    let reference = match &*frame.r#ref {
        "" => None,
        text => match Ref::read(text) {
            None => return see(None, Err(Invalid::field("ref is a text of at most 128 bytes"))),
            some => some,
        },
    };
    match &frame.control {
        Some(control) => see(reference, asked(control)),
        None => match payload(&frame) {
            Ok(payload) => see(reference, Ok(broadcast(&frame, &payload))),
            Err(invalid) => see(reference, Err(invalid)),
        },
    }
}

/// Writes an answer as a WebSocket frame.
pub(super) fn answer(answer: &Answer<'_>) -> Bytes {
    let mut reference = None;
    let control = match *answer {
        Answer::Welcome { client, user, heartbeat_ms, timestamp } => Control::Welcome(Welcome {
            client_id: client.into(),
            user_id: user.unwrap_or_default().into(),
            heartbeat: heartbeat_ms,
            timestamp: signed(timestamp),
        }),
        Answer::Reply { reference: to, payload } => {
            reference = Some(to);
            Control::Reply(Reply { payload: payload.into() })
        }
        Answer::Error { reference: to, code, sentence, retry_after_ms } => {
            reference = to;
            Control::Error(Error { error: sentence.into(), code: code.as_str().into(), retry_after: retry_after_ms })
        }
        Answer::Gap { room, from, to, epoch } => Control::Gap(Gap { room: room.into(), from, to, epoch: epoch.into() }),
        Answer::Positions { rooms } => {
            let rooms = rooms.iter().map(|&(room, position)| (room.into(), position.into()));
            Control::Position(Positions { rooms: rooms.collect() })
        }
        Answer::Expiring { expires_at } => Control::Expiring(Expiring { expires_at: signed(expires_at) }),
        Answer::Shutdown { reconnect_delay_ms } => {
            Control::Shutdown(Shutdown { message: Answer::SHUTDOWN.into(), reconnect_delay: reconnect_delay_ms })
        }
    };
    let r#ref = reference.map_or("", Ref::as_str).into();
    let frame = WebSocketFrame { r#ref, control: Some(control), ..WebSocketFrame::default() };
    let mut writer = FrameWriter::with_capacity(frame.encoded_len());
    write(&frame, writer.buffer());
    writer.finish(Syntax::Protobuf.opcode())
}

/// Writes what a reader is told.
pub(super) fn write_broadcast(event: &Event<'_>, out: &mut Vec<u8>) {
    let chat_message = chat::told(event);
    let payload = if chat_message.is_some() { String::new() } else { text(event.payload) };
    let frame = WebSocketFrame {
        event: event.event.into(),
        chat_message,
        payload,
        room: event.room.into(),
        from: event.from.unwrap_or_default().into(),
        user_id: event.user.unwrap_or_default().into(),
        seq: event.seq,
        epoch: event.epoch.into(),
        timestamp: signed(event.timestamp),
        ..WebSocketFrame::default()
    };
    write(&frame, out);
}

/// Writes what goes to one client or user.
pub(super) fn write_direct(event: &Event<'_>, out: &mut Vec<u8>) {
    let direct = Direct {
        target_id: String::new(),
        user_id: event.user.unwrap_or_default().into(),
        payload: text(event.payload),
        from: event.from.unwrap_or_default().into(),
        timestamp: signed(event.timestamp),
    };
    write(&WebSocketFrame { control: Some(Control::Direct(direct)), ..WebSocketFrame::default() }, out);
}

fn write(frame: &WebSocketFrame, out: &mut Vec<u8>) {
    frame.encode(out).expect("a vector takes all");
}

fn asked(control: &Control) -> Result<Request<'_>, Invalid> {
    Ok(match control {
        Control::Join(join) => {
            Request::Join { room: required(&join.room, "room")?, since: filled(&join.since), echo: join.echo }
        }
        Control::Leave(leave) => Request::Leave { room: required(&leave.room, "room")? },
        Control::Call(call) => Request::Call {
            method: required(&call.method, "method")?,
            payload: if call.payload.is_empty() { "null" } else { json(&call.payload, "payload")?.get() },
        },
        Control::Auth(auth) => Request::Auth { token: required(&auth.token, "token")? },
        Control::Direct(direct) => Request::Direct {
            target: match (filled(&direct.target_id), filled(&direct.user_id)) {
                (Some(client), None) => Target::Client(client),
                (None, Some(user)) => Target::User(user),
                _ => return Err(Invalid::field("a direct message has either target_id or user_id")),
            },
            payload: json(&direct.payload, "payload")?.get(),
        },
        Control::Welcome(_) => return Err(Invalid::kind("welcome")),
        Control::Reply(_) => return Err(Invalid::kind("reply")),
        Control::Error(_) => return Err(Invalid::kind("error")),
        Control::Gap(_) => return Err(Invalid::kind("gap")),
        Control::Position(_) => return Err(Invalid::kind("position")),
        Control::Expiring(_) => return Err(Invalid::kind("expiring")),
        Control::Shutdown(_) => return Err(Invalid::kind("shutdown")),
    })
}

fn broadcast<'a>(frame: &'a WebSocketFrame, payload: &'a str) -> Request<'a> {
    let room = filled(&frame.room).unwrap_or_else(|| match &frame.chat_message {
        Some(message) => Cow::Owned(chat::log_of(&message.room_id)),
        None => Cow::Borrowed("all"),
    });
    let event = filled(&frame.event).unwrap_or(Cow::Borrowed("message"));
    Request::Broadcast { room, event, payload, id: filled(&frame.id) }
}

/// The payload of a broadcast, in JSON as every log keeps it.
fn payload(frame: &WebSocketFrame) -> Result<Cow<'_, str>, Invalid> {
    match &frame.chat_message {
        None => Ok(Cow::Borrowed(json(&frame.payload, "payload")?.get())),
        Some(_) if !frame.payload.is_empty() => Err(Invalid::field("a frame has either chat_message or payload")),
        Some(message) if message.room_id.is_empty() && frame.room.is_empty() => {
            Err(Invalid::field("chat_message.room_id is missing"))
        }
        Some(message) => chat::sent(message).map(Cow::Owned),
    }
}

/// What stands in a field; proto3 does not tell an empty text from none.
fn filled(field: &str) -> Option<Cow<'_, str>> {
    (!field.is_empty()).then_some(Cow::Borrowed(field))
}

fn required<'a>(field: &'a str, name: &str) -> Result<Cow<'a, str>, Invalid> {
    filled(field).ok_or_else(|| Invalid::field(format!("{name} is missing")))
}

/// One JSON value, which is passed on as it was written: to those who read JSON, too.
fn json<'a>(text: &'a str, name: &str) -> Result<&'a RawValue, Invalid> {
    if text.is_empty() {
        return Err(Invalid::field(format!("{name} is missing")));
    }
    serde_json::from_str(text).map_err(|_| Invalid::field(format!("{name} is not one JSON value as text")))
}

fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).into_owned()
}

/// Times are signed in Protobuf, as the seed has them (§11.2).
fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
