//! The hub from outside: what it promises those who publish, read and listen.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod audience;
mod harness;
mod history;
mod laws;
mod memory;
mod missing;
mod nodes;
mod order;
mod outbox;
mod shard;
mod signals;
mod simulation;
mod spans;
mod statistics;
mod trace;
mod world;
