//! What must hold of every byte that a peer may send, besides that nothing panics.
//!
//! A target is a function of bytes that asserts. libFuzzer calls it with whatever reaches new code (`fuzz/run`), and
//! `tests/seeds.rs` with the seeds, which are inputs that people wrote and inputs that once failed. A seed is text where
//! it can be, so that it can be read and changed.
//!
//! | target | input | asserts |
//! |---|---|---|
//! | [`engineio_packet`] | a WebSocket message | what is read is written and read back |
//! | [`engineio_payload`] | version, kind, limit, the body of a POST | so are payloads; only the last item is an error; bounds |
//! | [`engineio_session`] | version and transport, then an event per line | requests are answered once, nothing follows the close, silence ends it |
//! | [`socketio_json`] | version, limits, messages as in a v4 payload | bounds; packets come back by either parser and transport |
//! | [`socketio_msgpack`] | version, limits, a message | the same; another reader of msgpack sees as many arguments |
//! | [`socketio_args`] | a JSON array | plain JSON and attachments are two spellings of the same |
//! | [`ws_stream`] | deflate, limits, cuts, what a client sends | events are the same however it is cut, and those of a naive reader; bounds |
//! | [`ws_messages`] | deflate, then messages and how they are sent | they arrive |
//! | [`ws_handshake`] | a request's lines | what is agreed on was offered; the answer's headers are in order |
//! | [`multipart`] | content type, size of the pieces, a body | the file is the same however it is cut, and has no boundary in it |
//! | [`native_request`] | a frame of the native protocol | what is read is what JSON says; answers are JSON |
//! | [`native_protobuf`] | a frame of it in Protobuf | what is read are texts, and JSON where that belongs; what comes of it is written |
//! | [`sse`] | id, name, data | a browser's parser reads them back, and nothing else |
//! | [`query`] | a query, a position, a name | a purpose fits its session; positions are written and read back |

pub mod engineio_packet;
pub mod engineio_payload;
pub mod engineio_session;
pub mod multipart;
pub mod native_protobuf;
pub mod native_request;
pub mod query;
pub mod socketio_args;
pub mod socketio_json;
pub mod socketio_msgpack;
pub mod sse;
pub mod ws_handshake;
pub mod ws_messages;
pub mod ws_stream;

mod back;
mod packets;
mod values;

/// A function that asserts.
pub type Target = fn(&[u8]);

/// All of them, by their names.
pub const TARGETS: [(&str, Target); 14] = [
    ("engineio_packet", engineio_packet::run),
    ("engineio_payload", engineio_payload::run),
    ("engineio_session", engineio_session::run),
    ("multipart", multipart::run),
    ("native_protobuf", native_protobuf::run),
    ("native_request", native_request::run),
    ("query", query::run),
    ("socketio_args", socketio_args::run),
    ("socketio_json", socketio_json::run),
    ("socketio_msgpack", socketio_msgpack::run),
    ("sse", sse::run),
    ("ws_handshake", ws_handshake::run),
    ("ws_messages", ws_messages::run),
    ("ws_stream", ws_stream::run),
];
