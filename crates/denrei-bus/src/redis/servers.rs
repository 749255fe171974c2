//! Which servers there are, and which of them has a key.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use denrei_hub::BusError;
use redis::{ConnectionAddr, ConnectionInfo, Pipeline, Value};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::fault;
use super::link::{Link, Live, PATIENCE, Pause, Pushes, State, answered, open, said};

/// Slots of a Redis Cluster.
const SLOTS: usize = 16384;

/// The script that every server is to know.
const SCRIPTS: &[&str] = &[super::log::SCRIPT];

/// All servers, found out again whenever one of them seems to have gone. Cheap to clone.
#[derive(Clone)]
pub(super) struct Servers(Arc<Inner>);

struct Inner {
    known: watch::Receiver<Known>,
    look: Arc<Notify>,
    scout: JoinHandle<()>,
}

/// What is known of the servers.
#[derive(Clone)]
pub(super) enum Known {
    /// Nobody was asked yet.
    Nothing,
    /// Nobody answers.
    Down(BusError),
    /// They are these.
    All(Arc<Topology>),
}

/// The servers at one time.
pub(super) struct Topology {
    /// Those that take writes.
    pub(super) servers: Vec<Arc<Server>>,
    /// Which of them has which slot; none when there is one for all.
    slots: Option<Vec<u16>>,
}

/// A server.
pub(super) struct Server {
    /// How to connect to it.
    pub(super) info: ConnectionInfo,
    /// Its address.
    pub(super) name: Arc<str>,
    /// Carries what is asked and answered; what is heard has connections of its own, so that a flood of it holds up
    /// nothing here.
    pub(super) commands: Link,
}

impl Servers {
    /// Begins to find out.
    pub(super) fn new(seeds: Vec<ConnectionInfo>) -> Self {
        let look = Arc::new(Notify::new());
        let (tell, known) = watch::channel(Known::Nothing);
        let scout = tokio::spawn(Scout { seeds, look: Arc::clone(&look), tell }.run());
        Self(Arc::new(Inner { known, look, scout }))
    }

    /// What is known, and how that changes.
    pub(super) fn known(&self) -> watch::Receiver<Known> {
        self.0.known.clone()
    }

    /// The servers; waits while nobody was asked yet.
    pub(super) async fn topology(&self) -> Result<Arc<Topology>, BusError> {
        let mut known = self.known();
        let decided = timeout(PATIENCE, known.wait_for(|known| !matches!(known, Known::Nothing))).await;
        match decided {
            Ok(Ok(known)) => match &*known {
                Known::All(topology) => Ok(Arc::clone(topology)),
                Known::Down(error) => Err(error.clone()),
                Known::Nothing => Err(fault("Redis is not connected yet")),
            },
            Ok(Err(_)) | Err(_) => Err(fault("Redis is not connected yet")),
        }
    }

    /// Whether these are still the servers.
    pub(super) fn is_present(&self, topology: &Arc<Topology>) -> bool {
        matches!(&*self.0.known.borrow(), Known::All(present) if Arc::ptr_eq(present, topology))
    }

    /// Has one command done by the server that has a key.
    pub(super) async fn ask(&self, key: &[u8], command: redis::Cmd) -> Result<Value, BusError> {
        let mut commands = redis::pipe();
        commands.add_command(command);
        let topology = self.topology().await?;
        let server = topology.server(key).ok_or_else(|| self.homeless())?;
        let live = server.commands.live().await?;
        let answers = self.run(&live, &commands).await?;
        answered(answers.into_iter().next().unwrap_or(Value::Nil))
    }

    /// Has commands done by one server. Each answer may be an error.
    pub(super) async fn run(&self, live: &Live, commands: &Pipeline) -> Result<Vec<Value>, BusError> {
        let answers = live.run(commands).await?;
        for answer in &answers {
            self.heed(answer);
        }
        Ok(answers)
    }

    /// Looks again when an answer says that it was not this server's to give.
    pub(super) fn heed(&self, answer: &Value) {
        if let Value::ServerError(error) = answer
            && matches!(error.code(), "MOVED" | "ASK" | "READONLY" | "CLUSTERDOWN" | "MASTERDOWN")
        {
            self.look_again();
        }
    }

    /// Has the servers found out anew.
    pub(super) fn look_again(&self) {
        self.0.look.notify_one();
    }

    /// For links that others keep to these servers.
    pub(super) fn look(&self) -> Arc<Notify> {
        Arc::clone(&self.0.look)
    }

    /// No server has a key.
    pub(super) fn homeless(&self) -> BusError {
        self.look_again();
        fault("no server of the Redis Cluster has this key")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.scout.abort();
    }
}

impl Topology {
    /// Whose a key or a sharded channel is.
    pub(super) fn server(&self, key: &[u8]) -> Option<&Arc<Server>> {
        let at = match &self.slots {
            Some(slots) => usize::from(*slots.get(slot(key))?),
            None => 0,
        };
        self.servers.get(at)
    }
}

/// Finds out which servers there are.
struct Scout {
    seeds: Vec<ConnectionInfo>,
    look: Arc<Notify>,
    tell: watch::Sender<Known>,
}

impl Scout {
    /// A cluster changes without telling.
    const STEADY: Duration = Duration::from_secs(30);
    /// While something is wrong, a change is near.
    const ALERT: Duration = Duration::from_secs(1);

    async fn run(self) {
        let mut pause = Pause::default();
        loop {
            match self.find().await {
                Ok(found) => {
                    pause = Pause::default();
                    if let Some(topology) = found {
                        self.tell.send_replace(Known::All(Arc::new(topology)));
                    }
                }
                Err(error) => {
                    self.tell.send_if_modified(|known| {
                        let lost = !matches!(known, Known::All(_));
                        if lost {
                            *known = Known::Down(error);
                        }
                        lost
                    });
                    pause.wait().await;
                    continue;
                }
            }
            let steady = if self.is_well() { Self::STEADY } else { Self::ALERT };
            tokio::select! {
                () = self.look.notified() => {}
                () = sleep(steady) => {}
            }
            // Many may ask for it at once.
            pause.wait().await;
        }
    }

    fn present(&self) -> Option<Arc<Topology>> {
        match &*self.tell.borrow() {
            Known::All(topology) => Some(Arc::clone(topology)),
            Known::Nothing | Known::Down(_) => None,
        }
    }

    fn is_well(&self) -> bool {
        let live = |server: &Arc<Server>| matches!(&*server.commands.state().borrow(), State::Live(_));
        self.present().is_some_and(|topology| topology.servers.iter().all(live))
    }

    /// Asks one after another until one answers; none when nothing has changed.
    async fn find(&self) -> Result<Option<Topology>, BusError> {
        let present = self.present();
        let known = present.iter().flat_map(|topology| &topology.servers).map(|server| &server.info);
        let mut wrong = fault("no address of Redis is known");
        for info in self.seeds.iter().chain(known) {
            match ask(info).await {
                Ok(found) => return Ok(self.changed(present.as_deref(), found)),
                Err(error) => wrong = error,
            }
        }
        Err(wrong)
    }

    /// Servers that were there before keep their connections.
    fn changed(&self, present: Option<&Topology>, found: Found) -> Option<Topology> {
        let same = |topology: &Topology| {
            topology.slots == found.slots
                && topology.servers.len() == found.servers.len()
                && topology.servers.iter().zip(&found.servers).all(|(old, new)| *old.name == *new.addr().to_string())
        };
        if present.is_some_and(same) {
            return None;
        }
        let server = |info: ConnectionInfo| {
            let name = info.addr().to_string();
            let old = present.and_then(|topology| topology.servers.iter().find(|server| *server.name == *name));
            old.cloned().unwrap_or_else(|| {
                let deaf: Pushes = Arc::new(|_| true);
                let commands = Link::new(info.clone(), SCRIPTS, deaf, Arc::clone(&self.look));
                Arc::new(Server { info, name: name.into(), commands })
            })
        };
        Some(Topology { servers: found.servers.into_iter().map(server).collect(), slots: found.slots })
    }
}

struct Found {
    servers: Vec<ConnectionInfo>,
    slots: Option<Vec<u16>>,
}

async fn ask(info: &ConnectionInfo) -> Result<Found, BusError> {
    let live = open(info, &[], Arc::new(|_| true), 0).await?;
    if said(&live.about, "cluster_enabled") != Some("1") {
        return match said(&live.about, "role") {
            Some("slave") => Err(fault(format!("{} is a replica", info.addr()))),
            _ => Ok(Found { servers: vec![info.clone()], slots: None }),
        };
    }
    let mut commands = redis::pipe();
    commands.cmd("CLUSTER").arg("SLOTS");
    let answer = live.run(&commands).await?.into_iter().next().unwrap_or(Value::Nil);
    let ranges = ranges(answered(answer)?, info.addr()).ok_or_else(|| fault("CLUSTER SLOTS cannot be understood"))?;
    let mut found = Found { servers: Vec::new(), slots: None };
    let mut slots = vec![u16::MAX; SLOTS];
    let mut addresses: Vec<_> = ranges.iter().map(|(.., address)| address.clone()).collect();
    addresses.sort();
    addresses.dedup();
    for (first, last, address) in ranges {
        let at = addresses.binary_search(&address).unwrap_or_default();
        let range = slots.get_mut(first..=last).ok_or_else(|| fault("CLUSTER SLOTS names slots that do not exist"))?;
        range.fill(u16::try_from(at).unwrap_or(u16::MAX));
    }
    if addresses.is_empty() {
        return Err(fault(format!("{} is of a Redis Cluster without slots", info.addr())));
    }
    for (host, port) in addresses {
        found.servers.push(info.clone().set_addr(beside(info.addr(), host, port)));
    }
    found.slots = Some(slots);
    Ok(found)
}

type Range = (usize, usize, (String, u16));

/// Reads the masters out of `CLUSTER SLOTS`.
fn ranges(answer: Value, asked: &ConnectionAddr) -> Option<Vec<Range>> {
    let Value::Array(rows) = answer else { return None };
    let mut ranges = Vec::with_capacity(rows.len());
    for row in rows {
        let Value::Array(row) = row else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &row[..] else { return None };
        let [host, Value::Int(port), ..] = &master[..] else { return None };
        let host = match host {
            Value::BulkString(bytes) if !bytes.is_empty() && bytes != b"?" => String::from_utf8(bytes.clone()).ok()?,
            // It does not know by which address it is reached.
            _ => host_of(asked)?,
        };
        let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
        if first > last {
            return None;
        }
        ranges.push((first, last, (host, u16::try_from(*port).ok()?)));
    }
    Some(ranges)
}

fn host_of(address: &ConnectionAddr) -> Option<String> {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Some(host.clone()),
        _ => None,
    }
}

/// Another server, reached in the same way.
fn beside(address: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match address {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

/// The slot of a key: of the part in its first braces, if there is one (Redis Cluster specification, "Hash tags").
fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let inside = &key[open + 1..];
        let close = inside.iter().position(|&byte| byte == b'}')?;
        (close > 0).then(|| &inside[..close])
    });
    usize::from(crc16(tag.unwrap_or(key))) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8)
            .fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    })
}

/// No code that runs under these locks leaves them half changed when it panics.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::slot;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"a{foo}b"), slot(b"foo"));
        assert_eq!(slot(b"{}foo"), usize::from(super::crc16(b"{}foo")) % 16384);
    }
}
