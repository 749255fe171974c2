//! Packets of Socket.IO in msgpack.

use std::collections::BTreeSet;

use bytes::Bytes;
use denrei_proto::socketio::{Body, Decoder, Parser};
use rmpv::ValueRef;
use serde_json::Value;

use crate::packets;
use crate::values::{same, value};

/// See [`packets::head`]; then a message.
pub fn run(data: &[u8]) {
    let Some((version, limits, message)) = packets::head(data) else { return };
    let mut decoder = Decoder::new(Parser::Msgpack, version, limits);
    let Ok(Some(packet)) = decoder.binary(message) else { return };
    assert!(!decoder.is_collecting());
    if let Body::Event { args, .. } | Body::Ack { args, .. } = &packet.body {
        // A control character is six bytes, and so is `false,`; a key brings its colon and quotes.
        let placeholders = args.attachments().len() * 32;
        assert!(args.json().len() <= message.len() * 6 + placeholders, "a short message has become long");
        let name = usize::from(matches!(packet.body, Body::Event { .. }));
        if let Some(theirs) = arguments(message)
            && let Some(Value::Array(ours)) = value(args.json())
        {
            let theirs = theirs.get(name..).unwrap_or_default();
            let fit =
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| fits(a, b, args.attachments()));
            assert!(fit, "{ours:?} is something else to another reader: {theirs:?}");
        }
    }
    packets::hold(&packet, version, &limits);
}

/// What `data` is to another reader; none where that one goes no deeper.
fn arguments(mut message: &[u8]) -> Option<Vec<ValueRef<'_>>> {
    let fields = match rmpv::decode::read_value_ref(&mut message) {
        Ok(ValueRef::Map(fields)) => fields,
        Err(rmpv::decode::Error::DepthLimitExceeded) => return None,
        other => panic!("a packet that is {other:?} to another reader"),
    };
    assert!(message.is_empty(), "a packet with something behind it");
    let data = fields.into_iter().rev().find(|(key, _)| *key == ValueRef::from("data"));
    match data {
        Some((_, ValueRef::Array(data))) => Some(data),
        other => panic!("an event or ack without an array: {other:?}"),
    }
}

/// Whether the JSON is what the other reader sees.
fn fits(ours: &Value, theirs: &ValueRef<'_>, attachments: &[Bytes]) -> bool {
    let is = |data: &[u8]| {
        let num = ours["num"].as_u64().and_then(|num| usize::try_from(num).ok());
        num.and_then(|num| attachments.get(num)).is_some_and(|attachment| attachment == data)
    };
    match theirs {
        ValueRef::Nil => ours.is_null(),
        ValueRef::Boolean(b) => ours == b,
        ValueRef::Integer(number) => number.as_f64().is_some_and(|number| same(ours, &number.into())),
        ValueRef::F32(number) => same(ours, &f64::from(*number).into()),
        ValueRef::F64(number) => same(ours, &(*number).into()),
        ValueRef::String(text) => ours.as_str() == text.as_str(),
        ValueRef::Binary(data) => is(data),
        // `undefined`, a date or an array buffer.
        ValueRef::Ext(kind, data) => *kind == 0 && (ours.is_null() || ours.is_string() || is(data)),
        ValueRef::Array(theirs) => ours.as_array().is_some_and(|ours| {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| fits(ours, theirs, attachments))
        }),
        ValueRef::Map(theirs) => ours.as_object().is_some_and(|ours| {
            let mut keys = BTreeSet::new();
            // Which of two values counts is not worth to be followed.
            let twice = theirs.iter().any(|(key, _)| !keys.insert(name(key)));
            twice
                || theirs.iter().all(|(key, theirs)| match ours.get(&name(key)) {
                    Some(ours) => fits(ours, theirs, attachments),
                    None => matches!(theirs, ValueRef::Ext(0, _)),
                })
        }),
    }
}

fn name(key: &ValueRef<'_>) -> String {
    match key {
        ValueRef::String(text) => text.as_str().expect("text that was read").into(),
        ValueRef::Integer(number) => number.to_string(),
        other => panic!("{other:?} is no key"),
    }
}
