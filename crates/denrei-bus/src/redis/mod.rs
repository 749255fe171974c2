//! Redis between nodes: one server, or a Redis Cluster, version 7 or later.
//!
//! In reading order: [`link`] keeps one connection to one server; [`servers`] finds out which servers there are and which
//! of them has a key; [`ear`] keeps subscriptions over all of them; the rest are the hub's seams, each on top of these.
//! What is kept where is told in `docs/cluster.md`.

mod bus;
mod channels;
mod ear;
mod leases;
mod link;
mod log;
mod servers;
mod shelf;

use std::sync::Arc;

use denrei_hub::BusError;

use crate::{Broker, Joined, Options};

/// Joins the nodes at these addresses.
pub(crate) fn join(address: &str, options: Options) -> Result<Joined, BusError> {
    let seeds = link::parse(address)?;
    if options.prefix.contains(['{', '}']) {
        let prefix = options.prefix;
        return Err(BusError(format!("the prefix {prefix:?} has braces, which choose the place of a key").into()));
    }
    let servers = servers::Servers::new(seeds);
    Ok(Joined {
        bus: Arc::new(bus::RedisBus::new(&servers, &options)),
        log: Arc::new(log::RedisLog::new(&servers, &options)),
        leases: Arc::new(leases::RedisLeases::new(&servers, &options.prefix)),
        shelf: Arc::new(shelf::RedisShelf::new(&servers, &options.prefix)),
        channels: Arc::new(channels::RedisChannels::new(&servers)),
    })
}

/// Asks each server at these addresses.
pub(crate) async fn examine(address: &str) -> Result<Vec<Result<Broker, BusError>>, BusError> {
    let mut found = Vec::new();
    for info in link::parse(address)? {
        found.push(examine_one(&info).await);
    }
    Ok(found)
}

async fn examine_one(info: &::redis::ConnectionInfo) -> Result<Broker, BusError> {
    let live = link::open(info, &[], Arc::new(|_| true), 0).await?;
    let mut asking = ::redis::pipe();
    asking.cmd("TIME");
    let answer = live.run(&asking).await?.into_iter().next().unwrap_or(::redis::Value::Nil);
    let time: (u64, u64) =
        ::redis::from_redis_value(link::answered(answer)?).map_err(|_| fault("Redis has no time"))?;
    let said = |field: &str| link::said(&live.about, field).unwrap_or_default();
    Ok(Broker::Redis {
        version: said("redis_version").into(),
        most_memory: said("maxmemory").parse().unwrap_or_default(),
        policy: said("maxmemory_policy").into(),
        appends: said("aof_enabled") == "1",
        time_us: time.0.saturating_mul(1_000_000).saturating_add(time.1),
    })
}

fn fault(text: impl Into<Arc<str>>) -> BusError {
    BusError(text.into())
}
