//! What a socket has still to run: its events in order, apart from the reading of its connection.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Mutex;
use std::task::{Context, Waker};

use crate::socketio::listeners::{Handler, contained};
use crate::socketio::{Ack, Args, Failure, Reason, Socket, lock};

/// An event that finds nothing before it is run at once, by the connection's task. What waits for something goes on in a
/// task, one for each queue, that exists only while there is something to run.
#[derive(Debug)]
pub(crate) struct Queue(Mutex<Jobs>);

#[derive(Debug)]
struct Jobs {
    list: VecDeque<Job>,
    /// About how many bytes the events hold.
    weight: usize,
    /// A job is being run, or will be soon.
    running: bool,
    /// The connection was told to read no further.
    pressed: bool,
}

#[derive(Debug)]
enum Job {
    Connect,
    Event { id: Option<u64>, name: Box<str>, args: Args },
    Disconnecting(Reason),
    Disconnect(Reason),
}

impl Job {
    fn weight(&self) -> usize {
        match self {
            Self::Event { name, args, .. } => {
                name.len() + args.json().len() + args.attachments().iter().map(bytes::Bytes::len).sum::<usize>()
            }
            Self::Connect | Self::Disconnecting(_) | Self::Disconnect(_) => 0,
        }
    }
}

impl Queue {
    /// Events of one client that may wait before it is read no further.
    const EVENTS: usize = 256;
    /// The same in bytes.
    const BYTES: usize = 1 << 20;
    /// How many times as much may wait while a handler waits for an answer of the client.
    const PATIENCE: usize = 4;

    /// A queue that gathers until [`Queue::begin`].
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Jobs { list: VecDeque::new(), weight: 0, running: true, pressed: false }))
    }

    /// The socket is connected: its connect handlers come first.
    pub(crate) fn begin(&self, socket: &Socket) {
        lock(&self.0).list.push_front(Job::Connect);
        socket.runtime().spawn(run(socket.clone(), None));
    }

    /// Whether so many wait that the client is to be read no further. The answer that a handler waits for may come
    /// behind them: then it is read for longer.
    pub(crate) fn is_full(&self, is_asking: impl FnOnce() -> bool) -> bool {
        let jobs = lock(&self.0);
        let is_far_too_full =
            || jobs.list.len() >= Self::EVENTS * Self::PATIENCE || jobs.weight >= Self::BYTES * Self::PATIENCE;
        jobs.pressed && (is_far_too_full() || !is_asking())
    }

    /// Whether the connection was told to read no further.
    pub(crate) fn is_pressed(&self) -> bool {
        lock(&self.0).pressed
    }

    /// Adds an event. False, once until it is relieved: enough of them wait. For the connection's task.
    pub(crate) fn event(&self, socket: &Socket, id: Option<u64>, name: &str, args: Args) -> bool {
        let job = Job::Event { id, name: name.into(), args };
        let mut jobs = lock(&self.0);
        if !std::mem::replace(&mut jobs.running, true) {
            drop(jobs);
            run_at_once(socket, job);
            return true;
        }
        jobs.weight += job.weight();
        jobs.list.push_back(job);
        let full = jobs.list.len() >= Self::EVENTS || jobs.weight >= Self::BYTES;
        !full || std::mem::replace(&mut jobs.pressed, true)
    }

    /// The socket has left: what waits is run first, unless the server has dismissed the client.
    pub(crate) fn end(&self, socket: &Socket, reason: Reason) {
        let mut jobs = lock(&self.0);
        if reason.is_dismissal() {
            jobs.list.retain(|job| !matches!(job, Job::Event { .. }));
            jobs.weight = 0;
            if std::mem::take(&mut jobs.pressed) {
                socket.relieve();
            }
        }
        jobs.list.extend([Job::Disconnecting(reason), Job::Disconnect(reason)]);
        let start = !std::mem::replace(&mut jobs.running, true);
        drop(jobs);
        if start {
            socket.runtime().spawn(run(socket.clone(), None));
        }
    }

    fn next(&self, socket: &Socket) -> Option<Job> {
        let mut jobs = lock(&self.0);
        let Some(job) = jobs.list.pop_front() else {
            jobs.running = false;
            // An idle socket keeps nothing.
            jobs.list = VecDeque::new();
            return None;
        };
        jobs.weight = jobs.weight.saturating_sub(job.weight());
        let relieved = jobs.pressed && jobs.list.len() <= Self::EVENTS / 2 && jobs.weight <= Self::BYTES / 2;
        if relieved {
            jobs.pressed = false;
            drop(jobs);
            socket.relieve();
        }
        Some(job)
    }
}

/// Runs a job as far as it goes without waiting, which is to its end for most: a task would cost more than they do, and
/// what they send would be written one by one. The connection's task holds no lock here, and nothing of the
/// application's is under way.
fn run_at_once(socket: &Socket, job: Job) {
    let mut run = Box::pin(run(socket.clone(), Some(job)));
    // Whoever it waits for may wake nobody: the task looks again when it begins.
    if run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        socket.runtime().spawn(run);
    }
}

async fn run(socket: Socket, first: Option<Job>) {
    let mut first = first;
    while let Some(job) = first.take().or_else(|| socket.queue().next(&socket)) {
        // What handlers emit waits with everything else that is published: see `Hub::relieved`.
        socket.namespace().hub().relieved().await;
        match job {
            Job::Connect => connect(&socket).await,
            Job::Event { id, name, args } => {
                socket.lane().unflooded().await;
                event(&socket, id, &name, args).await;
            }
            Job::Disconnecting(reason) => {
                let disconnecting = socket.listeners(|handler| match handler {
                    Handler::Disconnecting(handler) => Some(handler.clone()),
                    _ => None,
                });
                for handler in disconnecting {
                    socket.report(contained(handler(socket.clone(), reason)).await).await;
                }
            }
            Job::Disconnect(reason) => {
                socket.forget_rooms();
                let disconnect = socket.listeners(|handler| match handler {
                    Handler::Disconnect(handler) => Some(handler.clone()),
                    _ => None,
                });
                for handler in disconnect {
                    socket.report(contained(handler(socket.clone(), reason)).await).await;
                }
                // Handlers may hold the socket that holds them.
                socket.forget_listeners();
                socket.keep_data();
            }
        }
    }
}

async fn connect(socket: &Socket) {
    let connect = socket.listeners(|handler| match handler {
        Handler::Connect(handler) => Some(handler.clone()),
        _ => None,
    });
    for handler in connect {
        if let Err(failure) = contained(handler(socket.clone())).await {
            socket.fail(&failure, &Ack::new(socket, None)).await;
        }
    }
}

/// As in Node: first those who hear everything, then the middlewares, then the listeners.
async fn event(socket: &Socket, id: Option<u64>, name: &str, args: Args) {
    let ack = Ack::new(socket, id);
    let any = socket.listeners(|handler| match handler {
        Handler::Any(handler) => Some(handler.clone()),
        _ => None,
    });
    for handler in any {
        socket.report(contained(handler(socket.clone(), name.into(), args.clone())).await).await;
    }
    for middleware in socket.namespace().event_middlewares() {
        if let Err(failure) = contained(middleware(socket.clone(), name.into(), args.clone())).await {
            return socket.fail(&failure, &ack).await;
        }
    }
    if socket.is_dismissed() {
        return;
    }
    let listeners = socket.listeners(|handler| match handler {
        Handler::Event(event, handler) if **event == *name => Some(handler.clone()),
        _ => None,
    });
    let last = listeners.len().saturating_sub(1);
    let mut args = args;
    for (at, handler) in listeners.into_iter().enumerate() {
        // There is one, mostly: what is not shared needs no counting.
        let args = if at == last { std::mem::take(&mut args) } else { args.clone() };
        if let Err(failure) = contained(handler(socket.clone(), args, ack.again())).await {
            socket.fail(&failure, &ack).await;
        }
    }
}

impl Socket {
    /// Tells the client why an event was not done, once: in the ack if it wants one, else as an event `error`. The
    /// application's error listeners hear it too.
    async fn fail(&self, failure: &Failure, ack: &Ack) {
        if !ack.fail(failure) {
            self.tell_error(failure);
        }
        self.report(Err(failure.clone())).await;
    }

    /// Tells the application of a failure that is none of the client's.
    async fn report(&self, result: Result<(), Failure>) {
        let Err(failure) = result else { return };
        tracing::debug!(socket = %self.id(), error = failure.message(), "a handler failed");
        let errors = self.listeners(|handler| match handler {
            Handler::Error(handler) => Some(handler.clone()),
            _ => None,
        });
        for handler in errors {
            if let Err(failure) = contained(handler(self.clone(), failure.clone())).await {
                tracing::debug!(socket = %self.id(), error = failure.message(), "an error listener failed");
            }
        }
    }
}
