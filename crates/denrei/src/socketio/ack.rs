//! Answers, both ways.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use denrei_proto::socketio::Outgoing;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::socketio::nodes::carried;
use crate::socketio::{Args, ArgsError, EmitError, Failure, FromArgs, Socket, SocketId, ToArgs, lock};

/// The client's callback, if it gave one. It is answered at most once.
#[derive(Debug)]
pub struct Ack(Option<Arc<Slot>>);

#[derive(Debug)]
struct Slot {
    socket: Socket,
    id: u64,
    sent: AtomicBool,
}

impl Ack {
    pub(crate) fn new(socket: &Socket, id: Option<u64>) -> Self {
        Self(id.map(|id| Arc::new(Slot { socket: socket.clone(), id, sent: AtomicBool::new(false) })))
    }

    /// The same callback, for another listener.
    pub(crate) fn again(&self) -> Self {
        Self(self.0.clone())
    }

    /// Whether the client waits for an answer.
    pub fn is_expected(&self) -> bool {
        self.0.is_some()
    }

    /// Answers: a tuple is one argument per element, `()` is none, anything else is one. Nothing happens when the
    /// client asked for no answer, has one already, or has gone. A value that has no form in JSON is answered as an
    /// error.
    pub fn send(self, value: &(impl ToArgs + ?Sized)) {
        match value.to_args() {
            Ok(args) => {
                self.answer(&args);
            }
            Err(error) => {
                tracing::warn!(%error, "an ack could not be encoded");
                self.fail(&Failure::new("the answer could not be encoded"));
            }
        }
    }

    /// Answers `{"status":"error","message":…}`, if an answer is due. Whether the client has one now.
    pub(crate) fn fail(&self, failure: &Failure) -> bool {
        let mut answer = Map::new();
        answer.insert("status".into(), "error".into());
        answer.extend(failure.to_object());
        Args::encode(&Value::Object(answer)).is_ok_and(|args| self.answer(&args))
    }

    fn answer(&self, args: &Args) -> bool {
        let Some(slot) = &self.0 else { return false };
        if !slot.sent.swap(true, Ordering::Relaxed) && slot.socket.is_connected() {
            let path = slot.socket.namespace().name();
            slot.socket.lane().send(&Outgoing::ack(path, slot.id, args));
        }
        true
    }
}

/// The answer to an emit. The event has been sent already; the answer is what to await. Dropping it gives up on it.
#[must_use = "an answer does nothing unless it is awaited"]
pub struct Answer<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T> Answer<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl<T> Future for Answer<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.0.as_mut().poll(context)
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The time that [`timeout`](crate::socketio::Direct::timeout) gave is over.
    #[error("operation has timed out")]
    Timeout,
    /// The client has gone.
    #[error("the client disconnected before it answered")]
    Disconnected,
    /// The client answered something else than was asked for.
    #[error("the answer is not what was asked for: {0}")]
    Invalid(#[from] ArgsError),
    /// So many answers of this client are awaited already.
    #[error("{limit} answers of one client are awaited already")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// Nothing was sent.
    #[error(transparent)]
    Emit(#[from] EmitError),
}

/// What several clients answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answers<T> {
    /// Who answered what, in the order of arrival. Servers of Node do not tell who it was: their ids are empty.
    pub received: Vec<(SocketId, T)>,
    /// Who did not answer in time, or went.
    pub missing: Vec<SocketId>,
    /// Who answered something else than was asked for.
    pub invalid: Vec<SocketId>,
    /// How many clients of Node's servers did not answer in time, or went; nobody knows which.
    pub missing_elsewhere: u64,
    /// Nodes that did not answer in time, so that nobody knows who is missing there.
    pub missing_nodes: Vec<String>,
}

impl<T> Answers<T> {
    /// Whether everybody gave an answer.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
            && self.invalid.is_empty()
            && self.missing_elsewhere == 0
            && self.missing_nodes.is_empty()
    }

    /// The answers alone.
    pub fn into_values(self) -> Vec<T> {
        self.received.into_iter().map(|(_, value)| value).collect()
    }
}

/// Whom a client's answers are for, by the id of the event.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<BTreeMap<u64, Waiter>>);

#[derive(Debug)]
enum Waiter {
    One(oneshot::Sender<Args>),
    Several(Arc<Collector>),
}

impl Waiting {
    fn add(&self, id: u64, waiter: Waiter, limit: usize) -> bool {
        let mut waiting = lock(&self.0);
        let room = waiting.len() < limit;
        if room {
            waiting.insert(id, waiter);
        }
        room
    }

    /// Whether nothing is awaited.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    fn remove(&self, id: u64) {
        lock(&self.0).remove(&id);
    }

    /// An answer has arrived. One that nobody waits for, or waits for no more, is nothing.
    pub(crate) fn answered(&self, by: &SocketId, id: u64, args: Args) {
        let waiter = lock(&self.0).remove(&id);
        match waiter {
            // Who waited may have given up.
            Some(Waiter::One(tell)) => drop(tell.send(args)),
            Some(Waiter::Several(collector)) => collector.settle(Some((by.clone(), args))),
            None => {}
        }
    }

    /// The client has gone: there will be no answers.
    pub(crate) fn end(&self) {
        let waiting = std::mem::take(&mut *lock(&self.0));
        for waiter in waiting.into_values() {
            if let Waiter::Several(collector) = waiter {
                collector.settle(None);
            }
        }
    }
}

/// Prepares to be answered by one client, has the event sent, and gives what to await.
pub(crate) fn ask<T: FromArgs>(
    socket: &Socket,
    deadline: Option<Instant>,
    send: impl FnOnce(u64) -> Result<(), EmitError>,
) -> Answer<Result<T, AckError>> {
    let id = socket.namespace().next_ack();
    let (tell, told) = oneshot::channel();
    let limit = socket.namespace().limits().acks;
    if !socket.waiting().add(id, Waiter::One(tell), limit) {
        return Answer::new(std::future::ready(Err(AckError::TooMany { limit })));
    }
    let guard = Asked { sockets: vec![socket.clone()], id };
    if let Err(error) = send(id) {
        return Answer::new(std::future::ready(Err(error.into())));
    }
    socket.wait_for_answers();
    if socket.has_left() {
        // It went before the waiter was there, or nobody would tell it.
        socket.waiting().end();
    }
    Answer::new(async move {
        let _guard = guard;
        let answer = within(deadline, told).await.ok_or(AckError::Timeout)?;
        Ok(T::from_args(answer.map_err(|_| AckError::Disconnected)?)?)
    })
}

/// The same for several clients: asks those that `send` is given, and calls `told` with each answer as it comes. Those that
/// wait for too many answers already are not asked, and missing.
pub(crate) fn ask_all(
    sockets: Vec<Socket>,
    id: u64,
    patience: Duration,
    told: impl Fn(&Args) + Send + Sync + 'static,
    send: impl FnOnce(&[Socket]),
) -> BoxFuture<'static, Gathered> {
    let deadline = after(patience);
    let collector = Arc::new(Collector { state: Mutex::default(), done: Notify::new(), told: Box::new(told) });
    let everybody: Vec<_> = sockets.iter().map(|socket| socket.id().clone()).collect();
    let mut asked = sockets;
    asked.retain(|socket| {
        let waiter = Waiter::Several(Arc::clone(&collector));
        socket.waiting().add(id, waiter, socket.namespace().limits().acks)
    });
    collector.expect(asked.len());
    let guard = Asked { sockets: asked, id };
    send(&guard.sockets);
    guard.sockets.iter().for_each(Socket::wait_for_answers);
    for socket in guard.sockets.iter().filter(|socket| socket.has_left()) {
        socket.waiting().end();
    }
    Box::pin(async move {
        let _guard = guard;
        within(deadline, collector.complete()).await;
        let answers = collector.take();
        let heard: HashSet<_> = answers.iter().map(|(by, _)| by).collect();
        let missing = everybody.into_iter().filter(|id| !heard.contains(id)).collect();
        Gathered { answers, missing, missing_elsewhere: 0 }
    })
}

/// What clients have answered, as it came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Gathered {
    #[serde(with = "carried::list")]
    pub(crate) answers: Vec<(SocketId, Args)>,
    pub(crate) missing: Vec<SocketId>,
    /// See [`Answers`].
    #[serde(default)]
    pub(crate) missing_elsewhere: u64,
}

impl<T: FromArgs> Answers<T> {
    pub(crate) fn of(gathered: impl IntoIterator<Item = Gathered>, missing_nodes: Vec<String>) -> Self {
        let (received, missing, invalid) = (Vec::new(), Vec::new(), Vec::new());
        let mut all = Self { received, missing, invalid, missing_elsewhere: 0, missing_nodes };
        for Gathered { answers, missing, missing_elsewhere } in gathered {
            all.missing.extend(missing);
            all.missing_elsewhere += missing_elsewhere;
            for (by, args) in answers {
                match T::from_args(args) {
                    Ok(value) => all.received.push((by, value)),
                    Err(_) => all.invalid.push(by),
                }
            }
        }
        all
    }
}

/// The end of a wait that begins now; none when it is beyond the clock, which is never.
pub(crate) fn after(patience: Duration) -> Option<Instant> {
    Instant::now().checked_add(patience)
}

async fn within<T>(deadline: Option<Instant>, wait: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, wait).await.ok(),
        None => Some(wait.await),
    }
}

/// Forgets about answers when nobody awaits them any more.
struct Asked {
    sockets: Vec<Socket>,
    id: u64,
}

impl Drop for Asked {
    fn drop(&mut self) {
        for socket in &self.sockets {
            socket.waiting().remove(self.id);
        }
    }
}

/// Gathers what several clients answer.
struct Collector {
    state: Mutex<Collected>,
    done: Notify,
    told: Box<dyn Fn(&Args) + Send + Sync>,
}

#[derive(Debug, Default)]
struct Collected {
    answers: Vec<(SocketId, Args)>,
    /// How many have answered or gone.
    settled: usize,
    /// How many there are, once that is known.
    expected: Option<usize>,
}

impl Collector {
    fn expect(&self, count: usize) {
        lock(&self.state).expected = Some(count);
        self.done.notify_one();
    }

    fn settle(&self, answer: Option<(SocketId, Args)>) {
        if let Some((_, args)) = &answer {
            (self.told)(args);
        }
        let mut state = lock(&self.state);
        state.settled += 1;
        state.answers.extend(answer);
        if Some(state.settled) == state.expected {
            self.done.notify_one();
        }
    }

    async fn complete(&self) {
        while !{
            let state = lock(&self.state);
            Some(state.settled) == state.expected
        } {
            self.done.notified().await;
        }
    }

    fn take(&self) -> Vec<(SocketId, Args)> {
        std::mem::take(&mut lock(&self.state).answers)
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collector({:?})", self.state)
    }
}
