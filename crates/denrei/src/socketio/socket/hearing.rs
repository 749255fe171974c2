//! What an application registers for one socket.

use std::future::Future;
use std::sync::Arc;

use crate::socketio::listeners::{self, Handler};
use crate::socketio::{Ack, Args, Failure, FromArgs, Listener, Outcome, Reason, Socket, lock};

impl Socket {
    /// Runs a handler for each event of this name, after those that were registered before.
    ///
    /// The handler takes the socket, a value, and the client's callback. The value takes all arguments of the event if
    /// it is a tuple, and else the first. What is too much is ignored; an event without what is asked for is answered
    /// with an error. If the handler returns an error, the client is told: see [`Failure`].
    ///
    /// ```
    /// use denrei::socketio::Socket;
    /// use serde::Deserialize;
    /// use serde_json::json;
    ///
    /// #[derive(Deserialize)]
    /// struct Order {
    ///     item: String,
    ///     count: u32,
    /// }
    ///
    /// fn register(socket: &Socket) {
    ///     socket.on("createOrder", async |socket, order: Order, ack| {
    ///         if order.count == 0 {
    ///             return Err("an order has a count".into());
    ///         }
    ///         socket.broadcast().emit("ordered", &order.item)?;
    ///         ack.send(&json!({"status": "ok"}));
    ///         Ok(())
    ///     });
    ///     socket.on("typing", async |socket, (room, on): (String, bool), _| {
    ///         let _ = socket.to(room).emit("typing", &(socket.id(), on));
    ///     });
    /// }
    /// ```
    ///
    /// A handler that uses something from around it takes a clone into each call, because a call may outlive the next:
    ///
    /// ```
    /// # use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
    /// # use denrei::socketio::Socket;
    /// # fn register(socket: &Socket) {
    /// let seen = Arc::new(AtomicU32::new(0));
    /// socket.on("seen", move |_, message: u64, ack| {
    ///     let seen = Arc::clone(&seen);
    ///     async move { ack.send(&(message, seen.fetch_add(1, Ordering::Relaxed))) }
    /// });
    /// # }
    /// ```
    ///
    /// What all handlers use is easier had with [`Socket::state`].
    pub fn on<T, F, Fut>(&self, event: &str, handler: F) -> Listener
    where
        F: Fn(Self, T, Ack) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
        T: FromArgs,
    {
        self.register(Handler::Event(event.into(), listeners::event(handler)), false)
    }

    /// The same, for the next such event only.
    pub fn once<T, F, Fut>(&self, event: &str, handler: F) -> Listener
    where
        F: Fn(Self, T, Ack) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
        T: FromArgs,
    {
        self.register(Handler::Event(event.into(), listeners::event(handler)), true)
    }

    /// Runs a handler for every event, before its middlewares and listeners.
    pub fn on_any<F, Fut>(&self, handler: F) -> Listener
    where
        F: Fn(Self, String, Args) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.register(Handler::Any(listeners::any(handler)), false)
    }

    /// Calls a function with every event that is sent to the socket. It must be quick: who emits waits for it.
    pub fn on_any_outgoing(&self, handler: impl Fn(&Self, &str, &Args) + Send + Sync + 'static) -> Listener {
        let mut listeners = lock(&self.0.listeners);
        let list = listeners.get_or_insert_default();
        if !list.has_outgoing() {
            self.0.namespace.hear_outgoing(1);
        }
        list.add(Handler::Outgoing(Arc::new(handler)), false)
    }

    /// Runs a handler when a handler or a middleware of an event has failed.
    pub fn on_error<F, Fut>(&self, handler: F) -> Listener
    where
        F: Fn(Self, Failure) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.register(Handler::Error(listeners::error(handler)), false)
    }

    /// Runs a handler when the socket has left, while [`Socket::rooms`] still tells where it was.
    pub fn on_disconnecting<F, Fut>(&self, handler: F) -> Listener
    where
        F: Fn(Self, Reason) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.register(Handler::Disconnecting(listeners::reason(handler)), false)
    }

    /// Runs a handler when the socket has left. It is the last that runs.
    pub fn on_disconnect<F, Fut>(&self, handler: F) -> Listener
    where
        F: Fn(Self, Reason) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.register(Handler::Disconnect(listeners::reason(handler)), false)
    }

    /// Takes off what was registered on this socket.
    pub fn off(&self, listener: Listener) {
        let mut listeners = lock(&self.0.listeners);
        let Some(list) = &mut *listeners else { return };
        let heard = list.has_outgoing();
        list.remove(listener);
        if heard && !list.has_outgoing() {
            self.0.namespace.hear_outgoing(-1);
        }
    }

    /// Takes off all listeners of an event that were registered on this socket.
    pub fn off_event(&self, event: &str) {
        if let Some(list) = &mut *lock(&self.0.listeners) {
            list.remove_event(event);
        }
    }

    fn register(&self, handler: Handler, once: bool) -> Listener {
        lock(&self.0.listeners).get_or_insert_default().add(handler, once)
    }
}
