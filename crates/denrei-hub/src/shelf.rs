//! The seam to what nodes put aside for one another, for a while.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::bus::BusError;
use crate::ids::Name;
use crate::{Map, lock};

/// Keeps values for a time, such as the sessions of clients that were cut off.
///
/// # Laws
/// Every implementation passes the suite in `laws.rs` (feature `laws`):
/// 1. What was put is there for every node, until it is taken, put anew, or its time is over; the last one put counts.
/// 2. What is taken is given to one taker.
/// 3. Names are apart, whatever characters they have.
pub trait Shelf: Send + Sync + 'static {
    /// Puts a value, in place of what is there.
    fn put(&self, name: &Name, value: Bytes, lasts: Duration) -> Shelving<()>;

    /// What is there.
    fn get(&self, name: &Name) -> Shelving<Option<Bytes>>;

    /// Takes it away.
    fn take(&self, name: &Name) -> Shelving<Option<Bytes>>;
}

/// An answer of a [`Shelf`] that may take a while.
pub type Shelving<T> = Pin<Box<dyn Future<Output = Result<T, BusError>> + Send>>;

/// A [`Shelf`] within one process.
pub struct LocalShelf {
    kept: Mutex<Map<Name, (Bytes, Instant)>>,
    most: usize,
}

impl LocalShelf {
    /// An empty shelf with place for so many values; there it refuses more.
    pub fn new(most: usize) -> Self {
        Self { kept: Mutex::default(), most }
    }

    fn with<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Map<Name, (Bytes, Instant)>) -> Result<T, BusError>,
    ) -> Shelving<T> {
        let mut kept = lock(&self.kept);
        Box::pin(std::future::ready(look(&mut kept)))
    }
}

impl Shelf for LocalShelf {
    fn put(&self, name: &Name, value: Bytes, lasts: Duration) -> Shelving<()> {
        self.with(|kept| {
            let now = Instant::now();
            if kept.len() >= self.most && !kept.contains_key(name) {
                kept.retain(|_, (_, until)| *until > now);
                if kept.len() >= self.most {
                    return Err(BusError(format!("the limit of {} values is reached", self.most).into()));
                }
            }
            kept.insert(name.clone(), (value, now + lasts));
            Ok(())
        })
    }

    fn get(&self, name: &Name) -> Shelving<Option<Bytes>> {
        self.with(|kept| {
            let good = kept.get(name).filter(|(_, until)| *until > Instant::now());
            Ok(good.map(|(value, _)| value.clone()))
        })
    }

    fn take(&self, name: &Name) -> Shelving<Option<Bytes>> {
        self.with(|kept| {
            let good = kept.remove(name).filter(|(_, until)| *until > Instant::now());
            Ok(good.map(|(value, _)| value))
        })
    }
}
