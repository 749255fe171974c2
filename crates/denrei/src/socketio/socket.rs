//! One client in one namespace.

use std::sync::Arc;

use crate::socketio::{Args, Reason};

/// One client in one namespace. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Socket(Arc<()>);

impl Socket {
    /// Takes an event of the client. False: enough of them wait; read no further until
    /// [`Order::Relieved`](super::lane::Order::Relieved).
    pub(crate) fn receive(&self, _id: Option<u64>, _name: &str, _args: Args) -> bool {
        true
    }

    /// Takes the client's answer to an event.
    pub(crate) fn answer(&self, _id: u64, _args: Args) {}

    /// The client has left, or its connection has ended. Further calls do nothing.
    pub(crate) fn leave(&self, _reason: Reason) {}
}
