//! Arguments to and from Rust values, and to and from wires that have JSON only.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::socketio::{Args, ArgsError, Malformed};

fn text(args: &Args) -> &str {
    std::str::from_utf8(args.json()).unwrap()
}

fn of(json: &str) -> Args {
    Args::new(json.to_owned(), Vec::new()).unwrap()
}

fn with(json: &str, attachments: &[&'static str]) -> Args {
    Args::new(json.to_owned(), attachments.iter().map(|&data| Bytes::from(data)).collect()).unwrap()
}

fn blob(data: &'static str) -> Bytes {
    Bytes::from(data)
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Upload {
    name: String,
    data: Bytes,
    parts: Vec<Bytes>,
    kind: Kind,
    maybe: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    One(Bytes),
    Two(u8, Bytes),
    Named { data: Bytes },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point(i32, i32);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped((i32, String));

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t")]
enum Tagged {
    A { x: i32 },
}

/// Serializes through `collect_str`.
struct Address;

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str("127.0.0.1")
    }
}

#[test]
fn a_tuple_is_several_arguments_and_anything_else_is_one() {
    let cases = [
        (Args::encode(&()), "[]"),
        (Args::encode(&(1, "a")), r#"[1,"a"]"#),
        (Args::encode(&(1,)), "[1]"),
        (Args::encode(&[1, 2]), "[1,2]"),
        (Args::encode(&vec![1, 2]), "[[1,2]]"),
        (Args::encode("a"), r#"["a"]"#),
        (Args::encode(&None::<u8>), "[null]"),
        (Args::encode(&Some(((1, 2), 3))), "[[[1,2],3]]"),
        (Args::encode(&((1, 2), ())), "[[1,2],null]"),
        (Args::encode(&Point(1, 2)), "[[1,2]]"),
        (Args::encode(&Wrapped((1, "a".into()))), r#"[1,"a"]"#),
        (Args::encode(&Tagged::A { x: 1 }), r#"[{"t":"A","x":1}]"#),
        (Args::encode(&json!({"a": [1]})), r#"[{"a":[1]}]"#),
        (Args::encode(&json!([1, 2])), "[[1,2]]"),
        (Args::encode(&f64::NAN), "[null]"),
        (Args::encode(&RawValue::from_string("[1, 2]".into()).unwrap()), "[[1, 2]]"),
        (Args::encode(&Address), r#"["127.0.0.1"]"#),
    ];
    for (args, expected) in cases {
        let args = args.unwrap();
        assert_eq!(text(&args), expected);
        assert!(args.attachments().is_empty());
    }
}

#[test]
fn bytes_become_attachments_wherever_they_are() {
    let upload = Upload {
        name: "a".into(),
        data: blob("one"),
        parts: vec![blob("two"), blob("")],
        kind: Kind::One(blob("four")),
        maybe: Some(blob("five")),
    };
    let args = Args::encode(&("x", &upload)).unwrap();
    let p = |num: u8| format!(r#"{{"_placeholder":true,"num":{num}}}"#);
    let expected = format!(
        r#"["x",{{"name":"a","data":{},"parts":[{},{}],"kind":{{"One":{}}},"maybe":{}}}]"#,
        p(0),
        p(1),
        p(2),
        p(3),
        p(4)
    );
    assert_eq!(text(&args), expected);
    assert_eq!(args.attachments(), ["one", "two", "", "four", "five"]);
    assert_eq!(args.decode::<(String, Upload)>().unwrap(), ("x".to_owned(), upload.clone()));
    for kind in [Kind::Unit, Kind::Two(1, blob("x")), Kind::Named { data: blob("x") }] {
        let upload = Upload { kind, maybe: None, ..upload.clone() };
        let args = Args::encode(&upload).unwrap();
        assert_eq!(args.decode::<Upload>().unwrap(), upload);
    }
    let map = BTreeMap::from([("k".to_owned(), blob("v"))]);
    assert_eq!(Args::encode(&map).unwrap().decode::<BTreeMap<String, Bytes>>().unwrap(), map);
}

#[test]
fn arguments_are_read_as_they_are_written() {
    assert_eq!(of("[]").decode::<()>().unwrap(), ());
    assert_eq!(of("[1]").decode::<()>().unwrap(), ());
    assert_eq!(of("[1,2,3]").decode::<i32>().unwrap(), 1);
    assert_eq!(of("[ [1,2] ,3]").decode::<Vec<i32>>().unwrap(), [1, 2]);
    assert_eq!(of("[1,2,3]").decode::<(i32, i32)>().unwrap(), (1, 2));
    assert_eq!(of("[1,2,3]").decode::<[i32; 3]>().unwrap(), [1, 2, 3]);
    assert_eq!(of("[[1,2]]").decode::<Point>().unwrap(), Point(1, 2));
    assert_eq!(of(r#"[1,"a"]"#).decode::<Wrapped>().unwrap(), Wrapped((1, "a".into())));
    assert_eq!(of(r#"[{"t":"A","x":1}]"#).decode::<Tagged>().unwrap(), Tagged::A { x: 1 });
    assert_eq!(of(r#"[{"a":1},2]"#).decode::<Value>().unwrap(), json!({"a": 1}));
    assert_eq!(of("[[1, 2],3]").decode::<Box<RawValue>>().unwrap().get(), "[1, 2]");
    assert_eq!(of("[\"Unit\"]").decode::<Kind>().unwrap(), Kind::Unit);
    assert_eq!(of("[[[1],2],3]").decode::<((Vec<u8>, u8), u8)>().unwrap(), ((vec![1], 2), 3));
}

#[test]
fn the_same_is_read_with_attachments_beside() {
    let args = with(r#"[[1, 2],{"_placeholder":true,"num":0},{"t":"A","x":1}]"#, &["data"]);
    assert_eq!(args.decode::<(Point, Bytes, Tagged)>().unwrap(), (Point(1, 2), blob("data"), Tagged::A { x: 1 }));
    assert_eq!(args.decode::<Box<RawValue>>().unwrap().get(), "[1, 2]");
    let (_, bytes, _): (Value, Vec<u8>, Value) = args.decode().unwrap();
    assert_eq!(bytes, b"data");
    let (_, bytes, raw): (Vec<u8>, Option<Bytes>, Box<RawValue>) = args.decode().unwrap();
    assert_eq!((bytes, raw.get()), (Some(blob("data")), r#"{"t":"A","x":1}"#));
    // A type that knows nothing of bytes sees what stands there.
    let (_, value): (Value, Value) = args.decode().unwrap();
    assert_eq!(value, json!({"_placeholder": true, "num": 0}));
    assert!(args.decode::<(Point, String)>().is_err());
}

#[test]
fn a_missing_argument_is_named_unless_it_is_optional() {
    let message = |result: Result<(String, u8), ArgsError>| result.unwrap_err().to_string();
    assert_eq!(message(of("[]").decode()), "argument 1 is missing");
    assert_eq!(message(of(r#"["a"]"#).decode()), "argument 2 is missing");
    assert_eq!(of("[ ]").decode::<String>().unwrap_err().to_string(), "argument 1 is missing");
    assert_eq!(of("[]").decode::<Box<RawValue>>().unwrap_err().to_string(), "argument 1 is missing");
    assert_eq!(of("[]").decode::<Option<u8>>().unwrap(), None);
    assert_eq!(of("[1]").decode::<(u8, Option<u8>, Option<String>)>().unwrap(), (1, None, None));
    assert_eq!(of("[1,null]").decode::<(u8, Option<u8>)>().unwrap(), (1, None));
    let args = with(r#"[{"_placeholder":true,"num":0}]"#, &["x"]);
    assert_eq!(args.decode::<(Bytes, Option<Bytes>)>().unwrap(), (blob("x"), None));
    assert_eq!(args.decode::<(Bytes, Bytes)>().unwrap_err().to_string(), "argument 2 is missing");
}

#[test]
fn raw_arguments_are_as_they_were_written() {
    let args = of(r#"[1, {"a" : [2]}, "x"]"#);
    let raw: Vec<_> = args.raw().into_iter().map(RawValue::get).collect();
    assert_eq!(raw, ["1", r#"{"a" : [2]}"#, r#""x""#]);
    assert!(of("[]").raw().is_empty() && of("[ ]").is_empty());
}

#[test]
fn what_is_no_array_is_no_arguments() {
    for json in ["", "{}", "1", "[", "[1]]", "null", " [", "\u{feff}[]"] {
        assert!(Args::new(json, Vec::new()).is_err(), "{json}");
    }
    assert!(Args::new(&b"[\"\xFF\"]"[..], Vec::new()).is_err());
    assert_eq!(text(&of("[1]  ")), "[1]");
}

#[derive(Serialize)]
struct Around {
    _placeholder: bool,
    num: u8,
    x: Bytes,
}

#[test]
fn an_object_that_only_looks_like_a_placeholder_is_not_sent_with_attachments() {
    let lookalike = json!({"_placeholder": true, "num": 7});
    assert_eq!(text(&Args::encode(&lookalike).unwrap()), r#"[{"_placeholder":true,"num":7}]"#);
    let error = Args::encode(&(&lookalike, blob("x"))).unwrap_err();
    assert!(matches!(error, ArgsError::Malformed(Malformed::Placeholder)));
    let inside = json!({"_placeholder": true, "num": 0});
    assert!(Args::encode(&(&inside, blob("x"))).is_err());
    // Around an attachment it was taken for that one's placeholder, and all else in it was lost.
    let around = Around { _placeholder: true, num: 0, x: blob("x") };
    assert!(Args::encode(&around).is_err());
    assert!(Args::encode(&(json!({"_placeholder": false, "num": 7}), blob("x"))).is_ok());
}

#[test]
fn plain_json_has_binary_in_it() {
    let args = with(
        r#"[1,{"_placeholder":true,"num":1},{"x":[{"num":0,"_placeholder":true},"{\"_placeholder\":true}"]}]"#,
        &["one", "two"],
    );
    let plain = args.to_plain_json();
    let expected = r#"[1,{"$binary":"dHdv"},{"x":[{"$binary":"b25l"},"{\"_placeholder\":true}"]}]"#;
    assert_eq!(&plain[..], expected.as_bytes());
    let back = Args::from_plain_json(plain).unwrap();
    assert_eq!(back.attachments(), ["two", "one"]);
    let (_, two, _): (u8, Bytes, Value) = back.decode().unwrap();
    assert_eq!(two, "two");

    let plain = r#"[{"$binary":5},{"$binary":"AA==","x":1},{"a":"\"$binary\""}]"#;
    let args = Args::from_plain_json(plain).unwrap();
    assert_eq!((text(&args), args.attachments().len()), (plain, 0));
    assert!(matches!(Args::from_plain_json(r#"[{"$binary":"!"}]"#), Err(ArgsError::Base64)));
    let forged = r#"[{"$binary":"AA=="},{"_placeholder":true,"num":0}]"#;
    assert!(Args::from_plain_json(forged).is_err());
    let around = r#"[{"_placeholder":true,"num":0,"x":{"$binary":"AA=="}}]"#;
    assert!(Args::from_plain_json(around).is_err());
}
