//! What Node's server 4.8.4 makes of a packet, as recorded in the golden table, and the parsers' CVEs.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::engineio::{Record, Version, records};
use crate::socketio::{Args, Body, Decoder, Header, Limits, Malformed, Outgoing, Packet, Parser};

fn decoder() -> Decoder {
    Decoder::new(Parser::Json, Version::V4, Limits::default())
}

/// A packet as text: enough to compare.
fn show(packet: &Packet<'_>) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let body = match &packet.body {
        Body::Connect { auth: None } => "connect".to_owned(),
        Body::Connect { auth: Some(auth) } => format!("connect {}", text(auth)),
        Body::Disconnect => "disconnect".to_owned(),
        Body::Event { id: None, name, args } => format!("event {name} {}", text(args.json())),
        Body::Event { id: Some(id), name, args } => format!("event {id} {name} {}", text(args.json())),
        Body::Ack { id, args } => format!("ack {id} {}", text(args.json())),
        Body::ConnectError => "connect_error".to_owned(),
    };
    format!("{} {body}", packet.namespace)
}

#[test]
fn packets_are_understood_as_node_does() {
    for (text, expected) in [
        ("0", "/ connect"),
        (r#"0{"token":"x"}"#, r#"/ connect {"token":"x"}"#),
        ("0/unknown", "/unknown connect"),
        ("0/random,", "/random connect"),
        (r#"0/admin,{"token":"x"}"#, r#"/admin connect {"token":"x"}"#),
        ("0/a?x=1,", "/a?x=1 connect"),
        ("0/a?x=1", "/a?x=1 connect"),
        ("1", "/ disconnect"),
        ("1/custom", "/custom disconnect"),
        ("1/custom,", "/custom disconnect"),
        ("2[5]", "/ event 5 []"),
        ("2[5,6]", "/ event 5 [6]"),
        ("2[-1.5e3 , 6]", "/ event -1.5e3 [ 6]"),
        (r#"2["a"]"#, "/ event a []"),
        (r#"2["error"]"#, "/ event error []"),
        (r#"2["a",1,{"b":[null]}]"#, r#"/ event a [1,{"b":[null]}]"#),
        (r#"2[ "a" , 1 ]  "#, "/ event a [ 1 ]"),
        (r#"2["",""]"#, r#"/ event  [""]"#),
        (r#"2["\"\u0041\\",1]"#, r#"/ event "A\ [1]"#),
        (r#"2007["a"]"#, "/ event 7 a []"),
        (r#"2/admin,12["a"]"#, "/admin event 12 a []"),
        (r#"29007199254740991["a"]"#, "/ event 9007199254740991 a []"),
        ("37[null,null,1]", "/ ack 7 [null,null,1]"),
        ("37[]", "/ ack 7 []"),
        ("37", "/ ack 7 []"),
        (r#"2["a",{"_placeholder":true,"num":0}]"#, r#"/ event a [{"_placeholder":true,"num":0}]"#),
        (r#"4{"message":"x"}"#, "/ connect_error"),
    ] {
        let packet = decoder().text(text).map(|packet| packet.map(|packet| show(&packet)));
        assert_eq!(packet, Ok(Some(expected.to_owned())), "{text}");
    }
}

#[test]
fn what_node_ignores_is_no_packet_and_no_error() {
    for text in ["2", "2/admin,", "27", "3", r#"3["a"]"#] {
        assert_eq!(decoder().text(text), Ok(None), "{text}");
    }
}

#[test]
fn what_closes_a_connection_in_node_is_an_error() {
    use Malformed::{AttachmentCount, EventName, Id, Payload, TooManyAttachments, UnknownKind};
    for (text, expected) in [
        ("", UnknownKind),
        ("7", UnknownKind),
        ("abc", UnknownKind),
        ("é", UnknownKind),
        (r#"0["a"]"#, Payload),
        ("0null", Payload),
        ("0{", Payload),
        ("0{}}", Payload),
        ("0/admin,[]", Payload),
        ("1{}", Payload),
        (r#"1/a,["a"]"#, Payload),
        ("2[]", EventName),
        ("2{}", Payload),
        ("2[true]", EventName),
        ("2[null]", EventName),
        (r#"2[["a"]]"#, EventName),
        // CVE-2023-32695.
        (r#"2[{"toString":"foo"}]"#, EventName),
        (r#"2["connect"]"#, EventName),
        (r#"2["connect_error"]"#, EventName),
        (r#"2["disconnect"]"#, EventName),
        (r#"2["disconnecting"]"#, EventName),
        (r#"2["newListener"]"#, EventName),
        (r#"2["removeListener"]"#, EventName),
        (r#"2["dis\u0063onnect"]"#, EventName),
        (r#"2["a""#, Payload),
        (r#"2["a"]]"#, Payload),
        (r#"2["a",]"#, Payload),
        (r#"2-1["a"]"#, Payload),
        (r#"2abc["a"]"#, Payload),
        (r#"2 ["a"]"#, Payload),
        (r#"2+7["a"]"#, Payload),
        (r#"21e3["a"]"#, Payload),
        (r#"299999999999999999999["a"]"#, Id),
        (r#"29007199254740992["a"]"#, Id),
        ("3{}", Payload),
        ("37{}", Payload),
        // CVE-2026-69185.
        (r#"5-["a"]"#, AttachmentCount),
        (r#"50-["a"]"#, AttachmentCount),
        ("50-[\"x\"]", AttachmentCount),
        (r#"5["a"]"#, AttachmentCount),
        (r#"51["a"]"#, AttachmentCount),
        (r#"5-1-["a"]"#, AttachmentCount),
        (r#"51.5-["a"]"#, AttachmentCount),
        (r#"51e0-["a"]"#, AttachmentCount),
        ("6", AttachmentCount),
        (r#"511-["a"]"#, TooManyAttachments { limit: 10 }),
        // CVE-2026-33151.
        (r#"599999-["a",{"_placeholder":true,"num":0}]"#, TooManyAttachments { limit: 10 }),
        (r#"59999999999-["a"]"#, AttachmentCount),
        ("51-", Payload),
        (r#"61-["a"]"#, Id),
        (r#"51-["connect"]"#, EventName),
    ] {
        let mut decoder = decoder();
        assert_eq!(decoder.text(text), Err(expected), "{text}");
        assert!(!decoder.is_collecting());
    }
}

#[test]
fn digits_without_an_end_are_refused_at_once() {
    // CVE-2020-36049: quadratic time in the number of digits.
    let digits = format!("5{}", "1".repeat(1 << 20));
    assert_eq!(Header::parse(&digits), Err(Malformed::AttachmentCount));
    let digits = format!("2{}", "0".repeat(1 << 20));
    assert_eq!(Header::parse(&digits), Err(Malformed::Id));
}

#[test]
fn names_and_depth_are_bounded() {
    let long = "x".repeat(1025);
    assert_eq!(decoder().text(&format!("0/{long}")), Err(Malformed::Namespace { limit: 1024 }));
    assert_eq!(decoder().text(&format!("2[\"{long}\"]")), Err(Malformed::EventName));
    let deep = |levels: usize| format!("2[\"a\",{}{}]", "[".repeat(levels - 1), "]".repeat(levels - 1));
    let text = deep(127);
    let Ok(Some(Packet { body: Body::Event { args, .. }, .. })) = decoder().text(&text) else { panic!() };
    assert!(args.decode::<(serde_json::Value,)>().is_ok());
    assert_eq!(decoder().text(&deep(128)), Err(Malformed::TooDeep { limit: 127 }));
    assert_eq!(decoder().text(&deep(100_000)), Err(Malformed::TooDeep { limit: 127 }));
    let flat = format!("2[\"a\"{},\"{}\"]", ",[{}]".repeat(1000), "[".repeat(1000));
    assert!(decoder().text(&flat).is_ok());
}

#[test]
fn attachments_complete_a_packet() {
    let mut decoder = decoder();
    let text = r#"52-/admin,7["a",{"_placeholder":true,"num":1},{"x":{"num":0,"_placeholder":true}}]"#;
    assert_eq!(decoder.text(text), Ok(None));
    assert!(decoder.is_collecting());
    assert_eq!(decoder.binary(b"one"), Ok(None));
    let packet = decoder.binary(b"two").unwrap().unwrap();
    assert!(!decoder.is_collecting());
    let Body::Event { id: Some(7), name, args } = packet.body else { panic!("{packet:?}") };
    assert_eq!((&*packet.namespace, &*name), ("/admin", "a"));
    assert_eq!(args.attachments(), ["one", "two"]);
    assert_eq!(decoder.text("1"), Ok(Some(Packet { namespace: "/".into(), body: Body::Disconnect })));

    assert_eq!(decoder.text(r#"61-3[{"_placeholder":true,"num":0}]"#), Ok(None));
    let packet = decoder.binary(b"").unwrap().unwrap();
    let Body::Ack { id: 3, args } = packet.body else { panic!("{packet:?}") };
    assert_eq!(args.attachments(), [""]);
}

#[test]
fn a_number_may_come_twice() {
    let mut decoder = decoder();
    decoder.text(r#"52-["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":1}]"#).unwrap();
    decoder.binary(b"0").unwrap();
    let Some(Packet { body: Body::Event { args, .. }, .. }) = decoder.binary(b"1").unwrap() else { panic!() };
    assert_eq!(args.decode::<(Bytes, Bytes)>().unwrap(), (Bytes::from("1"), Bytes::from("1")));
}

#[test]
fn there_are_no_more_placeholders_than_attachments() {
    // One attachment of a megabyte and 30,000 placeholders for it fit into two messages, and became 40 GB for readers to
    // whom binary is written in place, in plain JSON or msgpack.
    let mut decoder = decoder();
    decoder.text(r#"51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#).unwrap();
    assert_eq!(decoder.binary(b"x"), Err(Malformed::Placeholder));
}

#[test]
fn a_placeholder_must_name_an_attachment() {
    // CVE-2022-2421: `"num":"concat"` made a function of an array's method.
    for num in [
        "\"concat\"",
        "-1",
        "1",
        "1.5",
        "1e9",
        "null",
        "[0]",
        "true",
        "\"0\"",
        "0.0",
        "99999999999999999999",
        "0,\"num\":7",
    ] {
        let mut decoder = decoder();
        decoder.text(&format!(r#"51-["a",{{"_placeholder":true,"num":{num}}}]"#)).unwrap();
        assert_eq!(decoder.binary(b"x"), Err(Malformed::Placeholder), "{num}");
        assert!(!decoder.is_collecting());
    }
    let mut decoder = decoder();
    decoder.text(r#"51-["a",{"\u005fplaceholder":true}]"#).unwrap();
    assert_eq!(decoder.binary(b"x"), Err(Malformed::Placeholder));
}

#[test]
fn messages_out_of_order_are_errors() {
    let mut decoder = decoder();
    assert_eq!(decoder.binary(b"x"), Err(Malformed::UnexpectedBinary));
    decoder.text(r#"51-["a"]"#).unwrap();
    assert_eq!(decoder.text(r#"2["a"]"#), Err(Malformed::TextAmongAttachments));
    assert!(!decoder.is_collecting());
}

#[test]
fn attachments_are_bounded_together() {
    let limits = Limits { attachment_bytes: 5, ..Limits::default() };
    let mut decoder = Decoder::new(Parser::Json, Version::V4, limits);
    decoder.text(r#"53-["a"]"#).unwrap();
    assert_eq!(decoder.binary(b"123"), Ok(None));
    assert_eq!(decoder.binary(b"456"), Err(Malformed::AttachmentsTooBig { limit: 5 }));
    assert!(!decoder.is_collecting());
}

#[test]
fn the_query_of_a_v3_namespace_becomes_its_auth() {
    let mut decoder = Decoder::new(Parser::Json, Version::V3, Limits::default());
    let packet = decoder.text("0/a?token=x%20%22y%22+z&b&c=%zz%41,").unwrap().unwrap();
    assert_eq!(show(&packet), r#"/a connect {"token":"x \"y\" z","b":"","c":"%zzA"}"#);
    let packet = decoder.text(r#"2/a?token=x,["e"]"#).unwrap().unwrap();
    assert_eq!(show(&packet), "/a event e []");
}

/// A packet as the messages of a poll.
fn sent(packet: Outgoing<'_>) -> Vec<String> {
    let messages = packet.records(Parser::Json);
    let messages = records(&messages).map(|record| match record {
        Record::Text(text) => String::from_utf8(text[1..].to_vec()).unwrap(),
        Record::Binary(data) => format!("{data:?}"),
    });
    messages.collect()
}

#[test]
fn packets_are_written_as_socket_io_parser_does() {
    let bin = |data: &'static [u8]| Bytes::from_static(data);
    let five = Args::encode(&(1, "é😀", None::<u8>, true, -5, 1.5, serde_json::json!({"a": [1, 2]}))).unwrap();
    let two = Args::encode(&(bin(&[1, 2]), std::collections::BTreeMap::from([("x", bin(&[3]))]))).unwrap();
    let nothing = Args::default();
    let cases: [(Outgoing<'_>, &[&str]); 14] = [
        (Outgoing::connect("/", "S", None), &[r#"0{"sid":"S"}"#]),
        (Outgoing::connect("/admin", "S", Some("P")), &[r#"0/admin,{"sid":"S","pid":"P"}"#]),
        (Outgoing::connect_v3("/"), &["0"]),
        (Outgoing::connect_v3("/admin"), &["0/admin,"]),
        (
            Outgoing::connect_error("/", "nope \"q\"", Some(r#"{"code":401}"#)),
            &[r#"4{"message":"nope \"q\"","data":{"code":401}}"#],
        ),
        (
            Outgoing::connect_error("/unknown", "Invalid namespace", None),
            &[r#"4/unknown,{"message":"Invalid namespace"}"#],
        ),
        (Outgoing::connect_error_v3("/", "no", None), &[r#"4"no""#]),
        (Outgoing::connect_error_v3("/a", "no", Some("{\"c\":1}")), &[r#"4/a,{"c":1}"#]),
        (Outgoing::disconnect("/admin"), &["1/admin,"]),
        (Outgoing::event("/", None, "foo", &five, None), &[r#"2["foo",1,"é😀",null,true,-5,1.5,{"a":[1,2]}]"#]),
        (Outgoing::event("/admin", Some(12), "foo", &nothing, None), &[r#"2/admin,12["foo"]"#]),
        (Outgoing::event("/", None, "a\"b", &nothing, Some("Q7xJKBL")), &[r#"2["a\"b","Q7xJKBL"]"#]),
        (
            Outgoing::event("/", None, "bin", &two, Some("o")),
            &[r#"52-["bin",{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}},"o"]"#, "[1, 2]", "[3]"],
        ),
        (
            Outgoing::ack("/admin", 7, &two),
            &[r#"62-/admin,7[{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}}]"#, "[1, 2]", "[3]"],
        ),
    ];
    for (packet, expected) in cases {
        assert_eq!(sent(packet), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_judged_without_a_panic(text in "[0-6]{0,2}-?(/[a-z?]{0,4},?)?[0-9]{0,3}\\PC{0,30}", data in vec(any::<u8>(), 0..10)) {
        for version in [Version::V3, Version::V4] {
            for parser in [Parser::Json, Parser::Msgpack] {
                let mut decoder = Decoder::new(parser, version, Limits::default());
                let _ = decoder.text(&text);
                let _ = decoder.binary(&data);
                let _ = decoder.text(&text);
            }
        }
        let _ = Args::new(text.clone(), vec![data.into()]);
        let _ = Args::from_plain_json(text);
    }

    #[test]
    fn what_is_written_is_read_back(
        namespace in "/[a-z]{0,5}",
        id in proptest::option::of(0..=9_007_199_254_740_991u64),
        name in "\\PC{1,20}",
        texts in vec("\\PC{0,20}", 0..4),
        blobs in vec(vec(any::<u8>(), 0..20), 0..4),
    ) {
        prop_assume!(!name.contains("connect"));
        let blobs: Vec<Bytes> = blobs.into_iter().map(Bytes::from).collect();
        let args = Args::encode(&(texts, blobs)).unwrap();
        let messages = Outgoing::event(&namespace, id, &name, &args, None).records(Parser::Json);
        let mut decoder = decoder();
        let mut packet = None;
        for record in records(&messages) {
            prop_assert!(packet.is_none());
            packet = match record {
                Record::Text(text) => decoder.text(std::str::from_utf8(&text[1..]).unwrap()).unwrap().map(|packet| show(&packet)),
                Record::Binary(data) => decoder.binary(data).unwrap().map(|packet| {
                    let Body::Event { args: got, .. } = &packet.body else { return show(&packet) };
                    assert_eq!(got, &args);
                    show(&packet)
                }),
            };
        }
        let body = Body::Event { id, name: name.as_str().into(), args };
        prop_assert_eq!(packet, Some(show(&Packet { namespace: namespace.as_str().into(), body })));
    }
}
