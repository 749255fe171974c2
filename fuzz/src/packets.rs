//! What holds of every packet of Socket.IO that was accepted, whatever parser read it.

use std::collections::BTreeMap;

use bytes::Bytes;
use denrei_proto::engineio::{self, Packets, Version, encode_payload};
use denrei_proto::socketio::{Args, Body, Decoder, Limits, Outgoing, Packet, Parser};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::back::{self, Message};
use crate::values::{same, value};

/// Limits that a short input can reach.
const TIGHT: Limits = Limits { attachments: 2, attachment_bytes: 20, namespace: 8, event_name: 8 };

/// Reads what stands before a target's messages: the version (`3`, else 4), and `t` for tight limits.
pub(crate) fn head(data: &[u8]) -> Option<(Version, Limits, &[u8])> {
    let (&[version, limits], rest) = data.split_first_chunk()?;
    let version = if version == b'3' { Version::V3 } else { Version::V4 };
    let limits = if limits == b't' { TIGHT } else { Limits::default() };
    Some((version, limits, rest))
}

/// The packet keeps to its limits, can be read, and comes back by any way.
pub(crate) fn hold(packet: &Packet<'_>, version: Version, limits: &Limits) {
    assert!(packet.namespace.len() <= limits.namespace);
    let namespace = &*packet.namespace;
    match &packet.body {
        Body::Connect { auth: Some(auth) } => {
            let raw: &RawValue = serde_json::from_slice(auth).expect("an auth is JSON");
            assert!(raw.get().starts_with('{'), "an auth is an object");
        }
        Body::Connect { auth: None } | Body::Disconnect | Body::ConnectError => {}
        Body::Event { id, name, args } => {
            assert!(name.len() <= limits.event_name && *id <= Some((1 << 53) - 1));
            assert!(!["connect", "connect_error", "disconnect", "disconnecting"].contains(&&**name));
            assert_within(args, limits);
            args_hold(args);
            for offset in [None, Some("offset")] {
                let written = Outgoing::event(namespace, *id, name, args, offset);
                come_back(&written, namespace, version, |body| {
                    let Body::Event { id: got_id, name: got_name, args: got } = body else { panic!("{body:?}") };
                    assert_eq!((got_id, &**got_name), (id, &**name));
                    same_args(args, got, offset);
                });
            }
        }
        Body::Ack { id, args } => {
            assert!(*id < 1 << 53);
            assert_within(args, limits);
            args_hold(args);
            come_back(&Outgoing::ack(namespace, *id, args), namespace, version, |body| {
                let Body::Ack { id: got_id, args: got } = body else { panic!("{body:?}") };
                assert_eq!(got_id, id);
                same_args(args, got, None);
            });
        }
    }
}

fn assert_within(args: &Args, limits: &Limits) {
    assert!(args.attachments().len() <= limits.attachments as usize);
    assert!(args.attachments().iter().map(Bytes::len).sum::<usize>() <= limits.attachment_bytes);
}

/// The arguments are what their type promises, and can be read as anything.
pub(crate) fn args_hold(args: &Args) {
    let again = Args::new(args.json().clone(), args.attachments().to_vec());
    assert_eq!(again.ok().as_ref(), Some(args), "arguments that cannot be put together again");
    assert_eq!(args.is_empty(), args.raw().is_empty());

    // Placeholders of 28 bytes must not bring an attachment of a megabyte a thousand times.
    let plain = args.to_plain_json();
    let longest = args.attachments().iter().map(Bytes::len).max().unwrap_or_default();
    let most = args.json().len() + args.attachments().len() * (longest.div_ceil(3) * 4 + 14);
    assert!(plain.len() <= most, "{} bytes of plain JSON where {most} were to be expected", plain.len());
    Args::new(plain, Vec::new()).expect("plain JSON is JSON");

    if args.attachments().is_empty()
        && let Some(Value::Array(all)) = value(args.json())
    {
        assert_eq!(args.decode::<Value>().ok(), all.first().cloned());
        let two = (all.first().cloned().unwrap_or_default(), all.get(1).cloned().unwrap_or_default());
        let read: (Option<Value>, Option<Value>) = args.decode().expect("anything is a value");
        assert_eq!((read.0.unwrap_or_default(), read.1.unwrap_or_default()), two);
    }
    let _ = args.decode::<(Value, Value)>();
    let _ = args.decode::<(String, i64, Bytes)>();
    let _ = args.decode::<Vec<Bytes>>();
    let _ = args.decode::<Vec<Vec<u8>>>();
    let _ = args.decode::<BTreeMap<String, Bytes>>();
    let _ = args.decode::<BTreeMap<String, BTreeMap<String, Value>>>();
    let _ = args.decode::<(Option<Bytes>, Result<f64, String>, ())>();
    let _ = args.decode::<Box<RawValue>>();
    args.decode::<()>().expect("nothing can always be read");
}

/// Writes a packet by each parser, wire and transport, and reads it back.
fn come_back(packet: &Outgoing<'_>, namespace: &str, version: Version, check: impl Fn(&Body<'_>)) {
    for parser in [Parser::Json, Parser::Msgpack] {
        // A name that only a client of another parser, version or transport can say: no one else is in that namespace.
        let unspeakable = !namespace.starts_with('/') || namespace.contains([',', '\x1e']);
        if (parser == Parser::Json && unspeakable) || (version == Version::V3 && namespace.contains('?')) {
            continue;
        }
        let records = packet.records(parser);
        for &wire in back::wires(version) {
            let payload = encode_payload(wire, [&records[..]]);
            let body = if payload.content_type == "application/octet-stream" {
                engineio::Body::Binary(&payload.body)
            } else {
                engineio::Body::Text(&payload.body)
            };
            let polled = Packets::new(version, body, usize::MAX).map(|packet| packet.expect("the server wrote it"));
            read(polled, parser, version, namespace, &check);

            let messages = back::messages(&packet.frames(parser, wire));
            let framed = messages.iter().map(|message| match message {
                Message::Text(text) => engineio::Packet::decode_text(text, version).expect("the server wrote it"),
                Message::Binary(data) => engineio::Packet::decode_binary(data, version).expect("the server wrote it"),
            });
            read(framed, parser, version, namespace, &check);
        }
    }
}

/// The messages are one packet, which the client reads.
fn read<'p>(
    messages: impl Iterator<Item = engineio::Packet<'p>>,
    parser: Parser,
    version: Version,
    namespace: &str,
    check: &impl Fn(&Body<'_>),
) {
    let limits = Limits { attachments: u32::MAX, attachment_bytes: usize::MAX, ..Limits::default() };
    let mut decoder = Decoder::new(parser, version, limits);
    let mut done = false;
    for message in messages {
        assert!(!done, "more messages than the packet has attachments");
        let packet = match &message {
            engineio::Packet::Text(text) => decoder.text(text),
            engineio::Packet::Binary(data) => decoder.binary(data),
            other => panic!("{other:?} is no message"),
        };
        let packet = packet.unwrap_or_else(|error| panic!("{parser:?} wrote {message:?}: {error}"));
        if let Some(packet) = packet {
            assert_eq!(&*packet.namespace, namespace);
            check(&packet.body);
            done = true;
        }
    }
    assert!(done, "attachments are missing");
}

/// The arguments came back. Attachments that nothing refers to may not have.
fn same_args(sent: &Args, got: &Args, offset: Option<&str>) {
    let (Some(Value::Array(mut sent)), Some(got)) = (value(&sent.to_plain_json()), value(&got.to_plain_json())) else {
        return;
    };
    sent.extend(offset.map(Value::from));
    assert!(same(&Value::Array(sent.clone()), &got), "{sent:?} came back as {got:?}");
}
