//! The monotonic clock, in nanoseconds.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment, or a length of time.
pub(crate) type Nanos = u64;

/// The moment it is. A plain integer, because one is kept for every message and every delivery subtracts one.
pub(crate) fn now() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(crate) fn nanos(length: Duration) -> Nanos {
    length.as_nanos() as u64
}

pub(crate) fn seconds(length: Nanos) -> f64 {
    length as f64 / 1e9
}
