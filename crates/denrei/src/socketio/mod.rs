//! Socket.IO.

pub(crate) mod bundle;
pub(crate) mod channel;
pub(crate) mod connection;
pub(crate) mod desk;
pub mod engine;
pub(crate) mod lane;
pub(crate) mod opening;
pub(crate) mod rooms;
mod stub;
pub use stub::*;
