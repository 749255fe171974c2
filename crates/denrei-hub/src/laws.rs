//! The sentences that every implementation of this crate's seams obeys, as tests that the crate of an implementation runs
//! on it. Names are random, so that a shared database or server will do.

mod bus;
mod channels;
mod lease;
mod log;
mod shelf;

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

pub use bus::bus_laws;
pub use channels::channel_laws;
pub use lease::lease_laws;
pub use log::log_laws;
pub use shelf::shelf_laws;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

/// Ends what would otherwise hang for ever: an answer that never comes is a broken law, too.
async fn within<T>(law: &str, answer: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), answer).await {
        Ok(answer) => answer,
        Err(_) => panic!("{law}: no answer"),
    }
}
