//! `socket.io-msgpack-parser` 3: a packet is one binary message, a map `{type, data, id, nsp}` with binary inside.
//!
//! It is read into JSON and attachments and written from them, so that nobody beyond this file knows of it. What
//! notepack 2.2 says in its own way is understood: `undefined`, dates and array buffers; and the dates of notepack 3.
//!
//! Servers of Node write what they tell one another in the same way: a *document* is any value, alone.

mod read;
mod write;

pub(super) use read::{Read, decode, document as read_document};
pub(super) use write::{document as write_document, encode};
