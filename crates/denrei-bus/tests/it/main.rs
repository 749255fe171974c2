//! The seams over real brokers, each started by its test on a free port.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[cfg(feature = "nats")]
mod nats;
mod proxy;
#[cfg(feature = "redis")]
mod redis;
