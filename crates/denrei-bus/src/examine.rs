//! What an operator wants to know of a broker before servers join by it. Nothing is changed.

use denrei_hub::BusError;

/// What was found at one address.
#[derive(Debug)]
#[non_exhaustive]
pub enum Broker {
    /// A server of Redis, which speaks RESP3.
    Redis {
        /// As it calls itself.
        version: String,
        /// Bytes that it may use; 0 for as many as there are.
        most_memory: u64,
        /// What it does past that.
        policy: String,
        /// Whether it appends what it has done to a file (AOF).
        appends: bool,
        /// Its clock, in µs since 1970.
        time_us: u64,
    },
    /// A server of NATS.
    Nats {
        /// As it calls itself.
        version: String,
        /// Whether it keeps what it is given.
        jetstream: bool,
        /// Bytes of one message.
        most_payload: usize,
    },
}

/// Asks each server at these addresses; they are written as for [`crate::join`].
///
/// # Errors
/// A sentence for the operator: the addresses cannot be understood.
#[cfg_attr(
    not(any(feature = "redis", feature = "nats")),
    allow(unused_variables, clippy::unused_async, reason = "no bus is built in")
)]
pub async fn examine(address: &str) -> Result<Vec<Result<Broker, BusError>>, BusError> {
    match address.split_once("://").map_or("", |(scheme, _)| scheme) {
        #[cfg(feature = "redis")]
        "redis" | "rediss" => crate::redis::examine(address).await,
        #[cfg(feature = "nats")]
        "nats" | "tls" => crate::nats::examine(address).await,
        scheme => Err(crate::no_bus(scheme)),
    }
}
