//! Tests of this crate against real brokers, which they start themselves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[cfg(feature = "nats")]
mod nats;
