//! The seams over real brokers, each started by its test on a free port.

#[cfg(feature = "redis")]
mod redis;
