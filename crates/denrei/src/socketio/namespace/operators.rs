//! How chains of operators begin.

use std::time::Duration;

use crate::socketio::{Answer, Answers, Broadcast, EmitError, Fetched, FromArgs, Io, Namespace, Rooms, ToArgs};

/// The operators of [`Broadcast`], to begin with.
macro_rules! operators {
    ($owner:ty) => {
        impl $owner {
            /// Those in these rooms, or with these ids.
            pub fn to(&self, rooms: impl Rooms) -> Broadcast {
                self.broadcast().to(rooms)
            }

            /// The same as `to`.
            pub fn in_(&self, rooms: impl Rooms) -> Broadcast {
                self.broadcast().to(rooms)
            }

            /// Everybody but those in these rooms.
            pub fn except(&self, rooms: impl Rooms) -> Broadcast {
                self.broadcast().except(rooms)
            }

            /// Everybody on this node.
            pub fn local(&self) -> Broadcast {
                self.broadcast().local()
            }

            /// Everybody who can be written to at this moment.
            pub fn volatile(&self) -> Broadcast {
                self.broadcast().volatile()
            }

            /// Whether the next emit may be compressed on its way; default true.
            pub fn compress(&self, compress: bool) -> Broadcast {
                self.broadcast().compress(compress)
            }

            /// How long the next emit waits for answers; default 5 s.
            pub fn timeout(&self, timeout: Duration) -> Broadcast {
                self.broadcast().timeout(timeout)
            }

            /// Sends everybody an event; see [`Broadcast::emit`].
            ///
            /// # Errors
            /// The event cannot have this name, or the arguments have no form in JSON.
            pub fn emit(&self, event: &str, value: &(impl ToArgs + ?Sized)) -> Result<(), EmitError> {
                self.broadcast().emit(event, value)
            }

            /// Sends everybody an event and gathers what they answer; see [`Broadcast::emit_with_ack`].
            pub fn emit_with_ack<T: FromArgs>(
                &self,
                event: &str,
                value: &(impl ToArgs + ?Sized),
            ) -> Answer<Result<Answers<T>, EmitError>> {
                self.broadcast().emit_with_ack(event, value)
            }

            /// All sockets, of all nodes.
            pub async fn fetch_sockets(&self) -> Fetched {
                self.broadcast().fetch_sockets().await
            }

            /// Has all sockets join rooms.
            pub fn sockets_join(&self, rooms: impl Rooms) {
                self.broadcast().sockets_join(rooms);
            }

            /// Has all sockets leave rooms.
            pub fn sockets_leave(&self, rooms: impl Rooms) {
                self.broadcast().sockets_leave(rooms);
            }

            /// Takes everybody out of the namespace, or (`close`) ends their connections.
            pub fn disconnect_sockets(&self, close: bool) {
                self.broadcast().disconnect_sockets(close);
            }
        }
    };
}

operators!(Namespace);
operators!(Io);
