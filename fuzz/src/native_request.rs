//! A frame of the native protocol, and what becomes of it.

use denrei_proto::codes::Code;
use denrei_proto::native::request::Target;
use denrei_proto::native::{Answer, Event, Ref, Request, Syntax};
use denrei_proto::sse::{self, Carriage, Format};
use serde_json::Value;

use crate::back::{self, Message};
use crate::values::value;

/// The input is the text of the frame.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (reference, request) = Request::parse(text);
    let json = value(data);
    if let Some(reference) = reference {
        reference_holds(reference, json.as_ref());
    }
    match request {
        Ok(request) => request_holds(&request, json.as_ref()),
        Err(invalid) => {
            assert!(invalid.sentence.len() <= 250, "a sentence of {} bytes", invalid.sentence.len());
            answer_holds(&Answer::Error {
                reference,
                code: invalid.code,
                sentence: &invalid.sentence,
                retry_after_ms: None,
            });
        }
    }
}

/// A reference comes back as it was written, and is JSON wherever it stands.
fn reference_holds(reference: Ref<'_>, json: Option<&Value>) {
    assert!(reference.as_str().len() <= Ref::LONGEST);
    assert_eq!(Ref::read(reference.as_str()), Some(reference));
    answer_holds(&Answer::Reply { reference, payload: "null" });
    let (reference, code) = (Some(reference), Code::InvalidField);
    let error = answer_holds(&Answer::Error { reference, code, sentence: "no", retry_after_ms: Some(1) });
    if let (Some(json), Some(error)) = (json, error) {
        assert_eq!(json["ref"], error["ref"]);
    }
}

/// The answer is one object; none where half a surrogate pair, which JavaScript reads, keeps Rust from reading it.
fn answer_holds(answer: &Answer<'_>) -> Option<Value> {
    let messages = back::messages(&answer.encode(Syntax::Json));
    let [Message::Text(text)] = &messages[..] else { panic!("{messages:?}") };
    serde_json::from_str::<&serde_json::value::RawValue>(text).expect("an answer is JSON");
    let value = value(text.as_bytes())?;
    assert!(value.is_object());
    Some(value)
}

fn request_holds(request: &Request<'_>, json: Option<&Value>) {
    let is = |name: &str, got: &str| {
        if let Some(json) = json {
            assert_eq!(json[name], got, "{name}");
        }
    };
    let is_payload = |payload: &str| {
        serde_json::from_str::<&serde_json::value::RawValue>(payload).expect("a payload is JSON");
        if let Some(json) = json {
            assert_eq!(value(payload.as_bytes()).as_ref(), Some(&json["payload"]));
        }
    };
    match request {
        Request::Join { room, since, .. } => {
            is("room", room);
            if let Some(since) = since {
                is("since", since);
            }
        }
        Request::Leave { room } => is("room", room),
        Request::Broadcast { room, event, payload, id } => {
            is_payload(payload);
            if let Some(id) = id {
                is("id", id);
            }
            event_holds(room, event, payload);
        }
        Request::Direct { target, payload } => {
            is_payload(payload);
            match target {
                Target::Client(client) => is("targetId", client),
                Target::User(user) => is("userId", user),
            }
        }
        Request::Call { method, payload } => {
            is_payload(payload);
            is("method", method);
        }
        Request::Auth { token } => is("token", token),
    }
}

/// What everyone in the room is shown is the payload, on any transport.
fn event_holds(room: &str, name: &str, payload: &str) {
    let event = Event {
        room,
        event: name,
        payload: payload.as_bytes(),
        from: Some(room),
        user: None,
        seq: 7,
        epoch: "e",
        timestamp: 1,
    };
    let (mut object, mut broadcast, mut direct) = (Vec::new(), Vec::new(), Vec::new());
    event.write_object(&mut object);
    event.write_broadcast(Syntax::Json, &mut broadcast);
    event.write_direct(Syntax::Json, &mut direct);
    for text in [&object, &broadcast, &direct] {
        serde_json::from_slice::<&serde_json::value::RawValue>(text).expect("an event is JSON");
        if let (Some(shown), Some(payload)) = (value(text), value(payload.as_bytes())) {
            assert_eq!(shown["payload"], payload);
            assert_eq!(shown["from"], room);
        }
    }
    let stream = |format| sse::event(&event, format, Carriage::Body);
    crate::sse::holds(&stream(Format::Payload), Some("e:7"), name, payload.as_bytes());
    crate::sse::holds(&stream(Format::Envelope), Some("e:7"), name, &object);
}
