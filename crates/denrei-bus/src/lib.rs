//! Redis and NATS between nodes. Each is a folder and a feature, and gives all five of the hub's seams.

#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;

mod examine;

use std::sync::Arc;

use denrei_hub::{Bus, BusError, Channels, Classes, Leases, Log, Name, Shelf};

pub use crate::examine::{Broker, examine};

/// A name as brokers are told it: no character of it means anything there.
#[cfg(any(feature = "redis", feature = "nats"))]
fn encoded(name: &str) -> String {
    base64::prelude::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, name)
}

/// How a node joins the others.
#[derive(Clone)]
pub struct Options {
    /// This node's id; no two nodes have the same.
    pub node: Name,
    /// What begins the names of all that is denrei's own. Clusters that share a broker have different ones.
    /// Default `denrei`.
    pub prefix: String,
    /// How much memory rooms keep.
    pub classes: Arc<Classes>,
}

/// The others, as the hub sees them.
#[derive(Clone)]
pub struct Joined {
    /// Carries what nodes tell one another.
    pub bus: Arc<dyn Bus>,
    /// Keeps memory rooms for all nodes.
    pub log: Arc<dyn Log>,
    /// Says who may do what one node does at a time.
    pub leases: Arc<dyn Leases>,
    /// Keeps what is put aside for a while.
    pub shelf: Arc<dyn Shelf>,
    /// Reaches other programs.
    pub channels: Arc<dyn Channels>,
}

/// Joins the nodes at an address: `redis://`, `rediss://` or `nats://` (NATS with TLS: `tls://`), several with commas in
/// between. A broker that is down does not fail this: it is tried for as long as the server runs.
///
/// # Errors
/// A sentence for the operator: the address cannot be understood.
#[allow(clippy::unused_async, reason = "joining takes a runtime")]
#[cfg_attr(not(any(feature = "redis", feature = "nats")), allow(unused_variables, reason = "no bus is built in"))]
pub async fn join(address: &str, options: Options) -> Result<Joined, BusError> {
    // Nothing is said of the rest: it may hold a password.
    match address.split_once("://").map_or("", |(scheme, _)| scheme) {
        #[cfg(feature = "redis")]
        "redis" | "rediss" => redis::join(address, options),
        #[cfg(feature = "nats")]
        "nats" | "tls" => nats::join(address, options).await,
        scheme => Err(no_bus(scheme)),
    }
}

fn no_bus(scheme: &str) -> BusError {
    BusError(format!("{scheme:?} is no kind of bus: it is redis://, rediss://, nats:// or tls://").into())
}
