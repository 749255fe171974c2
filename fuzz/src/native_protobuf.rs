//! A frame of the native protocol in Protobuf, and what becomes of it.

use denrei_proto::codes::Code;
use denrei_proto::native::request::Target;
use denrei_proto::native::{Answer, Data, Event, Ref, Request, Syntax};
use serde_json::value::RawValue;

use crate::back::{self, Message};

/// The input is the message.
pub fn run(data: &[u8]) {
    Syntax::Protobuf.read(Data::Binary(data), |reference, request| {
        if let Some(reference) = reference {
            assert!(reference.as_str().len() <= Ref::LONGEST);
            assert_eq!(Ref::read(reference.as_str()), Some(reference));
            answer_holds(&Answer::Reply { reference, payload: "null" }, Some(reference));
        }
        match request {
            Ok(request) => request_holds(&request),
            Err(invalid) => {
                assert!(invalid.sentence.len() <= 250, "a sentence of {} bytes", invalid.sentence.len());
                let (code, sentence) = (invalid.code, &*invalid.sentence);
                answer_holds(&Answer::Error { reference, code, sentence, retry_after_ms: None }, reference);
            }
        }
    });
}

/// An answer is one frame, which no client may send.
fn answer_holds(answer: &Answer<'_>, reference: Option<Ref<'_>>) {
    let messages = back::messages(&answer.encode(Syntax::Protobuf));
    let [Message::Binary(frame)] = &messages[..] else { panic!("{messages:?}") };
    Syntax::Protobuf.read(Data::Binary(frame), |read, request| {
        assert_eq!(read, reference);
        assert_eq!(request.expect_err("an answer is no request").code, Code::UnknownType);
    });
}

fn request_holds(request: &Request<'_>) {
    match request {
        Request::Join { room: name, .. } | Request::Leave { room: name } | Request::Auth { token: name } => {
            assert!(!name.is_empty());
        }
        Request::Call { payload, .. } => payload_holds(payload),
        Request::Direct { payload, .. } => {
            payload_holds(payload);
            direct_holds(payload);
        }
        Request::Broadcast { room, event, payload, .. } => {
            payload_holds(payload);
            event_holds(room, event, payload);
            event_holds("chat:general", "message", payload);
        }
    }
}

fn payload_holds(payload: &str) {
    serde_json::from_str::<&RawValue>(payload).expect("a payload is JSON");
}

/// What readers are told, sent again by one of them, is the same: a message of a chat without what the server sets.
fn event_holds(room: &str, name: &str, payload: &str) {
    let mut told = Vec::new();
    event(room, name, payload).write_broadcast(Syntax::Protobuf, &mut told);
    Syntax::Protobuf.read(Data::Binary(&told), |_, request| {
        let Ok(Request::Broadcast { room: to, event, payload: again, .. }) = request else { panic!("{request:?}") };
        assert_eq!((&*to, &*event), (room, name));
        if !room.starts_with("chat:") {
            assert_eq!(again, payload);
        }
        payload_holds(again);
    });
}

fn direct_holds(payload: &str) {
    let mut told = Vec::new();
    event("direct", "direct", payload).write_direct(Syntax::Protobuf, &mut told);
    Syntax::Protobuf.read(Data::Binary(&told), |_, request| {
        let Ok(Request::Direct { target: Target::User(user), payload: again }) = request else { panic!("{request:?}") };
        assert_eq!((&*user, again), ("alice", payload));
    });
}

fn event<'a>(room: &'a str, name: &'a str, payload: &'a str) -> Event<'a> {
    let (payload, from, user) = (payload.as_bytes(), Some("c"), Some("alice"));
    Event { room, event: name, payload, from, user, seq: 7, epoch: "e", timestamp: 1 }
}
