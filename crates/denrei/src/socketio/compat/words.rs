//! What messages of both formats are made of: packets, options, rooms, sockets.
//!
//! Written by hand, because the order of the keys is Node's. Read with all the patience that old emitters need: what is
//! missing or nil is nothing, numbers may be floats, rooms may be numbers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::socketio::cluster::Description;
use crate::socketio::compat::document::Unreadable;
use crate::socketio::emit::{By, Flags, Packet, Targets};
use crate::socketio::names::event_name;
use crate::socketio::{Args, SocketId};

/// The longest that clients are given to answer a question of another server.
const LONGEST: Duration = Duration::from_secs(600);

/// Something quoted as JSON has it.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    Value::from_iter(texts).to_string()
}

/// `["event",…]`.
pub(super) fn data(packet: &Packet) -> String {
    let (event, args) = (quoted(packet.event.as_str()), array(&packet.args));
    let inside = args.get(1..args.len().saturating_sub(1)).unwrap_or_default().trim();
    let comma = if inside.is_empty() { "" } else { "," };
    format!("[{event}{comma}{inside}]")
}

fn array(args: &Args) -> &str {
    // Arguments are text.
    std::str::from_utf8(args.json()).unwrap_or("[]")
}

/// `{"type":2,…}`.
pub(super) fn packet(namespace: &str, packet: &Packet) -> String {
    format!("{{\"type\":2,\"data\":{},\"nsp\":{}}}", data(packet), quoted(namespace))
}

/// The first argument, if there is one: Node takes no more as an answer.
pub(super) fn first(args: &Args) -> Option<&str> {
    args.raw().first().map(|first| first.get())
}

/// The rooms that are meant, each once; none means everybody.
pub(super) fn rooms(targets: &Targets) -> Vec<&str> {
    distinct(targets.rooms.iter().flatten())
}

fn distinct<'a>(rooms: impl Iterator<Item = &'a Arc<str>>) -> Vec<&'a str> {
    let mut list: Vec<&str> = Vec::new();
    let mut had = std::collections::HashSet::new();
    list.extend(rooms.map(|room| &**room).filter(|room| had.insert(*room)));
    list
}

/// Whether nobody at all is meant: Node would take no rooms for everybody.
pub(super) fn is_nobody(targets: &Targets) -> bool {
    targets.rooms.as_ref().is_some_and(Vec::is_empty)
}

/// `{"rooms":[…],"except":[…],"flags":{…}}`, or without the flags.
pub(super) fn options(targets: &Targets, flags: Option<Flags>, timeout: Option<Duration>) -> String {
    let (rooms, except) = (list(rooms(targets)), list(distinct(targets.except.iter())));
    let Some(flags) = flags else { return format!("{{\"rooms\":{rooms},\"except\":{except}}}") };
    let mut said = Vec::new();
    if flags.volatile {
        said.push("\"volatile\":true".to_owned());
    }
    if flags.uncompressed {
        said.push("\"compress\":false".to_owned());
    }
    if let Some(timeout) = timeout {
        said.push(format!("\"timeout\":{}", timeout.as_millis()));
    }
    format!("{{\"rooms\":{rooms},\"except\":{except},\"flags\":{{{}}}}}", said.join(","))
}

/// `["room",…]`.
pub(super) fn names(rooms: &[String]) -> String {
    list(rooms.iter().map(String::as_str))
}

/// `[{"id":…,"handshake":…,"rooms":[…],"data":{…}},…]`.
pub(super) fn sockets(sockets: &[Description]) -> String {
    // A description has a form in JSON.
    serde_json::to_string(sockets).unwrap_or_else(|_| "[]".into())
}

/// Reads whom something is for.
///
/// # Errors
/// There are no options, or the rooms are no list: taking them for none would mean everybody.
pub(super) fn read_targets(options: &Value) -> Result<Targets, Unreadable> {
    if !options.is_object() {
        return Err(Unreadable::Said("there are no options"));
    }
    let all = read_names(&options["rooms"])?;
    let is_everybody =
        matches!(&options["rooms"], Value::Null) || options["rooms"].as_array().is_some_and(Vec::is_empty);
    let shared = |names: Vec<String>| names.into_iter().map(Arc::from).collect();
    Ok(Targets { rooms: (!is_everybody).then(|| shared(all)), except: shared(read_names(&options["except"])?) })
}

/// Reads a list of rooms; numbers are rooms too, and what is neither is none.
///
/// # Errors
/// It is no list.
pub(super) fn read_names(names: &Value) -> Result<Vec<String>, Unreadable> {
    match names {
        Value::Null => Ok(Vec::new()),
        Value::Array(names) => Ok(names.iter().filter_map(read_text).collect()),
        _ => Err(Unreadable::Said("rooms are a list")),
    }
}

/// Reads a text, or a number as JavaScript would write it.
pub(super) fn read_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) => Some(read_whole(value).map_or_else(|| value.to_string(), |whole| whole.to_string())),
        _ => None,
    }
}

/// Reads a number without a fraction, also one that is written as a float.
pub(super) fn read_whole(value: &Value) -> Option<i64> {
    let float = || value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9.0e15);
    value.as_i64().or_else(|| float().map(|number| number as i64))
}

/// Reads how an event is to be sent, and how long answers to it are waited for.
pub(super) fn read_flags(options: &Value) -> Flags {
    let flags = &options["flags"];
    let timeout = read_whole(&flags["timeout"]).and_then(|ms| u64::try_from(ms).ok());
    Flags {
        volatile: flags["volatile"] == true,
        uncompressed: flags["compress"] == false,
        local: false,
        timeout: timeout.map(|ms| Duration::from_millis(ms).min(LONGEST)),
    }
}

/// Reads a packet, in a document with these attachments.
///
/// # Errors
/// It is for another namespace, or no event that an application could send.
pub(super) fn read_packet(packet: &RawValue, namespace: &str, attachments: &[Bytes]) -> Result<Packet, Unreadable> {
    #[derive(Deserialize)]
    struct Form<'a> {
        #[serde(default, rename = "type")]
        kind: Value,
        #[serde(borrow)]
        data: &'a RawValue,
        #[serde(default)]
        nsp: Value,
    }
    // Emitters of old write an event with binary as another kind of packet.
    const KINDS: [i64; 2] = [2, 5];
    let form: Form<'_> = serde_json::from_str(packet.get())?;
    if read_whole(&form.kind).is_some_and(|kind| !KINDS.contains(&kind)) {
        return Err(Unreadable::Said("the packet is no event"));
    }
    if !(form.nsp.is_null() || form.nsp == *namespace) {
        return Err(Unreadable::Said("the packet is for another namespace"));
    }
    read_event(form.data, attachments)
}

/// Reads `["event",…]`.
///
/// # Errors
/// It is no event that an application could send.
pub(super) fn read_event(data: &RawValue, attachments: &[Bytes]) -> Result<Packet, Unreadable> {
    let parts: Vec<&RawValue> = serde_json::from_str(data.get())?;
    let [event, args @ ..] = &*parts else { return Err(Unreadable::Said("the event has no name")) };
    let event = read_text(&serde_json::from_str(event.get())?).ok_or(Unreadable::Said("the event has no name"))?;
    let event = event_name(&event).map_err(|_| Unreadable::Said("the event has no name that it may have"))?;
    Ok(Packet { event, args: read_args(args, attachments)?, by: By::default() })
}

/// Reads arguments.
pub(super) fn read_args(args: &[&RawValue], attachments: &[Bytes]) -> Result<Args, Unreadable> {
    let args: Vec<_> = args.iter().map(|arg| arg.get()).collect();
    let args = format!("[{}]", args.join(","));
    // Of the attachments of the document, an answer may have none.
    let attachments = if args.contains("\"_placeholder\"") { attachments.to_vec() } else { Vec::new() };
    Ok(Args::new(args, attachments)?)
}

/// Reads sockets as [`sockets`] writes them; those that are none are left out.
pub(super) fn read_sockets(list: Vec<Value>) -> Vec<Description> {
    let socket = |mut value: Value| {
        let data = match value["data"].take() {
            Value::Object(data) => data,
            _ => Map::new(),
        };
        Some(Description {
            id: SocketId::of(value["id"].as_str()?),
            rooms: read_names(&value["rooms"]).unwrap_or_default(),
            handshake: value["handshake"].take(),
            data,
        })
    };
    list.into_iter().filter(Value::is_object).filter_map(socket).collect()
}
