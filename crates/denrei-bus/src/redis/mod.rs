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

use crate::{Joined, Options};

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

fn fault(text: impl Into<Arc<str>>) -> BusError {
    BusError(text.into())
}
