//! How messages look on each kind of connection: the one place where the hub's message meets the protocols.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use denrei_hub::{Dialect, Emit, Encode, Encoders, Kind, Message, Name, Wire};
use denrei_proto::engineio;
use denrei_proto::native::{Event, Syntax};
use denrei_proto::socketio::{Args, Outgoing, Parser};
use denrei_proto::sse::{self, Carriage, Format};
use denrei_proto::ws::{self, DeflateConfig, FrameWriter, Opcode};

use serde_json::value::RawValue;

use crate::socketio::shared_room;
use crate::transport::sse::marks;

/// A WebSocket frame of the native protocol.
pub(crate) const JSON: Wire = Wire(0);
/// The same, deflated without context when that makes it smaller: one frame for all readers.
pub(crate) const JSON_DEFLATED: Wire = Wire(1);
/// An event of a stream of one room, payload alone, as an HTTP/1.1 chunk.
pub(crate) const SSE: Wire = Wire(2);
/// An event of a stream of one room, whole event object, as an HTTP/1.1 chunk.
pub(crate) const SSE_ENVELOPE: Wire = Wire(3);
/// A record of a stream whose bytes are put together per connection, see [`marks`]; payload alone.
pub(crate) const RECORD: Wire = Wire(4);
/// The same with the whole event object.
pub(crate) const RECORD_ENVELOPE: Wire = Wire(5);
/// The event object, for polls.
pub(crate) const OBJECT: Wire = Wire(6);
/// A WebSocket frame of the native protocol in Protobuf.
pub(crate) const PROTOBUF: Wire = Wire(7);
/// The same, deflated as [`JSON_DEFLATED`] is.
pub(crate) const PROTOBUF_DEFLATED: Wire = Wire(8);
/// The first of the wires of Socket.IO clients, in the order of [`SPEECHES`].
const SOCKET_IO: u8 = 9;

/// Whether a wire is the native protocol's.
pub(crate) fn is_native(wire: Wire) -> bool {
    [JSON, JSON_DEFLATED, PROTOBUF, PROTOBUF_DEFLATED].contains(&wire)
}

/// What carries a wire, for operators.
pub(crate) fn transport(wire: Wire) -> &'static str {
    match wire {
        wire if is_native(wire) => "websocket",
        SSE | SSE_ENVELOPE | RECORD | RECORD_ENVELOPE => "sse",
        OBJECT => "poll",
        wire => match Speech::of(wire) {
            Some(Speech { form: Form::Records, .. }) => "socketio-polling",
            _ => "socketio-websocket",
        },
    }
}

/// How answers of the native protocol are written on a wire.
pub(crate) fn syntax(wire: Wire) -> Syntax {
    match wire {
        PROTOBUF | PROTOBUF_DEFLATED => Syntax::Protobuf,
        _ => Syntax::Json,
    }
}

/// How a reader in namespace `/` of Socket.IO is told what is published in a room: under the event's own name, with where
/// it stands as the last argument.
pub(crate) const ROOMS: Dialect = Dialect(0);
/// How a socket of an application's namespace is told what is emitted there.
pub(crate) const EMITS: Dialect = Dialect(1);

/// How a client in namespace `/chat` of Socket.IO is told what happens in rooms of the chat.
pub(crate) const CHAT: Dialect = Dialect(2);

/// What the bytes of a Socket.IO client are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Speech {
    pub(crate) parser: Parser,
    pub(crate) form: Form,
}

/// Where the bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Into the body of a poll, which is put together when there is one.
    Records,
    /// Into a WebSocket.
    Frames(engineio::Wire),
    /// Into a WebSocket of version 4 that agreed on permessage-deflate.
    Deflated,
}

const SPEECHES: [Speech; 10] = {
    use engineio::Wire::{V3, V3Base64, V4};
    const fn of(parser: Parser, form: Form) -> Speech {
        Speech { parser, form }
    }
    [
        of(Parser::Json, Form::Records),
        of(Parser::Json, Form::Frames(V4)),
        of(Parser::Json, Form::Deflated),
        of(Parser::Json, Form::Frames(V3)),
        of(Parser::Json, Form::Frames(V3Base64)),
        of(Parser::Msgpack, Form::Records),
        of(Parser::Msgpack, Form::Frames(V4)),
        of(Parser::Msgpack, Form::Deflated),
        of(Parser::Msgpack, Form::Frames(V3)),
        of(Parser::Msgpack, Form::Frames(V3Base64)),
    ]
};

impl Speech {
    /// The wire of these bytes.
    pub(crate) fn wire(self) -> Wire {
        let at = SPEECHES.iter().position(|other| *other == self).expect("every speech is in the list");
        Wire(SOCKET_IO + at as u8)
    }

    /// What the bytes of a wire are; none when it is not Socket.IO's.
    pub(crate) fn of(wire: Wire) -> Option<Self> {
        SPEECHES.get(usize::from(wire.0.checked_sub(SOCKET_IO)?)).copied()
    }

    /// The same to the client, but that nothing is deflated.
    fn uncompressed(self) -> Self {
        let form = if self.form == Form::Deflated { Form::Frames(engineio::Wire::V4) } else { self.form };
        Self { form, ..self }
    }

    /// A packet for one client or many.
    pub(crate) fn packet(self, packet: &Outgoing<'_>, deflate: &DeflateConfig) -> Bytes {
        match self.form {
            Form::Records => packet.records(self.parser),
            Form::Frames(wire) => packet.frames(self.parser, wire),
            Form::Deflated => self.deflated(packet, deflate),
        }
    }

    fn deflated(self, packet: &Outgoing<'_>, deflate: &DeflateConfig) -> Bytes {
        let plain = packet.frames(self.parser, engineio::Wire::V4);
        if plain.len() <= deflate.threshold {
            return plain;
        }
        let mut writer = FrameWriter::with_capacity(plain.len());
        if self.parser == Parser::Json {
            writer.buffer().push(b'4');
        }
        packet.write(self.parser, writer.buffer());
        let opcode = if self.parser == Parser::Json { Opcode::Text } else { Opcode::Binary };
        let mut frames = vec![shrink(opcode, writer, deflate)];
        for data in packet.attachments(self.parser) {
            let mut writer = FrameWriter::with_capacity(data.len());
            writer.buffer().extend_from_slice(data);
            frames.push(shrink(Opcode::Binary, writer, deflate));
        }
        match &mut *frames {
            [one] => std::mem::take(one),
            many => many.concat().into(),
        }
    }
}

/// The encoders of all wires; clients of Socket.IO take packets of so many `attachments`.
pub(crate) fn encoders(deflate: Option<DeflateConfig>, attachments: u32) -> Encoders {
    let deflate = deflate.unwrap_or_default();
    let native =
        |syntax: Syntax| -> Encode { Box::new(move |message, _| frame(syntax, message).finish(syntax.opcode())) };
    let native_deflated = |syntax: Syntax| -> Encode {
        Box::new(move |message, _| shrink(syntax.opcode(), frame(syntax, message), &deflate))
    };
    let ours: [Encode; SOCKET_IO as usize] = [
        native(Syntax::Json),
        native_deflated(Syntax::Json),
        Box::new(|message, _| event(message, |event| sse::event(event, Format::Payload, Carriage::Chunked).into())),
        Box::new(|message, _| event(message, |event| sse::event(event, Format::Envelope, Carriage::Chunked).into())),
        Box::new(|message, _| marks::of(message, Format::Payload)),
        Box::new(|message, _| marks::of(message, Format::Envelope)),
        Box::new(|message, _| {
            event(message, |event| {
                let mut object = Vec::with_capacity(event.length());
                event.write_object(&mut object);
                object.into()
            })
        }),
        native(Syntax::Protobuf),
        native_deflated(Syntax::Protobuf),
    ];
    let socket_io = SPEECHES.into_iter().map(|speech| {
        let encode: Encode = Box::new(move |message, dialect| speak(speech, message, dialect, attachments, &deflate));
        encode
    });
    Encoders::new(ours.into_iter().chain(socket_io).collect())
}

/// A message in a dialect of Socket.IO.
fn speak(speech: Speech, message: &Message, dialect: Dialect, most: u32, deflate: &DeflateConfig) -> Bytes {
    let event = message.event.as_str();
    let args = match (&message.kind, dialect) {
        (Kind::Emit(emit), _) => Args::trusted(message.payload.clone(), emit.attachments.clone()),
        (_, CHAT) => Args::trusted(in_chat(message).into(), Vec::new()),
        (Kind::Broadcast | Kind::Direct | Kind::Signal, ROOMS) => with_meta(message, most),
        (Kind::Broadcast | Kind::Direct | Kind::Signal, _) => {
            plain_args(&[b"[", &*message.payload, b"]"].concat(), most)
        }
    };
    let namespace = match shared_room(&message.room) {
        _ if dialect == CHAT => "/chat",
        Some((namespace, _)) if dialect != ROOMS => namespace,
        _ => "/",
    };
    let (id, offset) = match &message.kind {
        Kind::Emit(emit) => (emit.ack, emit.offset.as_ref().map(ToString::to_string)),
        Kind::Broadcast | Kind::Direct | Kind::Signal => (None, None),
    };
    let plain = matches!(&message.kind, Kind::Emit(emit) if emit.uncompressed);
    let speech = if plain { speech.uncompressed() } else { speech };
    speech.packet(&Outgoing::event(namespace, id, event, &args, offset.as_deref()), deflate)
}

/// The payload, and where the message stands: `{room, seq, epoch, from, userId, timestamp}`.
fn with_meta(message: &Message, most: u32) -> Args {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta<'a> {
        room: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a str>,
        timestamp: u64,
    }
    let numbered = message.seq.0 > 0;
    let meta = Meta {
        room: message.room.as_str(),
        seq: numbered.then_some(message.seq.0),
        epoch: numbered.then_some(message.epoch.as_str()),
        from: message.from.as_deref(),
        user_id: message.user.as_ref().map(Name::as_str),
        timestamp: message.timestamp,
    };
    let meta = serde_json::to_string(&meta).expect("texts and numbers have a form in JSON");
    plain_args(&[b"[", &*message.payload, b",", meta.as_bytes(), b"]"].concat(), most)
}

/// What happens in a room of the chat, in the words of Socket.IO's tutorials (seed §5.2), and where it stands in the log.
fn in_chat(message: &Message) -> Vec<u8> {
    let payload = std::str::from_utf8(&message.payload).unwrap_or("null");
    let Ok(fields) = serde_json::from_str::<BTreeMap<&str, &RawValue>>(payload) else {
        return format!("[{payload}]").into();
    };
    let tells_message = matches!(message.event.as_str(), "message" | "messageUpdated");
    let mut told = String::from("[{");
    for (name, value) in &fields {
        let name = match *name {
            "roomId" if tells_message => "room",
            "userId" if tells_message => "from",
            "content" if tells_message => "text",
            name => name,
        };
        told.push_str(&format!("{}{}:{value}", if told.len() > 2 { "," } else { "" }, serde_json::json!(name)));
    }
    if message.seq.0 > 0 {
        told.push_str(&format!(",\"seq\":{},\"epoch\":\"{}\"", message.seq, message.epoch));
    }
    told.push_str("}]");
    told.into()
}

/// Arguments of JSON that may hold binary as text. With more attachments than clients take it stays text: they would end
/// their connection over the message (socket.io-parser 4.2.6), whoever published it.
pub(crate) fn plain_args(json: &[u8], most: u32) -> Args {
    // What is no binary after all, `{"$binary": 1}` say, passes as it is.
    let binary = json.windows(BINARY.len()).any(|window| window == BINARY);
    let parsed = binary.then(|| Args::from_plain_json(Bytes::copy_from_slice(json)).ok()).flatten();
    let parsed = parsed.filter(|args| args.attachments().len() <= most as usize);
    parsed.unwrap_or_else(|| Args::trusted(Bytes::copy_from_slice(json), Vec::new()))
}

const BINARY: &[u8] = b"\"$binary\"";

/// The payload as one JSON value: of several arguments an array.
pub(crate) fn payload(message: &Message) -> Cow<'_, Bytes> {
    let Kind::Emit(emit) = &message.kind else { return Cow::Borrowed(&message.payload) };
    let Emit { attachments, .. } = &**emit;
    let args = Args::trusted(message.payload.clone(), attachments.clone());
    let plain = if attachments.is_empty() { message.payload.clone() } else { args.to_plain_json() };
    if args.raw().len() != 1 {
        return Cow::Owned(plain);
    }
    Cow::Owned(plain.slice(1..plain.len() - 1))
}

/// The protocols' view of a message.
pub(crate) fn event<R>(message: &Message, see: impl FnOnce(&Event<'_>) -> R) -> R {
    see(&Event {
        room: message.room.as_str(),
        event: message.event.as_str(),
        payload: &payload(message),
        from: message.from.as_deref(),
        user: message.user.as_ref().map(Name::as_str),
        seq: message.seq.0,
        epoch: message.epoch.as_str(),
        timestamp: message.timestamp,
    })
}

fn frame(syntax: Syntax, message: &Message) -> FrameWriter {
    event(message, |event| {
        let mut writer = FrameWriter::with_capacity(event.length());
        match message.kind {
            Kind::Broadcast | Kind::Signal | Kind::Emit(_) => event.write_broadcast(syntax, writer.buffer()),
            Kind::Direct => event.write_direct(syntax, writer.buffer()),
        }
        writer
    })
}

/// A frame, deflated if it is long enough and gets smaller.
pub(crate) fn shrink(opcode: Opcode, writer: FrameWriter, deflate: &DeflateConfig) -> Bytes {
    let long = writer.payload().len() >= deflate.threshold;
    let window = deflate.server_max_window_bits;
    let small = long.then(|| ws::deflated(opcode, writer.payload(), deflate.level, window)).flatten();
    small.unwrap_or_else(|| writer.finish(opcode))
}
