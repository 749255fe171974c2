//! What is kept.
//!
//! A [`Store`] is the [`denrei_hub::Log`] of rooms whose class is `store`: everything it acknowledges is on disk, and
//! stays there after `kill -9` and a power cut. It is a SQLite database in WAL mode with `synchronous=FULL`, or a
//! PostgreSQL database with `synchronous_commit=on`, which several nodes write at the same time.
//!
//! The way of an append, in reading order:
//!
//! 1. [`Store`] makes it an *operation* and puts it in a bounded queue; past the bound it is refused;
//! 2. the *writer*, one thread, takes what queued up while it was busy, applies it in one transaction, and commits:
//!    one fsync for the whole *group*. It never waits for company;
//! 3. only then each operation of the group is told, in order, how it ended.
//!
//! An operation is one unit of the domain: it takes place as a whole or not at all, and its failure spoils no other
//! operation of the group. When the commit itself fails, nothing of the group is acknowledged; the writer closes the
//! database, refuses everything, and goes on when the database can be opened and written again. It never retries an
//! fsync: after a failed one the kernel may have dropped the very pages that the next one would report as written.
//!
//! Reads run on threads of their own, each with a read-only connection, and see every commit that was acknowledged
//! before they began.
//!
//! Operations and queries are written once, as plain functions over a [transaction](sql): what is beneath is decided by a
//! closed enum there, and each thread drives its own connection. Where nodes share a database, a group locks the rows of
//! its rooms in the order of their names before it reads their counters: the order of the locks is the order of the
//! numbers, whatever node they are given on.

mod store;

pub mod chat;
mod error;
mod events;
pub mod files;
pub mod objects;
mod operation;
mod rooms;

mod group;
mod queue;
mod readers;
mod writer;

mod database;
pub mod examine;
mod migrations;
mod postgres;
mod sql;
mod sqlite;

pub use error::StoreError;
pub use postgres::PostgresUrl;
pub use store::{Store, StoreConfig, StoreStatistics};

#[cfg(test)]
#[path = "../tests/it/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the tests outside share it, and use more of it")]
mod test_server;
