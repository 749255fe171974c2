//! The schema, in numbered steps. They are written in the SQL that SQLite and PostgreSQL share, but for one word:
//! `BLOB` is `BYTEA` there.

use denrei_hub::Epoch;

use crate::sql::{Fault, Transaction, Value};

/// What the steps make of an empty database, in order; the first is version 1. A released step is never changed.
const STEPS: &[&str] = &[
    include_str!("../migrations/0001_rooms.sql"),
    include_str!("../migrations/0002_chat.sql"),
    include_str!("../migrations/0003_files.sql"),
];

/// The schema is newer than this server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newer {
    pub(crate) found: u64,
    pub(crate) known: u64,
}

/// Brings the schema to the newest version, and gives a new database its epoch, within one transaction.
pub(crate) fn migrate(transaction: &Transaction<'_>) -> Result<Result<(), Newer>, Fault> {
    transaction.script("CREATE TABLE IF NOT EXISTS meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)")?;
    let known = STEPS.len();
    let found = meta(transaction, "schema_version", |text| text.parse().ok())?.unwrap_or(0);
    if found > known {
        return Ok(Err(Newer { found: found as u64, known: known as u64 }));
    }
    for step in &STEPS[found..] {
        transaction.define(step)?;
    }
    if found < known {
        set_meta(transaction, "schema_version", &known.to_string())?;
    }
    if meta(transaction, "epoch", |_| Some(()))?.is_none() {
        set_meta(transaction, "epoch", Epoch::random().as_str())?;
    }
    Ok(Ok(()))
}

/// The present life of the database's logs.
pub(crate) fn epoch(transaction: &Transaction<'_>) -> Result<Epoch, Fault> {
    let epoch = meta(transaction, "epoch", |text| Epoch::parse(text).ok())?;
    epoch.ok_or_else(|| Fault::Operation("the database has no epoch".into()))
}

/// Begins a new one.
pub(crate) fn set_epoch(transaction: &Transaction<'_>, epoch: &Epoch) -> Result<(), Fault> {
    set_meta(transaction, "epoch", epoch.as_str())
}

/// Changes the database in a way that means nothing, but has to reach the disk.
pub(crate) fn touch(transaction: &Transaction<'_>) -> Result<(), Fault> {
    let count: u64 = meta(transaction, "touched", |text| text.parse().ok())?.unwrap_or(0);
    set_meta(transaction, "touched", &count.wrapping_add(1).to_string())
}

/// What the text of a value says; one that cannot be understood is an error, not absent.
pub(crate) fn understood<T>(key: &str, text: &str, understand: impl FnOnce(&str) -> Option<T>) -> Result<T, Fault> {
    understand(text).ok_or_else(|| Fault::Operation(format!("the database's {key} is {text:?}").into()))
}

fn meta<T>(
    transaction: &Transaction<'_>,
    key: &str,
    understand: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Fault> {
    transaction.first("SELECT value FROM meta WHERE key = $1", &[Value::Text(key)], |row| {
        understood(key, row.text(0)?, understand)
    })
}

fn set_meta(transaction: &Transaction<'_>, key: &str, value: &str) -> Result<(), Fault> {
    let sql = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    transaction.execute(sql, &[Value::Text(key), Value::Text(value)]).map(drop)
}
