//! Arguments of events from clients that have JSON only, and from applications.

use denrei_proto::socketio::Args;
use serde_json::Value;

use crate::packets::args_hold;
use crate::values::{same, value};

/// The input is a JSON array, or anything else.
pub fn run(data: &[u8]) {
    let bytes = || data.to_vec();
    if let Ok(args) = Args::new(bytes(), Vec::new()) {
        assert!(args.json().starts_with(b"[") && args.json().ends_with(b"]"));
        args_hold(&args);
    }
    for attachments in 1..=3 {
        let attachments = (0..attachments).map(|n| vec![n; 300].into()).collect();
        if let Ok(args) = Args::new(bytes(), attachments) {
            args_hold(&args);
        }
    }
    if let Ok(args) = Args::from_plain_json(bytes()) {
        args_hold(&args);
        if let (Some(before), Some(after)) = (value(data), value(&args.to_plain_json())) {
            assert!(same(&before, &after), "{before} came back as {after}");
        }
    }
    if let Some(given) = value(data) {
        let args = Args::encode(&given).expect("a value has a form");
        args_hold(&args);
        let read: Value = args.decode().expect("a value was written");
        assert!(same(&given, &read), "{given} came back as {read}");
    }
}
