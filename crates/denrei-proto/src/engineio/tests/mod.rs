#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod codec;
mod handshake;
mod session;
