//! `socket.io-msgpack-parser` 3: a packet is one binary message, a map `{type, data, id, nsp}` with binary inside.
//!
//! It is read into JSON and attachments and written from them, so that nobody beyond this file knows of it. What
//! notepack 2.2 says in its own way is understood: `undefined`, dates and array buffers.

mod read;
mod write;

pub(super) use read::{Read, decode};
pub(super) use write::encode;
