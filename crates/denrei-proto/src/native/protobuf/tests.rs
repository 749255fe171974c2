use super::generated::chat_message::{MessageType, Reaction, Root, Thread};
use super::generated::{Auth, Call, ChatMessage, Join, Leave};
use super::*;
use crate::codes::Code;
use crate::native::syntax::Data;

/// What a client's frame asks, as text; its reference before it.
fn heard(frame: &WebSocketFrame) -> String {
    read(&frame.encode_to_vec(), |reference, request| {
        let request = match request {
            Ok(request) => format!("{request:?}"),
            Err(invalid) => format!("{}: {}", invalid.code.as_str(), invalid.sentence),
        };
        reference.map_or(String::new(), |reference| format!("{} ", reference.as_str())) + &request
    })
}

fn control(control: Control) -> WebSocketFrame {
    WebSocketFrame { control: Some(control), ..WebSocketFrame::default() }
}

/// The one frame that the server's bytes are.
fn told(bytes: &[u8]) -> WebSocketFrame {
    assert_eq!(bytes[0], 0x82, "a whole binary message");
    let start = if bytes[1] < 126 { 2 } else { 4 };
    WebSocketFrame::decode(&bytes[start..]).unwrap()
}

fn event<'a>(room: &'a str, name: &'a str, payload: &'a str) -> Event<'a> {
    let (payload, from, user) = (payload.as_bytes(), Some("c1"), Some("alice"));
    Event { room, event: name, payload, from, user, seq: 7, epoch: "e", timestamp: 12 }
}

fn broadcasted(event: &Event<'_>) -> WebSocketFrame {
    let mut out = Vec::new();
    event.write_broadcast(Syntax::Protobuf, &mut out);
    WebSocketFrame::decode(&*out).unwrap()
}

#[test]
fn the_message_of_the_seed_has_the_numbers_of_the_seed() {
    let message = ChatMessage {
        id: "i".into(),
        room_id: "r".into(),
        user_id: "u".into(),
        content: "c".into(),
        timestamp: 5,
        r#type: MessageType::System.into(),
        ..ChatMessage::default()
    };
    assert_eq!(message.encode_to_vec(), b"\x0a\x01i\x12\x01r\x1a\x01u\x22\x01c\x28\x05\x30\x03");
    let types = ["TEXT", "IMAGE", "FILE", "SYSTEM"].map(|name| MessageType::from_str_name(name).map(i32::from));
    assert_eq!(types, [0, 1, 2, 3].map(Some));
}

#[test]
fn a_frame_with_an_event_and_a_chat_message_is_a_publish_to_its_room() {
    let message = ChatMessage {
        room_id: "general".into(),
        content: "hello \"you\"".into(),
        r#type: MessageType::Image.into(),
        client_message_id: "c0ffee".into(),
        mentions: vec!["bob".into()],
        data: r#"{"width": 5}"#.into(),
        user_id: "somebody else".into(),
        timestamp: 1,
        ..ChatMessage::default()
    };
    let frame = WebSocketFrame { event: "message".into(), chat_message: Some(message), ..WebSocketFrame::default() };
    read(&frame.encode_to_vec(), |_, request| {
        let Ok(Request::Broadcast { room, event, payload, id: None }) = request else { panic!("not a broadcast") };
        assert_eq!((&*room, &*event), ("chat:general", "message"));
        assert_eq!(
            payload,
            r#"{"content":"hello \"you\"","type":"IMAGE","clientMessageId":"c0ffee","mentions":["bob"],"data":{"width": 5}}"#
        );
    });
}

#[test]
fn a_chat_message_goes_to_the_room_that_is_named_and_to_one_that_is() {
    let with = |room: &str, room_id: &str| {
        let chat_message = Some(ChatMessage { room_id: room_id.into(), ..ChatMessage::default() });
        heard(&WebSocketFrame { room: room.into(), chat_message, ..WebSocketFrame::default() })
    };
    assert!(with("live:lobby", "general").contains(r#"room: "live:lobby""#));
    assert!(with("", "general").contains(r#"room: "chat:general", event: "message""#));
    assert_eq!(with("", ""), "invalid_field: chat_message.room_id is missing");
}

#[test]
fn a_chat_message_that_cannot_be_one_is_refused_with_its_field() {
    let with = |change: &dyn Fn(&mut ChatMessage), payload: &str| {
        let mut message = ChatMessage { room_id: "general".into(), ..ChatMessage::default() };
        change(&mut message);
        let (chat_message, payload) = (Some(message), payload.into());
        heard(&WebSocketFrame { chat_message, payload, ..WebSocketFrame::default() })
    };
    assert_eq!(with(&|message| message.r#type = 9, ""), "invalid_field: chat_message.type 9 is none");
    assert_eq!(
        with(&|message| message.data = "{".into(), ""),
        "invalid_field: chat_message.data is not one JSON value as text"
    );
    assert_eq!(with(&|_| (), "1"), "invalid_field: a frame has either chat_message or payload");
}

#[test]
fn a_payload_is_json_and_goes_to_all_as_message_when_nothing_is_named() {
    let with = |payload: &str| heard(&WebSocketFrame { payload: payload.into(), ..WebSocketFrame::default() });
    assert_eq!(
        with(" {\"a\": [1, 2]}\n"),
        r#"Broadcast { room: "all", event: "message", payload: "{\"a\": [1, 2]}", id: None }"#
    );
    for bad in ["{", "1 2", "'x'", "hello"] {
        assert_eq!(with(bad), "invalid_field: payload is not one JSON value as text", "{bad}");
    }
    assert_eq!(with(""), "invalid_field: payload is missing");
}

#[test]
fn every_request_is_read_with_its_fields() {
    let event = WebSocketFrame {
        room: "live:a".into(),
        event: "move".into(),
        payload: "5".into(),
        id: "i".into(),
        r#ref: "r1".into(),
        ..WebSocketFrame::default()
    };
    let direct = |target_id: &str, user_id: &str| {
        let (target_id, user_id, payload) = (target_id.into(), user_id.into(), "1".into());
        control(Control::Direct(Direct { target_id, user_id, payload, ..Direct::default() }))
    };
    let join = |since: &str| Control::Join(Join { room: "a".into(), since: since.into(), echo: true });
    let call = |payload: &str| Control::Call(Call { method: "echo".into(), payload: payload.into() });
    for (frame, expected) in [
        (event, r#"r1 Broadcast { room: "live:a", event: "move", payload: "5", id: Some("i") }"#),
        (control(join("")), r#"Join { room: "a", since: None, echo: true }"#),
        (control(join("e:5")), r#"Join { room: "a", since: Some("e:5"), echo: true }"#),
        (control(Control::Leave(Leave { room: "a".into() })), r#"Leave { room: "a" }"#),
        (control(call("[]")), r#"Call { method: "echo", payload: "[]" }"#),
        (control(call("")), r#"Call { method: "echo", payload: "null" }"#),
        (control(Control::Auth(Auth { token: "t".into() })), r#"Auth { token: "t" }"#),
        (direct("c", ""), r#"Direct { target: Client("c"), payload: "1" }"#),
        (direct("", "u"), r#"Direct { target: User("u"), payload: "1" }"#),
        (direct("c", "u"), "invalid_field: a direct message has either target_id or user_id"),
        (control(Control::Join(Join::default())), "invalid_field: room is missing"),
        (control(Control::Auth(Auth::default())), "invalid_field: token is missing"),
        (control(Control::Welcome(Welcome::default())), "unknown_type: Unknown message type: welcome"),
    ] {
        assert_eq!(heard(&frame), expected);
    }
}

#[test]
fn a_reference_is_any_short_text() {
    let with = |reference: &str| {
        let leave = control(Control::Leave(Leave { room: "r".into() }));
        heard(&WebSocketFrame { r#ref: reference.into(), ..leave })
    };
    assert_eq!(with("a\n\"1"), "a\n\"1 Leave { room: \"r\" }");
    assert_eq!(with(&"x".repeat(129)), "invalid_field: ref is a text of at most 128 bytes");
}

#[test]
fn what_is_no_frame_is_an_invalid_message() {
    let refused = |data: Data<'_>| {
        Syntax::Protobuf.read(data, |reference, request| {
            let invalid = request.map(|request| format!("{request:?}")).unwrap_err();
            assert_eq!((reference, invalid.code), (None, Code::InvalidMessage));
            invalid.sentence
        })
    };
    // Cut short, a text that is not UTF-8, a field of another wire type, a group without end, a varint without end.
    for bad in [&b"\x0a\x05abc"[..], b"\x0a\x01\xff", b"\x08\x01", b"\x0b\x0b\x0b", b"\x48\xff\xff\xff\xff", b"\x00"] {
        assert_eq!(refused(Data::Binary(bad)), "Invalid message format", "{bad:x?}");
    }
    let groups = vec![0xfb; 1024 * 1024];
    assert_eq!(refused(Data::Binary(&groups)), "Invalid message format");
    let text = refused(Data::Text(r#"{"type":"leave"}"#));
    assert_eq!(text, "this connection speaks Protobuf, in binary messages");
}

#[test]
fn fields_that_nobody_knows_yet_are_skipped() {
    let mut bytes = control(Control::Leave(Leave { room: "r".into() })).encode_to_vec();
    bytes.extend_from_slice(b"\xfa\x3f\x03new");
    read(&bytes, |_, request| assert!(matches!(request, Ok(Request::Leave { .. }))));
}

#[test]
fn every_answer_is_written_with_its_fields() {
    let reference = Ref::read("r1");
    let welcome = Answer::Welcome { client: "c1", user: Some("alice"), heartbeat_ms: 30_000, timestamp: 5 };
    let error = Answer::Error { reference, code: Code::NotFound, sentence: "no", retry_after_ms: Some(0) };
    let told = |answer: &Answer<'_>| told(&answer.encode(Syntax::Protobuf));
    assert_eq!(
        told(&welcome),
        control(Control::Welcome(Welcome {
            client_id: "c1".into(),
            user_id: "alice".into(),
            heartbeat: 30_000,
            timestamp: 5
        }))
    );
    let reply = told(&Answer::Reply { reference: reference.unwrap(), payload: r#"{"seq":1}"# });
    assert_eq!(reply.r#ref, "r1");
    assert_eq!(reply.control, Some(Control::Reply(Reply { payload: r#"{"seq":1}"#.into() })));
    let error = told(&error);
    assert_eq!(error.r#ref, "r1");
    let expected = Error { error: "no".into(), code: "not_found".into(), retry_after: Some(0) };
    assert_eq!(error.control, Some(Control::Error(expected)));
    assert_eq!(
        told(&Answer::Gap { room: "r", from: 0, to: 3, epoch: "e" }).control,
        Some(Control::Gap(Gap { room: "r".into(), from: 0, to: 3, epoch: "e".into() }))
    );
    let rooms = [("a".to_owned(), "e:1".to_owned()), ("b".to_owned(), "e:2".to_owned())].into();
    assert_eq!(
        told(&Answer::Positions { rooms: &[("b", "e:2"), ("a", "e:1")] }).control,
        Some(Control::Position(Positions { rooms }))
    );
    assert_eq!(told(&Answer::Expiring { expires_at: 9 }).control, Some(Control::Expiring(Expiring { expires_at: 9 })));
    assert_eq!(
        told(&Answer::Shutdown { reconnect_delay_ms: 4 }).control,
        Some(Control::Shutdown(Shutdown { message: Answer::SHUTDOWN.into(), reconnect_delay: 4 }))
    );
}

#[test]
fn an_event_is_told_with_its_payload_as_json() {
    let frame = broadcasted(&event("live:a", "move", r#"{"x": 1}"#));
    let expected = WebSocketFrame {
        event: "move".into(),
        payload: r#"{"x": 1}"#.into(),
        room: "live:a".into(),
        from: "c1".into(),
        user_id: "alice".into(),
        seq: 7,
        epoch: "e".into(),
        timestamp: 12,
        ..WebSocketFrame::default()
    };
    assert_eq!(frame, expected);
}

#[test]
fn a_direct_message_says_who_sent_it() {
    let mut out = Vec::new();
    event("direct", "direct", "5").write_direct(Syntax::Protobuf, &mut out);
    let expected =
        Direct { user_id: "alice".into(), payload: "5".into(), from: "c1".into(), timestamp: 12, ..Direct::default() };
    assert_eq!(WebSocketFrame::decode(&*out).unwrap(), control(Control::Direct(expected)));
}

/// The message of `docs/chat.md`, every field.
const WHOLE: &str = r#"{"id":"general-7","sequence":7,"roomId":"general","userId":"alice","userName":"Alice","content":"hello",
    "timestamp":1767225600000,"status":"sent","type":"FILE","version":1,"clientMessageId":"c0ffee","replyTo":"general-3",
    "threadId":"general-2","mentions":["bob"],"data":{"any": "json"},
    "reactions":[{"emoji":"👍","count":2,"userIds":["alice","bob"]}],"thread":{"replies":2,"lastReplyAt":1767225600000},
    "editedAt":1767225700000,"deletedAt":1767225800000,"root":{"id":"general-2","thread":{"replies":3,"lastReplyAt":4}},
    "change":"edited","notYet":{"known":true}}"#;

#[test]
fn a_message_of_a_chat_is_told_in_its_own_type_and_nothing_of_it_is_lost() {
    let expected = ChatMessage {
        id: "general-7".into(),
        room_id: "general".into(),
        user_id: "alice".into(),
        content: "hello".into(),
        timestamp: 1_767_225_600_000,
        r#type: MessageType::File.into(),
        sequence: 7,
        version: 1,
        client_message_id: "c0ffee".into(),
        reply_to: "general-3".into(),
        thread_id: "general-2".into(),
        mentions: vec!["bob".into()],
        edited_at: 1_767_225_700_000,
        deleted_at: 1_767_225_800_000,
        user_name: "Alice".into(),
        status: "sent".into(),
        data: r#"{"any": "json"}"#.into(),
        reactions: vec![Reaction { emoji: "👍".into(), count: 2, user_ids: vec!["alice".into(), "bob".into()] }],
        thread: Some(Thread { replies: 2, last_reply_at: 1_767_225_600_000 }),
        root: Some(Root { id: "general-2".into(), thread: Some(Thread { replies: 3, last_reply_at: 4 }) }),
        change: "edited".into(),
    };
    for name in ["message", "messageUpdated"] {
        let frame = broadcasted(&event("chat:general", name, WHOLE));
        assert_eq!((&*frame.event, &*frame.payload, frame.seq), (name, "", 7));
        assert_eq!(frame.chat_message.as_ref(), Some(&expected));
    }
}

#[test]
fn what_is_no_message_of_a_chat_is_told_as_json() {
    let short = r#"{"id":"general-7","roomId":"general"}"#;
    assert!(broadcasted(&event("chat:general", "message", short)).chat_message.is_some());
    for (room, name, payload) in [
        ("live:general", "message", short),
        ("chat:general", "typing", short),
        ("chat:general", "message", r#""hello""#),
        ("chat:general", "message", r#"{"content":"hello"}"#),
        ("chat:general", "message", r#"["general-7","general"]"#),
        ("chat:general", "message", r#"{"id":"general-7","roomId":"general","type":"SONG"}"#),
        ("chat:general", "message", r#"{"id":"general-7","roomId":"general","sequence":"seven"}"#),
    ] {
        let frame = broadcasted(&event(room, name, payload));
        assert_eq!((frame.chat_message, &*frame.payload), (None, payload));
    }
}
