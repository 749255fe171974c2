//! What Socket.IO costs: `cargo bench -p denrei-proto --bench socketio`.
#![allow(clippy::print_stdout, missing_docs)]

mod timing;

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use denrei_proto::engineio::{self, Body, Config, Output, Packet, Packets, Session, Transport, Version, Wire};
use denrei_proto::socketio::{Args, Decoder, Limits, Outgoing, Parser};
use timing::best_of;

fn main() {
    let line = r#"{"user":"ada","text":"hello there, how are you","at":1762300000000,"tags":["a","b"]}"#;
    let text = format!(r#"2/chat,["message",{line}]"#);
    let mut decoder = Decoder::new(Parser::Json, Version::V4, Limits::default());
    show("decode an event of 100 bytes", best_of(|| drop(black_box(decoder.text(black_box(&text))))));

    let args = Args::new(format!("[{line}]"), Vec::new()).expect("it is an array");
    let event = Outgoing::event("/chat", None, "message", &args, Some("offset"));
    for (name, parser) in [("JSON", Parser::Json), ("msgpack", Parser::Msgpack)] {
        let taken = best_of(|| drop(black_box(black_box(event).frames(parser, Wire::V4))));
        show(&format!("encode it as a WebSocket frame, {name}"), taken);
        let taken = best_of(|| drop(black_box(black_box(event).records(parser))));
        show(&format!("encode it as a record, {name}"), taken);
    }
    let mut message = Vec::new();
    event.write(Parser::Msgpack, &mut message);
    let mut decoder = Decoder::new(Parser::Msgpack, Version::V4, Limits::default());
    show("decode it from msgpack", best_of(|| drop(black_box(decoder.binary(black_box(&message))))));

    let value = ("ada", 5, Bytes::from_static(&[7; 64]));
    show("arguments of a tuple with bytes", best_of(|| drop(black_box(Args::encode(black_box(&value))))));
    let with_bytes = Args::encode(&value).expect("it has a form in JSON");
    show("a tuple with bytes of arguments", best_of(|| drop(black_box(with_bytes.decode::<(String, u8, Bytes)>()))));
    let plain = Args::encode(&("ada", 5)).expect("it has a form in JSON");
    show("a tuple of arguments without bytes", best_of(|| drop(black_box(plain.decode::<(String, u8)>()))));

    let record = engineio::record(&Packet::Text(&text));
    let chunk = record.repeat(100);
    let payload = engineio::encode_payload(Wire::V4, [&chunk[..]]).body;
    let taken = best_of(|| drop(black_box(engineio::encode_payload(Wire::V4, [black_box(&chunk[..])]))));
    show("put 100 of them into a payload, each", taken / 100.0);
    let taken = best_of(|| assert_eq!(Packets::new(Version::V4, Body::Text(black_box(&payload)), 100).count(), 100));
    show("read them from a payload, each", taken / 100.0);

    let mut session: Session<()> = Session::new(Config::default(), Transport::WebSocket, Duration::ZERO);
    let message = format!("4{text}");
    let taken = best_of(|| {
        let outputs = session.text(Duration::ZERO, black_box(&message));
        assert!(outputs.filter(|output| matches!(output, Output::Message(_))).count() == 1);
    });
    show("a message through a session", taken);
}

fn show(what: &str, nanos: f64) {
    println!("{what:58} {nanos:8.1} ns");
}
