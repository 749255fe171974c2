//! Who may do what one node does at a time.
//!
//! All leases have one hash tag, so that a cluster keeps them with the counter of their fences. A fence is not smaller than
//! the server's clock in microseconds: it also grows when Redis has lost its data.

use std::time::Duration;

use denrei_hub::{BusError, Grant, Leases, Leasing, Name};
use redis::Value;

use super::fault;
use super::servers::Servers;
use crate::encoded;

/// KEYS: the thing, the counter. ARGV: the token, ms. Gives the fence.
const TAKE: &str = "
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local time = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local fence = math.max(last + 1, time[1] * 1000000 + time[2])
redis.call('SET', KEYS[2], string.format('%.0f', fence))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return fence
";

/// KEYS: the thing. ARGV: the token, ms.
const RENEW: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
";

/// KEYS: the thing. ARGV: the token.
const GIVE_BACK: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
";

/// [`Leases`] of all nodes at these servers.
pub(super) struct RedisLeases {
    servers: Servers,
    tag: String,
}

impl RedisLeases {
    pub(super) fn new(servers: &Servers, prefix: &str) -> Self {
        Self { servers: servers.clone(), tag: format!("{{{prefix}:v}}") }
    }

    fn key(&self, thing: &Name) -> String {
        format!("{}:{}", self.tag, encoded(thing.as_str()))
    }

    /// Runs a script about a thing. They are sent whole: leases are few.
    fn run(&self, script: &str, thing: &Name, arguments: &[&str]) -> Leasing<Value> {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(2).arg(self.key(thing)).arg(format!("{}#fence", self.tag));
        for argument in arguments {
            command.arg(*argument);
        }
        let (servers, tag) = (self.servers.clone(), self.tag.clone());
        Box::pin(async move { servers.ask(tag.as_bytes(), command).await })
    }
}

impl Leases for RedisLeases {
    fn take(&self, thing: &Name, lasts: Duration) -> Leasing<Option<Grant>> {
        let mut grant = Grant::new(0);
        let answer = self.run(TAKE, thing, &[&grant.token, &milliseconds(lasts)]);
        Box::pin(async move {
            match answer.await? {
                Value::Int(fence) => {
                    grant.fence = u64::try_from(fence).map_err(|_| unreadable())?;
                    Ok(Some(grant))
                }
                Value::Nil | Value::Boolean(false) => Ok(None),
                _ => Err(unreadable()),
            }
        })
    }

    fn renew(&self, thing: &Name, grant: &Grant, lasts: Duration) -> Leasing<bool> {
        let answer = self.run(RENEW, thing, &[&grant.token, &milliseconds(lasts)]);
        Box::pin(async move {
            match answer.await? {
                Value::Int(renewed) => Ok(renewed == 1),
                _ => Err(unreadable()),
            }
        })
    }

    fn give_back(&self, thing: &Name, grant: &Grant) -> Leasing<()> {
        let answer = self.run(GIVE_BACK, thing, &[&grant.token]);
        Box::pin(async move { answer.await.map(drop) })
    }
}

/// Redis refuses to keep something for no time.
pub(super) fn milliseconds(lasts: Duration) -> String {
    lasts.as_millis().clamp(1, 1 << 52).to_string()
}

pub(super) fn unreadable() -> BusError {
    fault("Redis gave an answer that cannot be read")
}
