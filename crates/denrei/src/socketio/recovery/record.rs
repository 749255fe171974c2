//! Sessions on the shelf that the nodes have in common: so that a client finds its session when its node has died.
//!
//! Each node puts there what its clients would come back to, a moment after it has changed, and anew as long as they are
//! there. Whoever takes a session from the shelf has it; a node that is still there is asked to hand it over, because it
//! knows what happened last, and may believe that the client is with it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{BusError, Hub, Listener, Name, Shelf, Word};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use crate::socketio::names::Pid;
use crate::socketio::recovery::{Session, Sessions};
use crate::socketio::{Io, Namespace, io, lock, namespace};

const HAND_OVER: &str = "socketio.handover";

pub(super) struct Records {
    hub: Hub,
    shelf: Arc<dyn Shelf>,
    /// How long a client may be away.
    lasts: Duration,
    news: Mutex<News>,
    noted: Notify,
}

#[derive(Default)]
struct News {
    changed: HashMap<Pid, namespace::Weak>,
    ended: HashSet<Pid>,
}

/// A session, and which node has it.
#[derive(Serialize, Deserialize)]
struct Record {
    node: Name,
    run: Arc<str>,
    namespace: Box<str>,
    session: Session,
}

#[derive(Serialize, Deserialize)]
struct HandOver<'a> {
    namespace: &'a str,
    pid: &'a str,
}

impl Records {
    /// What happens within this time is written at once.
    const PAUSE: Duration = Duration::from_millis(100);
    /// So often sessions are put anew whose clients are there.
    const RENEWAL: Duration = Duration::from_secs(60);
    /// Writes under way.
    const WRITES: usize = 32;
    /// How long the node that has a session may take to hand it over.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(super) fn new(hub: Hub, shelf: Arc<dyn Shelf>, lasts: Duration) -> Self {
        Self { hub, shelf, lasts, news: Mutex::default(), noted: Notify::new() }
    }

    pub(super) fn changed(&self, pid: &Pid, namespace: &Namespace) {
        lock(&self.news).changed.insert(pid.clone(), namespace.downgrade());
        self.noted.notify_one();
    }

    pub(super) fn ended(&self, pid: &Pid) {
        let mut news = lock(&self.news);
        news.changed.remove(pid);
        news.ended.insert(pid.clone());
        self.noted.notify_one();
    }

    /// Keeps the shelf as things are, until the task is dropped.
    pub(super) async fn keep(&self, root: &namespace::Weak) {
        let mut renewal = tokio::time::interval_at(Instant::now() + Self::RENEWAL, Self::RENEWAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.noted.notified() => tokio::time::sleep(Self::PAUSE).await,
                _ = renewal.tick() => {
                    let namespaces = root.upgrade().map(|root| root.concrete()).unwrap_or_default();
                    for namespace in &namespaces {
                        let live = namespace.sessions().map(Sessions::live).unwrap_or_default();
                        live.iter().for_each(|pid| self.changed(pid, namespace));
                    }
                }
            }
            let News { changed, ended } = std::mem::take(&mut *lock(&self.news));
            stream::iter(changed).for_each_concurrent(Self::WRITES, |(pid, namespace)| self.put(pid, namespace)).await;
            stream::iter(ended).for_each_concurrent(Self::WRITES, |pid| self.remove(pid)).await;
        }
    }

    async fn put(&self, pid: Pid, namespace: namespace::Weak) {
        let Some(namespace) = namespace.upgrade() else { return };
        // Nobody's any more: another node has it, or its end is told by itself.
        let Some((session, is_here)) = namespace.sessions().and_then(|sessions| sessions.session(&pid)) else { return };
        let lasts = if is_here { self.lasts + 2 * Self::RENEWAL } else { self.lasts };
        let node = self.hub.node();
        let record =
            Record { node: node.id.clone(), run: Arc::clone(&node.run), namespace: namespace.name().into(), session };
        let outcome = match (name(pid.as_str()), rmp_serde::to_vec_named(&record)) {
            (Some(name), Ok(bytes)) => self.shelf.put(&name, bytes.into(), lasts).await,
            _ => Ok(()),
        };
        said(outcome);
    }

    async fn remove(&self, pid: Pid) {
        if let Some(name) = name(pid.as_str()) {
            said(self.shelf.take(&name).await.map(|_| ()));
        }
    }

    /// The session of a client that comes from another node; from now on it is this one's.
    pub(super) async fn take_over(&self, pid: &str, namespace: &Namespace, user: Option<&Name>) -> Option<Session> {
        let name = name(pid)?;
        let read = |kept: Result<Option<Bytes>, BusError>| match kept {
            Ok(bytes) => rmp_serde::from_slice::<Record>(&bytes?).ok(),
            Err(error) => {
                tracing::debug!(%error, "the session of a client could not be read");
                None
            }
        };
        let is_due = |record: &Record| *record.namespace == *namespace.name() && record.session.user.as_ref() == user;
        // A stranger takes nothing.
        read(self.shelf.get(&name).await).filter(is_due)?;
        let Record { node, run, session, .. } = read(self.shelf.take(&name).await).filter(is_due)?;
        let own = self.hub.node();
        if node == own.id && run == own.run {
            return None;
        }
        if !self.hub.nodes().iter().any(|other| other.id == node && other.run == run) {
            return Some(session);
        }
        let question = rmp_serde::to_vec_named(&HandOver { namespace: namespace.name(), pid }).ok()?;
        let answers = self.hub.ask_nodes(Some(&node), HAND_OVER, question.into(), Self::PATIENCE).await;
        match answers.given.first() {
            Some((_, answer)) => rmp_serde::from_slice::<Option<Session>>(answer).ok()?,
            // It is cut off, or about to be found dead.
            None => Some(session),
        }
    }
}

/// How this node hands over sessions whose clients are with another.
pub(crate) fn listener(io: &Io) -> (&'static str, Listener) {
    let io = io.downgrade();
    let listener = Box::new(move |word: Word| {
        let (Some(io), Some(answer)) = (io.upgrade(), word.answer) else { return };
        let Ok(HandOver { namespace, pid }) = rmp_serde::from_slice(&word.bytes) else { return };
        let namespace = io.known(namespace);
        let (session, ended) =
            namespace.as_ref().and_then(Namespace::sessions).map_or((None, None), |sessions| sessions.hand_over(pid));
        if let Some((socket, parted)) = ended {
            io::dismiss(&socket, parted);
        }
        if let Ok(bytes) = rmp_serde::to_vec_named(&session) {
            answer.with(bytes.into());
        }
    });
    (HAND_OVER, listener)
}

/// What a session is called on the shelf; none if it cannot be one.
fn name(pid: &str) -> Option<Name> {
    Name::parse(&format!("socketio.session:{pid}")).ok()
}

fn said(outcome: Result<(), BusError>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "what a client would come back to could not be kept");
    }
}
