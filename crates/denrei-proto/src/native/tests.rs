use super::request::Target;
use super::*;
use crate::codes::Code;

fn parse(text: &str) -> Result<Request<'_>, Invalid> {
    Request::parse(text).1
}

fn text(frame: &[u8]) -> &str {
    let start = if frame[1] < 126 { 2 } else { 4 };
    std::str::from_utf8(&frame[start..]).unwrap()
}

#[test]
fn a_broadcast_without_room_and_event_goes_to_all_as_message() {
    let Ok(Request::Broadcast { room, event, payload, id }) = parse(r#"{"type":"broadcast","payload":{"a": [1, 2]}}"#)
    else {
        panic!("not a broadcast")
    };
    assert_eq!((&*room, &*event, payload, id), ("all", "message", r#"{"a": [1, 2]}"#, None));
}

#[test]
fn a_null_payload_is_a_payload_and_none_is_an_error() {
    assert!(matches!(parse(r#"{"type":"broadcast","payload":null}"#), Ok(Request::Broadcast { payload: "null", .. })));
    let missing = parse(r#"{"type":"broadcast"}"#).unwrap_err();
    assert_eq!((missing.code, &*missing.sentence), (Code::InvalidField, "payload is missing"));
}

#[test]
fn what_is_no_json_object_is_an_invalid_message_in_the_words_of_the_seed() {
    for bad in ["", "{", "5", "[]", "null", "{\"type\":\"join\"", "{\"type\":\"join\",\"room\":\"r\"}x", "\u{feff}{}"] {
        let (reference, result) = Request::parse(bad);
        assert_eq!(reference, None, "{bad}");
        let invalid = result.unwrap_err();
        assert_eq!((invalid.code, &*invalid.sentence), (Code::InvalidMessage, "Invalid message format"), "{bad}");
    }
}

#[test]
fn a_wrong_field_is_named_and_its_reference_is_answered() {
    let (reference, result) = Request::parse(r#"{"type":"join","room":5,"ref":"a\n1"}"#);
    assert_eq!(reference.map(Ref::as_str), Some(r#""a\n1""#));
    let invalid = result.unwrap_err();
    assert_eq!(invalid.code, Code::InvalidField);
    assert!(invalid.sentence.contains("expected a string"), "{}", invalid.sentence);
}

#[test]
fn a_refusal_is_short_however_long_what_it_refuses_is() {
    // serde shows all of a text that stands where `true` or `false` belongs: 1 MiB of DEL came back as 6 MiB.
    let frame = format!(r#"{{"type":"join","room":"r","echo":"{} at line \u00e9{0}"}}"#, "\u{7f}".repeat(1000));
    let sentence = parse(&frame).unwrap_err().sentence;
    assert!(sentence.starts_with(r#"invalid type: string "\u{7f}"#), "{sentence}");
    assert!(sentence.ends_with(r#"\u{7f}", expected a boolean"#), "{sentence}");
    assert!(sentence.len() < 250, "{} bytes", sentence.len());
}

#[test]
fn an_unknown_type_is_told_without_its_control_characters() {
    let invalid = parse(r#"{"type":"shout\u0007er"}"#).unwrap_err();
    assert_eq!((invalid.code, &*invalid.sentence), (Code::UnknownType, "Unknown message type: shouter"));
}

#[test]
fn a_reference_is_a_short_string_or_number() {
    for (written, good) in
        [("1", true), ("-1.5e3", true), (r#""x""#, true), ("[1]", false), ("{}", false), ("true", false)]
    {
        let text = format!(r#"{{"type":"leave","room":"r","ref":{written}}}"#);
        let (reference, result) = Request::parse(&text);
        assert_eq!(reference.is_some(), good, "{written}");
        assert_eq!(result.is_ok(), good, "{written}");
    }
    let long = format!(r#"{{"type":"leave","room":"r","ref":"{}"}}"#, "x".repeat(200));
    assert!(parse(&long).is_err());
}

#[test]
fn a_direct_message_has_one_kind_of_target() {
    assert!(matches!(
        parse(r#"{"type":"direct","targetId":"c","payload":1}"#),
        Ok(Request::Direct { target: Target::Client(_), payload: "1" })
    ));
    assert!(matches!(
        parse(r#"{"type":"direct","userId":"u","payload":1}"#),
        Ok(Request::Direct { target: Target::User(_), .. })
    ));
    assert!(parse(r#"{"type":"direct","payload":1}"#).is_err());
    assert!(parse(r#"{"type":"direct","userId":"u","targetId":"c","payload":1}"#).is_err());
}

#[test]
fn a_payload_nested_a_million_deep_is_passed_on_or_refused_but_never_overflows_the_stack() {
    let deep = "[".repeat(500_000) + &"]".repeat(500_000);
    let text = format!(r#"{{"type":"broadcast","payload":{deep}}}"#);
    let _ = parse(&text);
}

#[test]
fn frames_are_written_as_the_protocol_says() {
    let welcome = Answer::Welcome { client: "c1", user: None, heartbeat_ms: 30_000, timestamp: 5 }.encode(Syntax::Json);
    assert_eq!(text(&welcome), r#"{"type":"welcome","clientId":"c1","heartbeat":30000,"timestamp":5}"#);
    let reference = Request::parse(r#"{"type":"leave","room":"r","ref":7}"#).0;
    let error = Answer::Error { reference, code: Code::NotFound, sentence: "no \"x\"", retry_after_ms: Some(9) }
        .encode(Syntax::Json);
    assert_eq!(text(&error), r#"{"type":"error","error":"no \"x\"","code":"not_found","ref":7,"retryAfter":9}"#);
    let gap = Answer::Gap { room: "r", from: 0, to: 3, epoch: "e" }.encode(Syntax::Json);
    assert_eq!(text(&gap), r#"{"type":"gap","room":"r","from":0,"to":3,"epoch":"e"}"#);
    let positions = Answer::Positions { rooms: &[("a", "e:1"), ("b\"", "e:2")] }.encode(Syntax::Json);
    assert_eq!(text(&positions), r#"{"type":"position","rooms":{"a":"e:1","b\"":"e:2"}}"#);
}

#[test]
fn an_event_object_has_all_its_fields() {
    let event = Event {
        room: "live:a",
        event: "message",
        payload: br#"{"x":1}"#,
        from: Some("c"),
        user: None,
        seq: 3,
        epoch: "e",
        timestamp: 12,
    };
    let mut out = Vec::new();
    event.write_object(&mut out);
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        r#"{"room":"live:a","event":"message","payload":{"x":1},"from":"c","userId":null,"seq":3,"epoch":"e","timestamp":12}"#
    );
}
