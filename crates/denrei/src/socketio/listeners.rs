//! What an application has registered, for one socket or for all of a namespace.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use crate::socketio::{Ack, Args, ExpiredSession, Failure, FromArgs, Outcome, Reason, Socket, ToArgs};

/// The number of something that was registered, to take it off again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener(u64);

impl Listener {
    fn next() -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Self(NUMBERS.fetch_add(1, Ordering::Relaxed))
    }
}

/// A handler under way.
pub(crate) type Run = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A handler whose argument types are forgotten.
#[derive(Clone)]
pub(crate) enum Handler {
    Connect(Arc<dyn Fn(Socket) -> Run + Send + Sync>),
    Event(Box<str>, OnEvent),
    Any(OnAny),
    Outgoing(OnOutgoing),
    Error(Arc<dyn Fn(Socket, Failure) -> Run + Send + Sync>),
    Disconnecting(OnReason),
    Disconnect(OnReason),
    Expired(Arc<dyn Fn(ExpiredSession) -> Run + Send + Sync>),
    ServerSide(Box<str>, OnServerSide),
}

pub(crate) type OnEvent = Arc<dyn Fn(Socket, Args, Ack) -> Run + Send + Sync>;
pub(crate) type OnAny = Arc<dyn Fn(Socket, String, Args) -> Run + Send + Sync>;
pub(crate) type OnOutgoing = Arc<dyn Fn(&Socket, &str, &Args) + Send + Sync>;
pub(crate) type OnReason = Arc<dyn Fn(Socket, Reason) -> Run + Send + Sync>;

pub(crate) type OnServerSide =
    Arc<dyn Fn(Args) -> Pin<Box<dyn Future<Output = Result<Args, Failure>> + Send>> + Send + Sync>;

/// Makes a handler of one that takes a value.
pub(crate) fn event<T, F, Fut>(handler: F) -> OnEvent
where
    F: Fn(Socket, T, Ack) -> Fut + Send + Sync + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: Outcome,
    T: FromArgs,
{
    let handler = Arc::new(handler);
    Arc::new(move |socket, args, ack| {
        let handler = Arc::clone(&handler);
        Box::pin(async move {
            let value = T::from_args(args)?;
            handler(socket, value, ack).await.into_result()
        })
    })
}

/// Makes a handler of one that takes a value and answers with another.
pub(crate) fn server_side<T, F, Fut>(handler: F) -> OnServerSide
where
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: ToArgs + Send,
    T: FromArgs,
{
    let handler = Arc::new(handler);
    Arc::new(move |args| {
        let handler = Arc::clone(&handler);
        Box::pin(async move {
            let value = T::from_args(args)?;
            Ok(handler(value).await.to_args()?)
        })
    })
}

/// Makes a handler of one that takes what it is given as it is.
macro_rules! plain {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(pub(crate) fn $name<F, Fut>(handler: F) -> Arc<dyn Fn($($type),*) -> Run + Send + Sync>
        where
            F: Fn($($type),*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'static,
            Fut::Output: Outcome,
        {
            let handler = Arc::new(handler);
            Arc::new(move |$($argument),*| {
                let handler = Arc::clone(&handler);
                Box::pin(async move { handler($($argument),*).await.into_result() })
            })
        })*
    };
}

plain! {
    socket(socket: Socket);
    any(socket: Socket, name: String, args: Args);
    error(socket: Socket, failure: Failure);
    reason(socket: Socket, reason: Reason);
    expired(session: ExpiredSession);
}

/// Runs a handler; a panic ends nothing else.
pub(crate) async fn contained<T>(run: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut run = pin!(run);
    poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))).unwrap_or_else(|_| {
            tracing::error!("a handler has panicked");
            Poll::Ready(Err(Failure::new("internal error")))
        })
    })
    .await
}

/// A list, in the order of registration: applications register a few, and most sockets none.
#[derive(Default)]
pub(crate) struct Listeners(Vec<Registered>);

#[derive(Clone)]
struct Registered {
    listener: Listener,
    once: bool,
    handler: Handler,
}

impl Listeners {
    pub(crate) fn add(&mut self, handler: Handler, once: bool) -> Listener {
        let listener = Listener::next();
        self.0.push(Registered { listener, once, handler });
        listener
    }

    /// Takes one off; whether it was there.
    pub(crate) fn remove(&mut self, listener: Listener) -> bool {
        let before = self.0.len();
        self.0.retain(|known| known.listener != listener);
        self.0.len() < before
    }

    /// Takes off all of an event.
    pub(crate) fn remove_event(&mut self, name: &str) {
        self.0.retain(|known| !matches!(&known.handler, Handler::Event(event, _) if **event == *name));
    }

    pub(crate) fn has_outgoing(&self) -> bool {
        self.0.iter().any(|known| matches!(known.handler, Handler::Outgoing(_)))
    }

    /// What `choose` chooses, in the order of registration. Those that are for once are gone then.
    pub(crate) fn take<T>(&mut self, mut choose: impl FnMut(&Handler) -> Option<T>) -> Vec<T> {
        let mut chosen = Vec::new();
        self.0.retain(|known| {
            let Some(handler) = choose(&known.handler) else { return true };
            chosen.push(handler);
            !known.once
        });
        chosen
    }

    /// The same, of a list that has none for once.
    pub(crate) fn choose<T>(&self, choose: impl FnMut(&Handler) -> Option<T>) -> impl Iterator<Item = T> {
        self.0.iter().map(|known| &known.handler).filter_map(choose)
    }
}
