//! A connection to the NATS servers, made anew for as long as it is wanted.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, Request, RequestErrorKind, Subject, Subscriber};
use bytes::Bytes;
use denrei_hub::{BusError, LogError, Name};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::task::coop::unconstrained;

use super::Servers;

/// Whether a connection hears what it has published itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    On,
    Off,
}

pub(super) struct Link {
    client: Client,
    /// Answered by whichever connection of this node has echo.
    ping: Subject,
    /// Counts the times after which messages may be missing.
    losses: watch::Sender<u64>,
    _tasks: Vec<Task>,
}

/// What the client library tells of, until somebody looks.
#[derive(Default)]
struct Events {
    slow: AtomicBool,
    wake: Notify,
}

impl Link {
    /// How long a request may take.
    pub(super) const PATIENCE: Duration = Duration::from_secs(2);

    /// How long a request waits for a connection; a server that is down is told of no later.
    const READY: Duration = Duration::from_millis(500);

    /// Commands that wait for the connection.
    const QUEUE: usize = 64 * 1024;

    /// Messages that wait in one subscription.
    const HEARD: usize = 64 * 1024;

    /// A link that swallows what is sent is given up after three of these.
    const PING: Duration = Duration::from_secs(2);

    const SLOWEST_RETRY: Duration = Duration::from_secs(2);

    /// Begins to connect.
    pub(super) async fn open(servers: &Servers, node: &Name, ping: &str, echo: Echo) -> Result<Arc<Self>, BusError> {
        let events = Arc::new(Events::default());
        let told = Arc::clone(&events);
        let options = ConnectOptions::new()
            .name(format!("denrei {node}"))
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| {
                // A server that is started anew is back soon, and rooms go on without this node.
                if attempt < 50 { Duration::from_millis(20 * (attempt as u64).min(10)) } else { Self::SLOWEST_RETRY }
            })
            .connection_timeout(Self::PATIENCE)
            .ping_interval(Self::PING)
            .request_timeout(Some(Self::PATIENCE))
            .client_capacity(Self::QUEUE)
            .subscription_capacity(Self::HEARD)
            .event_callback(move |event| {
                if matches!(event, Event::SlowConsumer(_)) {
                    told.slow.store(true, Ordering::Release);
                }
                told.wake.notify_one();
                std::future::ready(())
            });
        let options = if echo == Echo::Off { options.no_echo() } else { options };
        let connecting = servers.log_in(options).connect(servers.addresses.clone());
        let client = connecting.await.map_err(|error| BusError(error.to_string().into()))?;
        let ping = Subject::from(ping);
        let losses = watch::Sender::default();
        let mut tasks = vec![Task::spawn(tell_losses(client.clone(), ping.clone(), events, losses.clone()))];
        if echo == Echo::On {
            let pings = now(client.subscribe(ping.clone())).and_then(Result::ok);
            let pings = pings.ok_or_else(|| BusError("the connection to NATS has ended".into()))?;
            tasks.push(Task::spawn(answer(client.clone(), pings)));
        }
        Ok(Arc::new(Self { client, ping, losses, _tasks: tasks }))
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// There was a connection, and there is none.
    pub(super) fn is_cut(&self) -> bool {
        self.client.connection_state() == State::Disconnected
    }

    /// How often the connection was made; what was known of the server before may be wrong.
    pub(super) fn life(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Changes whenever messages may be missing.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    /// The largest message that the server takes, in bytes.
    pub(super) fn largest(&self) -> usize {
        self.client.max_payload()
    }

    /// Waits a little for the connection.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        let connected = async {
            while !self.is_connected() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Self::READY, connected).await.map_err(|_| Failure::Down)
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn request(
        &self,
        subject: impl Into<Subject>,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Message, Failure> {
        self.ready().await?;
        let request = Request { payload: Some(payload), headers, timeout: None, inbox: None };
        // The library's own timeout begins after a place in its queue was found.
        let answer = tokio::time::timeout(Self::PATIENCE, self.client.send_request(subject.into(), request)).await;
        answer.unwrap_or_else(|_| Err(RequestErrorKind::TimedOut.into())).map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => Failure::Nobody,
            RequestErrorKind::TimedOut => Failure::Unanswered,
            RequestErrorKind::MaxPayloadExceeded => Failure::Large(self.largest()),
            RequestErrorKind::InvalidSubject | RequestErrorKind::Other => Failure::Broken(error.to_string().into()),
        })
    }

    /// Returns once the server has had everything that was sent before.
    pub(super) async fn flush(&self) -> Result<(), Failure> {
        match self.request(self.ping.clone(), None, Bytes::new()).await {
            // That nobody listens is what the server found out after everything before.
            Ok(_) | Err(Failure::Nobody) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Publishes at once, or not at all when the queue is full.
    pub(super) fn publish(&self, subject: Subject, reply: Option<Subject>, payload: Bytes) -> Result<(), Failure> {
        let published = match reply {
            None => now(self.client.publish(subject, payload)),
            Some(reply) => now(self.client.publish_with_reply(subject, reply, payload)),
        };
        match published {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Failure::Broken(error.to_string().into())),
            None => Err(Failure::Busy),
        }
    }

    /// Subscribes at once, or not at all when the queue is full. [`Link::flush`] tells when the server has it.
    pub(super) fn subscribe(&self, subject: impl Into<Subject>) -> Result<Subscriber, Failure> {
        match now(self.client.subscribe(subject.into())) {
            Some(Ok(subscriber)) => Ok(subscriber),
            Some(Err(error)) => Err(Failure::Broken(error.to_string().into())),
            None => Err(Failure::Busy),
        }
    }
}

/// Gives a command to the client's queue if there is a place: its futures wait for nothing else. Without the task's
/// budget, because that runs out while there are places.
fn now<T>(command: impl Future<Output = T>) -> Option<T> {
    unconstrained(command).now_or_never()
}

/// Counts losses. After a connection was made anew messages are missed until the server has all subscriptions again, and
/// so it is told when it has.
async fn tell_losses(client: Client, ping: Subject, events: Arc<Events>, losses: watch::Sender<u64>) {
    let mut life = 1;
    loop {
        // The library drops events when there are many.
        let _ = tokio::time::timeout(Duration::from_secs(1), events.wake.notified()).await;
        if events.slow.swap(false, Ordering::AcqRel) {
            losses.send_modify(|count| *count += 1);
        }
        let present = client.statistics().connects.load(Ordering::Relaxed);
        if present <= life {
            continue;
        }
        match client.request(ping.clone(), Bytes::new()).await.map_err(|error| error.kind()) {
            Ok(_) | Err(RequestErrorKind::NoResponders) => {
                life = present;
                losses.send_modify(|count| *count += 1);
            }
            Err(_) => {}
        }
    }
}

/// Answers this node's own pings.
async fn answer(client: Client, mut pings: Subscriber) {
    while let Some(ping) = pings.next().await {
        if let Some(reply) = ping.reply {
            let _ = client.publish(reply, Bytes::new()).await;
        }
    }
}

/// Why the server did not do something.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// There is no connection; nothing was sent.
    Down,
    /// The queue to the server is full; nothing was sent.
    Busy,
    /// Nobody listens there; nothing was done.
    Nobody,
    /// No answer came: it may have been done, or may yet be.
    Unanswered,
    /// It is larger than this many bytes; nothing was sent.
    Large(usize),
    /// What the client library or the server says.
    Broken(Arc<str>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => write!(f, "no NATS server is connected"),
            Self::Busy => write!(f, "the queue to the NATS server is full"),
            Self::Nobody => write!(f, "nobody answers at the NATS server"),
            Self::Unanswered => write!(f, "the NATS server did not answer within {:?}", Link::PATIENCE),
            Self::Large(limit) => write!(f, "it exceeds the {limit} bytes that the NATS server takes (max_payload)"),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

impl From<Failure> for BusError {
    fn from(failure: Failure) -> Self {
        Self(failure.to_string().into())
    }
}

impl From<Failure> for LogError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.to_string().into())
    }
}

/// A task that ends with its owner.
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
