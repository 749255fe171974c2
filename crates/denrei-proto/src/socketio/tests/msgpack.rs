//! The other parser. Bytes were made with socket.io-msgpack-parser 3.0.2 on notepack.io 2.2.0, and by a server of
//! socket.io 4.8.4 that has it.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use crate::engineio::{Record, Version, records};
use crate::socketio::{Args, Body, Decoder, Limits, Malformed, Outgoing, Packet, Parser};

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn written(packet: Outgoing<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.write(Parser::Msgpack, &mut out);
    assert!(packet.attachments(Parser::Msgpack).is_empty());
    let chunk = packet.records(Parser::Msgpack);
    assert_eq!(records(&chunk).collect::<Vec<_>>(), [Record::Binary(&out)]);
    out
}

fn decoder() -> Decoder {
    Decoder::new(Parser::Msgpack, Version::V4, Limits::default())
}

fn read(message: &[u8]) -> Result<Option<Packet<'_>>, Malformed> {
    decoder().binary(message)
}

fn event(message: &str) -> (String, Option<u64>, String, Args) {
    let message = unhex(message);
    match read(&message) {
        Ok(Some(Packet { namespace, body: Body::Event { id, name, args } })) => {
            (namespace.into_owned(), id, name.into_owned(), args)
        }
        other => panic!("{other:?}"),
    }
}

fn json(args: &Args) -> &str {
    std::str::from_utf8(args.json()).unwrap()
}

/// Node's but for the last two: notepack takes 1e21 and 1e300 for integers and writes what no one can read back.
const NUMBERS: &str = "83a47479706502a464617461dc0018a16e007fcc80ccffcd0100cdffffce00010000ceffffffffcf0000000100000000cf\
    001fffffffffffffffe0d0dfd080d1ff7fd18000d2ffff7fffd280000000d3ffffffff7fffffffd3ffe0000000000001cb3fb999999999999a\
    cb444b1ae4d6e2ef50cb7e37e43c8800759ca36e7370a12f";

#[test]
fn packets_are_written_as_node_does() {
    let bin = |data: &'static [u8]| Bytes::from_static(data);
    let foo = Args::new(r#"[1,"é😀",null,true,-5,1.5,{"a":[1,2]}]"#, vec![]).unwrap();
    let two = Args::encode(&(bin(&[1, 2]), std::collections::BTreeMap::from([("x", bin(&[3]))]))).unwrap();
    let nine = Args::encode(&bin(&[9])).unwrap();
    let numbers = "[0,127,128,255,256,65535,65536,4294967295,4294967296,9007199254740991,-1,-32,-33,-128,-129,-32768,\
        -32769,-2147483648,-2147483649,-9007199254740991,0.1,1e21,1e300]";
    let numbers = Args::new(numbers, vec![]).unwrap();
    let sixteen =
        Args::new(format!("[\"{}\",[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]]", "x".repeat(32)), vec![]).unwrap();
    let nothing = Args::default();
    let ack = Args::new("[2]", vec![]).unwrap();
    let cases = [
        (Outgoing::connect("/", "S", None), "83a47479706500a46461746181a3736964a153a36e7370a12f"),
        (
            Outgoing::connect("/admin", "S", Some("P")),
            "83a47479706500a46461746182a3736964a153a3706964a150a36e7370a62f61646d696e",
        ),
        (
            Outgoing::connect_error("/", "nope \"q\"", Some("{\"code\":401}")),
            "83a47479706504a46461746182a76d657373616765a86e6f706520227122a46461746181a4636f6465cd0191a36e7370a12f",
        ),
        (
            Outgoing::connect_error("/zz", "Invalid namespace", None),
            "83a47479706504a46461746181a76d657373616765b1496e76616c6964206e616d657370616365a36e7370a32f7a7a",
        ),
        (Outgoing::disconnect("/admin"), "82a47479706501a36e7370a62f61646d696e"),
        (
            Outgoing::event("/", None, "foo", &foo, None),
            "83a47479706502a46461746198a3666f6f01a6c3a9f09f9880c0c3fbcb3ff800000000000081a161920102a36e7370a12f",
        ),
        (
            Outgoing::event("/admin", Some(12), "foo", &nothing, None),
            "84a47479706502a46461746191a3666f6fa269640ca36e7370a62f61646d696e",
        ),
        (
            Outgoing::event("/", None, "bin", &two, None),
            "83a47479706502a46461746193a362696ec402010281a178c40103a36e7370a12f",
        ),
        (Outgoing::event("/", None, "n", &numbers, None), NUMBERS),
        (Outgoing::ack("/admin", 7, &nine), "84a47479706503a46461746191c40109a2696407a36e7370a62f61646d696e"),
        (Outgoing::event("/n", Some(0), "q", &ack, None), "84a47479706502a46461746192a17102a2696400a36e7370a22f6e"),
        (Outgoing::event("/n", None, "q", &ack, Some("o")), "83a47479706502a46461746193a17102a16fa36e7370a22f6e"),
        (
            Outgoing::event("/", None, "b", &sixteen, None),
            "83a47479706502a46461746193a162d9207878787878787878787878787878787878787878787878787878787878787878dc0010\
             000102030405060708090a0b0c0d0e0fa36e7370a12f",
        ),
    ];
    for (packet, expected) in cases {
        assert_eq!(hex(&written(packet)), expected, "{packet:?}");
    }
}

#[test]
fn what_a_client_writes_is_read() {
    // ["e", undefined, {u: undefined, d: new Date(1700000000123), k: 1}, ArrayBuffer [1, 2, 3]], options, id 3.
    let (namespace, id, name, args) = event(
        "85a47479706502a46461746194a165d4000083a175d40000a164d7000000018bcfe5687ba16b01c70300010203a76f7074696f6e7381a8\
         636f6d7072657373c3a2696403a36e7370a12f",
    );
    assert_eq!((&*namespace, id, &*name), ("/", Some(3), "e"));
    assert_eq!(json(&args), r#"[null,{"d":"2023-11-14T22:13:20.123Z","k":1},{"_placeholder":true,"num":0}]"#);
    assert_eq!(args.attachments(), [&[1, 2, 3][..]]);

    let (.., args) = event(
        "83a47479706502a46461746195a164d7000000000000000000d700ffffffffffffffffd700000000dd9aa6e000d7000000e677d21fdbff\
         a36e7370a12f",
    );
    let dates = r#"["1970-01-01T00:00:00.000Z","1969-12-31T23:59:59.999Z","2000-02-29T00:00:00.000Z","9999-12-31T23:59:59.999Z"]"#;
    assert_eq!(json(&args), dates);

    let (.., args) = event(NUMBERS);
    let numbers = "[0,127,128,255,256,65535,65536,4294967295,4294967296,9007199254740991,-1,-32,-33,-128,-129,-32768,\
        -32769,-2147483648,-2147483649,-9007199254740991,0.1,1e21,1e300]";
    assert_eq!(json(&args).replace("1e+", "1e"), numbers);

    for (message, auth) in [
        ("83a47479706500a464617461d40000a36e7370a12f", None),
        ("82a47479706500a36e7370a12f", None),
        ("83a47479706500a46461746181a5746f6b656ea178a36e7370a52f63686174", Some(r#"{"token":"x"}"#)),
    ] {
        let message = unhex(message);
        let Ok(Some(Packet { body: Body::Connect { auth: got }, .. })) = read(&message) else { panic!() };
        assert_eq!(got.as_deref(), auth.map(str::as_bytes));
    }
    let message = unhex("82a47479706501a36e7370a62f61646d696e");
    assert_eq!(read(&message), Ok(Some(Packet { namespace: "/admin".into(), body: Body::Disconnect })));
    let message = unhex("84a2696405a47479706503a46461746192d4000003a36e7370a22f6e");
    let args = Args::new("[null,3]", vec![]).unwrap();
    assert_eq!(read(&message), Ok(Some(Packet { namespace: "/n".into(), body: Body::Ack { id: 5, args } })));
}

/// Written by @socket.io/redis-adapter 8.3 and @socket.io/redis-emitter 5.1, on notepack.io 3.0.1.
#[test]
fn documents_are_read_and_written_as_node_does() {
    let cases = [
        (
            "93a641624364456683a47479706502a46461746192a568656c6c6f81a16101a36e7370a12f83a5726f6f6d7390a665786365707491\
             a5726f6f6d32a5666c61677381a8766f6c6174696c65c3",
            r#"["AbCdEf",{"type":2,"data":["hello",{"a":1}],"nsp":"/"},{"rooms":[],"except":["room2"],"flags":{"volatile":true}}]"#,
            &[][..],
        ),
        (
            "93a641624364456683a47479706502a46461746192a362696ec40401020304a36e7370a12f83a5726f6f6d7391a172a66578636570\
             7490a5666c61677380",
            r#"["AbCdEf",{"type":2,"data":["bin",{"_placeholder":true,"num":0}],"nsp":"/"},{"rooms":["r"],"except":[],"flags":{}}]"#,
            &[Bytes::from_static(&[1, 2, 3, 4])],
        ),
        (
            "83a47479706509a9726571756573744964a66768496a4b6ca67061636b6574a26f6b",
            r#"{"type":9,"requestId":"ghIjKl","packet":"ok"}"#,
            &[],
        ),
    ];
    for (bytes, document, attachments) in cases {
        let args = Args::from_msgpack(&unhex(bytes), &Limits::default()).unwrap();
        assert_eq!(json(&args), format!("[{document}]"));
        assert_eq!(args.attachments(), attachments);
        let mut out = Vec::new();
        args.write_msgpack(&mut out);
        assert_eq!(hex(&out), bytes);
    }
    let date = |bytes: &str| Args::from_msgpack(&unhex(bytes), &Limits::default()).map(|args| json(&args).to_owned());
    assert_eq!(date("d6ff00000000").unwrap(), r#"["1970-01-01T00:00:00.000Z"]"#);
    assert_eq!(date("d7ff1d5353006553f100").unwrap(), r#"["2023-11-14T22:13:20.123Z"]"#);
    assert_eq!(date("c70cff0754d4c0fffffffffffffff6").unwrap(), r#"["1969-12-31T23:59:50.123Z"]"#);
    for broken in ["", "0000", "c1", "c70cff00", "dfffffffff", "d6fe00000000"] {
        assert!(date(broken).is_err(), "{broken}");
    }
}

/// `{type: 2, data: [<name>, <data>], nsp: "/"}` with any bytes for the name and the data.
fn with(name: &str, data: &str) -> Vec<u8> {
    unhex(&format!("83a47479706502a46461746192{name}{data}a36e7370a12f"))
}

#[test]
fn what_is_wrong_is_refused() {
    use Malformed::{EventName, Id, Msgpack, Namespace, Payload, Placeholder, TooManyAttachments, UnknownKind};
    let cases = [
        (unhex(""), Msgpack),
        (unhex("c0"), Msgpack),
        (unhex("80"), Namespace { limit: 1024 }),
        (unhex("81a47479706502"), Namespace { limit: 1024 }),
        (unhex("82a47479706502a36e737001"), Namespace { limit: 1024 }),
        (unhex("81a36e7370a12f"), UnknownKind),
        (unhex("82a47479706505a36e7370a12f"), UnknownKind),
        (unhex("82a474797065a132a36e7370a12f"), UnknownKind),
        (unhex("82a47479706502a36e7370a12f"), Payload),
        (unhex("83a47479706502a46461746190a36e7370a12f"), EventName),
        (unhex("83a47479706502a46461746180a36e7370a12f"), EventName),
        (unhex("83a47479706500a46461746190a36e7370a12f"), Payload),
        (unhex("83a47479706500a46461746181a161c40101a36e7370a12f"), Payload),
        (unhex("83a47479706501a46461746180a36e7370a12f"), Payload),
        (unhex("84a47479706502a46461746191a161a26964c0a36e7370a12f"), Id),
        (unhex("84a47479706502a46461746191a161a26964ffa36e7370a12f"), Id),
        (unhex("84a47479706502a46461746191a161a26964cf0020000000000000a36e7370a12f"), Id),
        (unhex("82a47479706501a36e7370a12f00"), Msgpack),
        (with("c3", "01"), EventName),
        (with("81a161a162", "01"), EventName),
        (with("a7636f6e6e656374", "01"), EventName),
        (with("a161", "c1"), Msgpack),
        (with("a161", "a1ff"), Msgpack),
        (with("a161", "d60000000000"), Msgpack),
        (with("a161", "c7010501"), Msgpack),
        (with("a161", "81c001"), Msgpack),
        // Announced and not there: nothing is reserved for it.
        (with("a161", "ddffffffff"), Msgpack),
        (with("a161", "dfffffffff"), Msgpack),
        (with("a161", "c6ffffffff"), Msgpack),
        (with("a161", &format!("9b{}", "c400".repeat(11))), TooManyAttachments { limit: 10 }),
        // [bin, {_placeholder: true, num: 9}]: it would be taken for an attachment that is not there.
        (with("a161", "92c4010182ac5f706c616365686f6c646572c3a36e756d09"), Placeholder),
        (with("a161", "92c4010182ac5f706c616365686f6c646572c3a36e756d00"), Placeholder),
        // {_placeholder: true, num: 0, x: bin}: it was taken for the attachment in it.
        (with("a161", "83ac5f706c616365686f6c646572c3a36e756d00a178c40101"), Placeholder),
        // {[undefined]: 1}: `undefined` was taken for the value, and 1 for the next argument.
        (with("a161", "8191d4000001"), Msgpack),
        (with("a161", "81c40101d40000"), Msgpack),
    ];
    for (message, expected) in cases {
        assert_eq!(read(&message), Err(expected), "{}", hex(&message));
    }
    assert_eq!(decoder().text("2[\"a\"]"), Err(Malformed::UnexpectedText));
    // An ack without an id is ignored, as in JSON.
    assert_eq!(read(&unhex("83a47479706503a46461746190a36e7370a12f")), Ok(None));
}

#[test]
fn depth_is_bounded_by_what_can_be_decoded() {
    // The array of the arguments is one, and there are more around the innermost.
    let (.., args) = event(&hex(&with("a161", &format!("{}90", "91".repeat(125)))));
    assert!(args.decode::<(Value,)>().is_ok() && args.decode::<Value>().is_ok());
    assert_eq!(read(&with("a161", &format!("{}90", "91".repeat(126)))), Err(Malformed::TooDeep { limit: 127 }));
    // Binary is an object in JSON: such arguments were taken, and could not be decoded.
    let (.., args) = event(&hex(&with("a161", &format!("{}c40101", "91".repeat(125)))));
    assert!(Args::new(args.json().clone(), args.attachments().to_vec()).is_ok());
    let message = with("a161", &format!("{}c40101", "91".repeat(126)));
    assert_eq!(read(&message), Err(Malformed::TooDeep { limit: 127 }));
    let deep = "91".repeat(100_000);
    assert_eq!(read(&with("a161", &format!("{deep}90"))), Err(Malformed::TooDeep { limit: 127 }));
}

#[test]
fn a_lookalike_without_binary_is_an_object() {
    let message = with("05", "82ac5f706c616365686f6c646572c3a36e756d09");
    let Ok(Some(Packet { body: Body::Event { name, args, .. }, .. })) = read(&message) else { panic!() };
    assert_eq!((&*name, json(&args)), ("5", r#"[{"_placeholder":true,"num":9}]"#));
    assert_eq!(
        written(Outgoing::event("/", None, "x", &args, None)),
        with("a178", "82ac5f706c616365686f6c646572c3a36e756d09")
    );
}

#[test]
fn the_query_of_a_v3_namespace_becomes_its_auth() {
    let mut decoder = Decoder::new(Parser::Msgpack, Version::V3, Limits::default());
    let message = unhex("82a47479706500a36e7370a62f613f783d31");
    let packet = decoder.binary(&message).unwrap().unwrap();
    let body = Body::Connect { auth: Some(Bytes::from(r#"{"x":"1"}"#)) };
    assert_eq!(packet, Packet { namespace: "/a".into(), body });
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no infinity", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "\\PC{30,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::from),
            vec(("[a-z_\"\\\\é]{0,12}", inner), 0..20).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back_with_either_parser(
        values in vec(value(), 0..4),
        blobs in vec(vec(any::<u8>(), 0..300), 0..4),
        id in proptest::option::of(0..=9_007_199_254_740_991u64),
        name in "[a-c\"\\\\é]{1,40}",
    ) {
        let blobs: Vec<Bytes> = blobs.into_iter().map(Bytes::from).collect();
        let args = Args::encode(&(&values, &blobs)).unwrap();
        let message = written(Outgoing::event("/n", id, &name, &args, None));
        let packet = read(&message).unwrap().unwrap();
        let Body::Event { id: got_id, name: got_name, args: got } = packet.body else { panic!() };
        prop_assert_eq!((&*packet.namespace, got_id, &*got_name), ("/n", id, name.as_str()));
        prop_assert_eq!(got.attachments(), args.attachments());
        let (a, b): (Value, Value) = got.decode().unwrap();
        prop_assert_eq!((a, b), args.decode::<(Value, Value)>().unwrap());
        let (_, got): (Value, Vec<Bytes>) = got.decode().unwrap();
        prop_assert_eq!(got, blobs);
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in vec(any::<u8>(), 0..60), data in vec(any::<u8>(), 0..60)) {
        let _ = read(&bytes);
        let message = with("a161", &hex(&data));
        if let Ok(Some(Packet { body: Body::Event { args, .. }, .. })) = read(&message) {
            prop_assert!(Args::new(args.json().clone(), args.attachments().to_vec()).is_ok());
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar(days in 0..3_652_059i64) {
        // Counted, month by month, from the year 0.
        let mut left = days;
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let mut year = left / 366;
        left -= (0..year).map(|year| if leap(year) { 366 } else { 365 }).sum::<i64>();
        while left >= if leap(year) { 366 } else { 365 } {
            left -= if leap(year) { 366 } else { 365 };
            year += 1;
        }
        let months = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while left >= months[month] {
            left -= months[month];
            month += 1;
        }
        let millis = (days - 719_528) * 86_400_000 + 1;
        let (.., args) = event(&format!("83a47479706502a46461746192a164d700{}a36e7370a12f", hex(&millis.to_be_bytes())));
        prop_assert_eq!(json(&args), format!("[\"{year:04}-{:02}-{:02}T00:00:00.001Z\"]", month + 1, left + 1));
    }
}
