//! What nodes put aside for one another: one key each.

use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Name, Shelf, Shelving};
use redis::{Cmd, Value};

use super::leases::{milliseconds, unreadable};
use super::servers::Servers;
use crate::encoded;

/// The [`Shelf`] of all nodes at these servers.
pub(super) struct RedisShelf {
    servers: Servers,
    prefix: String,
}

impl RedisShelf {
    pub(super) fn new(servers: &Servers, prefix: &str) -> Self {
        Self { servers: servers.clone(), prefix: prefix.to_owned() }
    }

    fn ask(&self, verb: &str, name: &Name, arguments: impl FnOnce(&mut Cmd)) -> Shelving<Value> {
        let key = format!("{}:s:{}", self.prefix, encoded(name.as_str()));
        let mut command = redis::cmd(verb);
        command.arg(&key);
        arguments(&mut command);
        let servers = self.servers.clone();
        Box::pin(async move { servers.ask(key.as_bytes(), command).await })
    }

    fn look(&self, verb: &str, name: &Name) -> Shelving<Option<Bytes>> {
        let answer = self.ask(verb, name, |_| {});
        Box::pin(async move {
            match answer.await? {
                Value::BulkString(bytes) => Ok(Some(bytes.into())),
                Value::Nil => Ok(None),
                _ => Err(unreadable()),
            }
        })
    }
}

impl Shelf for RedisShelf {
    fn put(&self, name: &Name, value: Bytes, lasts: Duration) -> Shelving<()> {
        let answer = self.ask("SET", name, |command| {
            command.arg(&value[..]).arg("PX").arg(milliseconds(lasts));
        });
        Box::pin(async move { answer.await.map(drop) })
    }

    fn get(&self, name: &Name) -> Shelving<Option<Bytes>> {
        self.look("GET", name)
    }

    fn take(&self, name: &Name) -> Shelving<Option<Bytes>> {
        self.look("GETDEL", name)
    }
}
