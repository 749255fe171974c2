//! The store from outside: laws, contents, reopening, faults.
#![allow(clippy::unwrap_used, reason = "what helps a test is a test")]

mod harness;
mod proxy;
mod server;

mod bounds;
mod chat;
mod children;
mod concurrency;
mod contents;
mod durability;
mod faults;
mod files;
mod laws;
mod nodes;
mod opening;
mod outages;
mod trimming;
