//! How often somebody may ask: token buckets for connections, users and addresses.
//!
//! A bucket is one number, the time at which it will be full again (the generic cell rate algorithm): taking from it moves
//! the time on, and what would move it further than a full bucket lasts is refused. A bucket that is full is no number at
//! all, so that what is kept is bounded by who has asked lately.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use denrei_hub::Name;
use denrei_proto::codes::Code;

use crate::identity::Identity;
use crate::refusal::Refusal;

/// How often somebody may ask. What is not there is not limited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// Each connection.
    pub connection: Option<Rate>,
    /// Each user, by all connections and requests together.
    pub user: Option<Rate>,
    /// Each address, by all together; of IPv6 the first 64 bits.
    pub address: Option<Rate>,
    /// New connections of each address; of IPv6 the first 64 bits. Those of this machine and of trusted proxies are free.
    pub connect: Option<Rate>,
    /// Refusals of one connection before it is ended.
    pub refusals: Option<Rate>,
    /// What asking costs, where it is not 1: `request`, `join`, `poll`, `publish`, `direct`, `call`, `event`, or
    /// `publish:NAME` and `event:NAME` for the events of a name.
    pub costs: BTreeMap<String, u32>,
}

/// A bucket's size, and how fast it fills (seed §10.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// How many may come at once.
    pub capacity: u32,
    /// How many may come in the long run.
    pub refill_per_second: f64,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asking<'a> {
    /// A request of its own, or one that begins a connection.
    Request,
    Join,
    Poll,
    /// An event of this name.
    Publish(&'a str),
    Direct,
    Call,
    /// An event of this name, for an application's handler.
    Event(&'a str),
}

impl Rates {
    fn cost(&self, asking: Asking<'_>) -> u32 {
        let (class, event) = match asking {
            Asking::Request => ("request", None),
            Asking::Join => ("join", None),
            Asking::Poll => ("poll", None),
            Asking::Publish(event) => ("publish", Some(event)),
            Asking::Direct => ("direct", None),
            Asking::Call => ("call", None),
            Asking::Event(event) => ("event", Some(event)),
        };
        if self.costs.is_empty() {
            return 1;
        }
        let named = event.and_then(|event| self.costs.get(&format!("{class}:{event}")));
        named.or_else(|| self.costs.get(class)).copied().unwrap_or(1)
    }

    fn is_unlimited(&self) -> bool {
        self.connection.is_none() && self.user.is_none() && self.address.is_none()
    }
}

/// The buckets of a server.
#[derive(Debug)]
pub(crate) struct Limiter {
    rates: ArcSwap<Rates>,
    begun: Instant,
    users: Buckets<Name>,
    addresses: Buckets<IpAddr>,
    connects: Buckets<IpAddr>,
    /// Refusals, in the order of [`SCOPES`].
    limited: [AtomicU64; SCOPES.len()],
}

/// Whose limit it was; abuse is a connection's limit of refusals.
const SCOPES: [&str; 5] = ["connection", "user", "address", "abuse", "connect"];

/// The buckets of one connection.
#[derive(Debug, Default)]
pub(crate) struct Own {
    asked: Bucket,
    refused: Bucket,
}

/// Why something may not be asked now.
#[derive(Debug)]
pub(crate) enum Limited {
    /// For so long.
    For(Duration),
    /// And the connection has asked too often that it must go.
    Abuse,
}

impl From<Limited> for Refusal {
    fn from(limited: Limited) -> Self {
        let wait = match limited {
            Limited::For(wait) => wait,
            Limited::Abuse => Duration::from_secs(60),
        };
        let after = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { retry_after_ms: Some(after), ..Self::new(Code::RateLimited, "Rate limit exceeded") }
    }
}

impl Limiter {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            rates: ArcSwap::from_pointee(rates),
            begun: Instant::now(),
            users: Buckets::default(),
            addresses: Buckets::default(),
            connects: Buckets::default(),
            limited: Default::default(),
        }
    }

    /// Goes by other rates from now on; the buckets are as full as they were.
    pub(crate) fn replace(&self, rates: Rates) {
        self.rates.store(Arc::new(rates));
    }

    /// Lets a connection pass that an address opens.
    pub(crate) fn connect(&self, address: IpAddr) -> Result<(), Refusal> {
        let Some(rate) = self.rates.load().connect else { return Ok(()) };
        let taken = self.connects.take(&network(address), rate, 1, self.now());
        let taken = taken.inspect_err(|_| self.limits(4));
        taken.map_err(|wait| Limited::For(wait).into())
    }

    /// Lets a request pass that belongs to no connection, or begins one.
    pub(crate) fn pass(&self, identity: &Identity, asking: Asking<'_>) -> Result<(), Refusal> {
        let rates = self.rates.load();
        if rates.is_unlimited() {
            return Ok(());
        }
        self.shared(&rates, identity, rates.cost(asking), self.now()).map_err(|wait| Limited::For(wait).into())
    }

    /// Lets something pass that a connection asks.
    pub(crate) fn pass_of(&self, own: &mut Own, identity: &Identity, asking: Asking<'_>) -> Result<(), Limited> {
        let rates = self.rates.load();
        if rates.is_unlimited() {
            return Ok(());
        }
        let (cost, now) = (rates.cost(asking), self.now());
        let mine = rates.connection.map_or(Ok(()), |rate| own.asked.take(rate, cost, now));
        let mine = mine.inspect_err(|_| self.limits(0));
        let Err(wait) = mine.and_then(|()| self.shared(&rates, identity, cost, now)) else { return Ok(()) };
        match rates.refusals.map_or(Ok(()), |rate| own.refused.take(rate, 1, now)) {
            Ok(()) => Err(Limited::For(wait)),
            Err(_) => {
                self.limits(3);
                Err(Limited::Abuse)
            }
        }
    }

    /// How often each limit has refused something.
    pub(crate) fn limited(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SCOPES.into_iter().zip(self.limited.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    fn limits(&self, scope: usize) {
        self.limited[scope].fetch_add(1, Ordering::Relaxed);
    }

    fn shared(&self, rates: &Rates, identity: &Identity, cost: u32, now: u64) -> Result<(), Duration> {
        if let (Some(rate), Some(user)) = (rates.user, &identity.user) {
            self.users.take(user, rate, cost, now).inspect_err(|_| self.limits(1))?;
        }
        if let (Some(rate), Some(address)) = (rates.address, identity.address) {
            self.addresses.take(&network(address), rate, cost, now).inspect_err(|_| self.limits(2))?;
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Whoever has an address of IPv6 has 2^64 of them.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

/// When it is full again, in µs on the limiter's clock.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket(u64);

impl Bucket {
    /// Takes so many; otherwise says how long it takes until it could.
    fn take(&mut self, rate: Rate, cost: u32, now: u64) -> Result<(), Duration> {
        // More than fits in would never come.
        let cost = cost.min(rate.capacity);
        let each = 1e6 / rate.refill_per_second;
        let full = (f64::from(rate.capacity) * each) as u64;
        let after = self.0.max(now).saturating_add((f64::from(cost) * each) as u64);
        match (after - now).checked_sub(full).filter(|late| *late > 0) {
            Some(late) => Err(Duration::from_micros(late)),
            None => {
                self.0 = after;
                Ok(())
            }
        }
    }
}

/// Buckets by their owners.
#[derive(Debug)]
struct Buckets<K>(Mutex<Table<K>>);

#[derive(Debug)]
struct Table<K> {
    buckets: HashMap<K, Bucket>,
    /// With so many, those that are full again go.
    sweep: usize,
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self(Mutex::new(Table { buckets: HashMap::new(), sweep: 1024 }))
    }
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    fn take(&self, key: &K, rate: Rate, cost: u32, now: u64) -> Result<(), Duration> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = table.buckets.get_mut(key) {
            return bucket.take(rate, cost, now);
        }
        if table.buckets.len() >= table.sweep {
            table.buckets.retain(|_, bucket| bucket.0 > now);
            table.sweep = (table.buckets.len() * 2).max(1024);
        }
        let mut bucket = Bucket::default();
        let taken = bucket.take(rate, cost, now);
        table.buckets.insert(key.clone(), bucket);
        taken
    }
}

#[cfg(test)]
mod tests;
