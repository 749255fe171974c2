//! How messages look on each kind of connection: the one place where the hub's message meets the protocols.

use bytes::Bytes;
use denrei_hub::{Encode, Encoders, Kind, Message, Name, Wire};
use denrei_proto::engineio;
use denrei_proto::native::Event;
use denrei_proto::socketio::{Outgoing, Parser};
use denrei_proto::sse::{self, Carriage, Format};
use denrei_proto::ws::{self, DeflateConfig, FrameWriter, Opcode};

use crate::transport::sse::marks;

/// A WebSocket text frame of the native protocol.
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

/// The encoders of all wires.
pub(crate) fn encoders(deflate: Option<DeflateConfig>) -> Encoders {
    let deflate = deflate.unwrap_or_default();
    let encoders: [Encode; 7] = [
        Box::new(|message, _| json(message).finish(Opcode::Text)),
        Box::new(move |message, _| shrink(json(message), &deflate)),
        Box::new(|message, _| sse::event(&event(message), Format::Payload, Carriage::Chunked).into()),
        Box::new(|message, _| sse::event(&event(message), Format::Envelope, Carriage::Chunked).into()),
        Box::new(|message, _| marks::of(message, Format::Payload)),
        Box::new(|message, _| marks::of(message, Format::Envelope)),
        Box::new(|message, _| {
            let event = event(message);
            let mut object = Vec::with_capacity(event.length());
            event.write_object(&mut object);
            object.into()
        }),
    ];
    Encoders::new(encoders.into())
}

/// A packet for one connection.
pub(crate) fn packet(packet: &Outgoing<'_>, _wire: Wire) -> Bytes {
    packet.frames(Parser::Json, engineio::Wire::V4)
}

/// The protocols' view of a message.
pub(crate) fn event(message: &Message) -> Event<'_> {
    Event {
        room: message.room.as_str(),
        event: message.event.as_str(),
        payload: &message.payload,
        from: message.from.as_deref(),
        user: message.user.as_ref().map(Name::as_str),
        seq: message.seq.0,
        epoch: message.epoch.as_str(),
        timestamp: message.timestamp,
    }
}

fn json(message: &Message) -> FrameWriter {
    let event = event(message);
    let mut writer = FrameWriter::with_capacity(event.length());
    match message.kind {
        Kind::Broadcast | Kind::Emit(_) => event.write_broadcast(writer.buffer()),
        Kind::Direct => event.write_direct(writer.buffer()),
    }
    writer
}

/// A text frame, deflated if it is long enough and gets smaller.
pub(crate) fn shrink(writer: FrameWriter, deflate: &DeflateConfig) -> Bytes {
    let long = writer.payload().len() >= deflate.threshold;
    let window = deflate.server_max_window_bits;
    let small = long.then(|| ws::deflated(Opcode::Text, writer.payload(), deflate.level, window)).flatten();
    small.unwrap_or_else(|| writer.finish(Opcode::Text))
}
