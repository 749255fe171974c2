//! Channels of other programs, under their own names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use denrei_hub::{BusError, Carrying, Channel, Channels, Heard, Hearer, Listen, Listening, random_token};
use redis::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ear::{Caught, Ear, Kind, Topic};
use super::fault;
use super::leases::unreadable;
use super::link::{PATIENCE, answered};
use super::servers::{Servers, lock};

/// [`Channels`] at these servers. However many listen to a channel here, Redis counts this node once.
#[derive(Clone)]
pub(super) struct RedisChannels {
    servers: Servers,
    ear: Arc<Ear>,
    hearers: Arc<Hearers>,
    numbers: Arc<AtomicU64>,
}

/// Who hears what: by the subscription that brings it.
type Hearers = Mutex<HashMap<(Kind, Arc<[u8]>), HashMap<u64, Here>>>;

struct Here {
    hearer: Hearer,
    /// What comes before is not for it.
    begun: bool,
}

impl RedisChannels {
    pub(super) fn new(servers: &Servers) -> Self {
        let hearers = Arc::new(Hearers::default());
        let catchers = Arc::clone(&hearers);
        let ear = Ear::new(servers, Arc::new(move |caught| hear(&catchers, caught)));
        Self { servers: servers.clone(), ear: Arc::new(ear), hearers, numbers: Arc::default() }
    }

    /// Begins a subscription. A [`Listening`] that is dropped before it is confirmed takes itself out.
    fn listen(&self, topic: Topic, number: u64) -> Carrying<Listening> {
        let (hearers, ear) = (Arc::downgrade(&self.hearers), Arc::downgrade(&self.ear));
        let (hearer, listening) = Listening::new(Box::new(End { topic: topic.clone(), number, hearers, ear }));
        let begun = topic.kind != Kind::Pattern;
        let mut hearers = lock(&self.hearers);
        let confirmed = self.ear.subscribe(&topic);
        hearers.entry((topic.kind, topic.name)).or_default().insert(number, Here { hearer, begun });
        Box::pin(async move { confirmed.await.map(|()| listening) })
    }

    /// Has a pattern's subscription begin now.
    ///
    /// The servers of a cluster hand one another what is published, so a subscription may bring what was published before
    /// it. Once a mark that every server publishes now has come by the same way, all of that has, too.
    async fn begin(&self, topic: &Topic, number: u64) -> Result<(), BusError> {
        let topology = self.servers.topology().await?;
        if topology.servers.len() > 1 {
            let home = topology.server(&topic.name).ok_or_else(|| self.servers.homeless())?;
            let is_home =
                |name: &String| topology.server(name.as_bytes()).is_some_and(|server| Arc::ptr_eq(server, home));
            let mut names = (0..10_000).map(|_| format!("denrei:mark:{}", random_token(20)));
            let mark = names.find(is_home).ok_or_else(|| self.servers.homeless())?;
            let mut publish = redis::pipe();
            publish.cmd("PUBLISH").arg(&mark).arg("");
            let topic = Topic { kind: Kind::Plain, name: mark.into_bytes().into() };
            let mut marks = self.listen(topic, self.numbers.fetch_add(1, Ordering::Relaxed)).await?;
            for server in &topology.servers {
                server.commands.live().await?.run(&publish).await?;
            }
            for _ in &topology.servers {
                match timeout(PATIENCE, marks.next()).await {
                    Ok(Some(Heard::Message(..))) => {}
                    _ => return Err(fault("the servers of the Redis Cluster do not hear one another")),
                }
            }
        }
        let mut hearers = lock(&self.hearers);
        let here = hearers.get_mut(&(topic.kind, Arc::clone(&topic.name)));
        if let Some(here) = here.and_then(|here| here.get_mut(&number)) {
            here.begun = true;
        }
        Ok(())
    }
}

impl Channels for RedisChannels {
    fn publish(&self, channel: &Channel, bytes: Bytes) -> Carrying<()> {
        let (tell, told) = oneshot::channel();
        self.ear.publish(topic(&Listen::To(channel.clone())), bytes, Some(tell));
        Box::pin(async move { told.await.unwrap_or_else(|_| Err(fault("the channels were given up"))) })
    }

    fn subscribe(&self, what: Listen) -> Carrying<Listening> {
        let (topic, number) = (topic(&what), self.numbers.fetch_add(1, Ordering::Relaxed));
        let confirmed = self.listen(topic.clone(), number);
        if topic.kind != Kind::Pattern {
            return confirmed;
        }
        let channels = self.clone();
        Box::pin(async move {
            let listening = confirmed.await?;
            channels.begin(&topic, number).await?;
            Ok(listening)
        })
    }

    fn count(&self, channel: &Channel) -> Carrying<u64> {
        let verb = match channel {
            Channel::Plain(_) => "NUMSUB",
            Channel::Sharded(_) => "SHARDNUMSUB",
        };
        let mut commands = redis::pipe();
        commands.cmd("PUBSUB").arg(verb).arg(channel.name());
        let servers = self.servers.clone();
        Box::pin(async move {
            let mut counts = JoinSet::new();
            for server in servers.topology().await?.servers.clone() {
                let commands = commands.clone();
                counts.spawn(async move { server.commands.live().await?.run(&commands).await });
            }
            // Each server knows those who listen to it.
            let mut sum = 0;
            while let Some(answers) = counts.join_next().await {
                let answers = answers.map_err(|_| unreadable())??;
                sum += listeners(answers.into_iter().next().unwrap_or(Value::Nil))?;
            }
            Ok(sum)
        })
    }
}

/// A [`Listening`]'s end.
struct End {
    topic: Topic,
    number: u64,
    hearers: Weak<Hearers>,
    ear: Weak<Ear>,
}

impl Drop for End {
    fn drop(&mut self) {
        let (Some(hearers), Some(ear)) = (self.hearers.upgrade(), self.ear.upgrade()) else { return };
        let mut hearers = lock(&hearers);
        if let Entry::Occupied(mut here) = hearers.entry((self.topic.kind, Arc::clone(&self.topic.name))) {
            here.get_mut().remove(&self.number);
            if here.get().is_empty() {
                here.remove();
                // Under the lock: a subscription that begins meanwhile comes after it.
                ear.unsubscribe(&self.topic);
            }
        }
    }
}

fn hear(hearers: &Hearers, caught: Caught) {
    let hearers = lock(hearers);
    match caught {
        Caught::Lost => {
            for here in hearers.values().flat_map(HashMap::values).filter(|here| here.begun) {
                here.hearer.hear(Heard::Lost);
            }
        }
        Caught::Message { kind, subscription, channel, payload } => {
            let Some(here) = hearers.get(&(kind, subscription.into())) else { return };
            let Ok(name) = String::from_utf8(channel) else { return };
            let channel = match kind {
                Kind::Plain | Kind::Pattern => Channel::Plain(name.into()),
                Kind::Sharded => Channel::Sharded(name.into()),
            };
            for here in here.values().filter(|here| here.begun) {
                here.hearer.hear(Heard::Message(channel.clone(), payload.clone()));
            }
        }
    }
}

fn topic(what: &Listen) -> Topic {
    let (kind, name) = match what {
        Listen::To(Channel::Plain(name)) => (Kind::Plain, name.as_bytes().to_vec()),
        Listen::To(Channel::Sharded(name)) => (Kind::Sharded, name.as_bytes().to_vec()),
        Listen::Below(prefix) => (Kind::Pattern, below(prefix)),
    };
    Topic { kind, name: name.into() }
}

/// The pattern of all names that begin so.
fn below(prefix: &str) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for byte in prefix.bytes() {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern.push(b'*');
    pattern
}

/// Reads the number out of a name and a number; RESP3 may give them as a map.
fn listeners(answer: Value) -> Result<u64, BusError> {
    let number = match answered(answer)? {
        Value::Array(pair) => pair.into_iter().nth(1),
        Value::Map(pairs) => pairs.into_iter().next().map(|(_, number)| number),
        _ => None,
    };
    match number {
        Some(Value::Int(number)) => u64::try_from(number).map_err(|_| unreadable()),
        _ => Err(unreadable()),
    }
}
