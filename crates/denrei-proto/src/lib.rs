//! What bytes mean: the formats and protocols that clients speak, without IO.
//!
//! Nothing here owns a socket, a task or a clock, or knows what a room is. Bytes go in and events come out, values go
//! in and bytes come out; however the input is split, the events are the same.
//!
//! | module | is |
//! |---|---|
//! | [`ws`] | WebSocket: framing (RFC 6455), permessage-deflate (RFC 7692), the opening handshake |
//! | [`native`] | the native protocol in JSON and in Protobuf, and the event object that every transport shows |
//! | [`engineio`] | Engine.IO 4 and 3: packets, payloads, the session that changes its transport |
//! | [`socketio`] | Socket.IO 5: packets of namespaces, events with attachments, two parsers |
//! | [`sse`] | server-sent events: fields, `Last-Event-ID` |
//! | [`multipart`] | forms with a file, as browsers send them (RFC 7578) |
//! | [`codes`] | what refusals and close frames are called |

pub mod codes;
pub mod engineio;
pub mod multipart;
pub mod native;
pub mod socketio;
pub mod sse;
pub mod ws;
