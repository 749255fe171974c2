//! How frames travel: the transports that hold a connection open. Polling needs none, see [`crate::http`].

pub(crate) mod sse;
pub(crate) mod websocket;
