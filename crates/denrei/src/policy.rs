//! May this identity do this?

mod patterns;
mod webhook;

use denrei_hub::RoomName;
use denrei_proto::codes::Code;
use futures_util::future::BoxFuture;

pub(crate) use patterns::fits;
pub use patterns::{PatternPolicy, Rule, Who};
pub use webhook::{OnFailure, Webhook};

use crate::identity::Identity;
use crate::refusal::Refusal;
use crate::socketio::{Share, shared_room};

/// Something that a client asks to do.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Read a room: join it, stream it, poll it.
    Read(&'a RoomName),
    /// Publish an event to a room.
    Publish(&'a RoomName, &'a str),
    /// Do something in a chat room, of this log, by a method such as `chat.kick`. To send a message is to publish the event
    /// `message`, and to receive what is new is to read.
    Chat(&'a RoomName, &'static str),
}

impl<'a> Action<'a> {
    /// The room that it is about.
    pub fn room(self) -> &'a RoomName {
        match self {
            Self::Read(room) | Self::Publish(room, _) | Self::Chat(room, _) => room,
        }
    }

    /// Whether it only reads, or is what readers do.
    pub fn reads(self) -> bool {
        const READING: [&str; 11] = [
            "chat.room",
            "chat.join",
            "chat.leave",
            "chat.members",
            "chat.bans",
            "chat.history",
            "chat.message",
            "chat.receipts",
            "chat.markRead",
            "chat.markDelivered",
            "chat.markUnread",
        ];
        match self {
            Self::Read(_) => true,
            Self::Publish(..) => false,
            Self::Chat(_, method) => READING.contains(&method),
        }
    }
}

/// Decides what clients may do. Applications bring their own, on top of the house's rules, which always hold.
///
/// ```
/// use denrei::{Action, Decision, Identity, Policy};
///
/// struct ReadOnly;
///
/// impl Policy for ReadOnly {
///     fn allow(&self, identity: &Identity, action: Action<'_>) -> Decision {
///         match action {
///             Action::Publish(..) if !identity.has_role("writer") => Decision::forbidden("only writers publish here"),
///             _ => Decision::allowed(),
///         }
///     }
/// }
/// ```
pub trait Policy: Send + Sync + 'static {
    /// Allows an action or says why not; the refusal is given to the client. What has to be looked up is decided
    /// [later](Decision::Later): the client waits, and nobody else.
    fn allow(&self, identity: &Identity, action: Action<'_>) -> Decision;
}

/// What a [`Policy`] says.
#[must_use]
pub enum Decision {
    /// It is known.
    Now(Result<(), Refusal>),
    /// It has to be looked up. There is no limit of time but the future's own.
    Later(BoxFuture<'static, Result<(), Refusal>>),
}

impl Decision {
    /// Yes.
    pub fn allowed() -> Self {
        Self::Now(Ok(()))
    }

    /// No, with a sentence for the client.
    pub fn forbidden(sentence: impl Into<String>) -> Self {
        Self::Now(Err(Refusal::new(Code::Forbidden, sentence)))
    }

    /// Waits for it.
    pub(crate) async fn made(self) -> Result<(), Refusal> {
        match self {
            Self::Now(decision) => decision,
            Self::Later(decision) => decision.await,
        }
    }
}

/// Allows everything that the house's rules allow.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenPolicy;

impl Policy for OpenPolicy {
    fn allow(&self, _: &Identity, _: Action<'_>) -> Decision {
        Decision::allowed()
    }
}

/// The rules of the house, then the application's.
///
/// A user's own rooms, `user:ID` and `inbox:ID`, can be read by that user only. Rooms of the services (`inbox`, `doc`, and
/// `user`) are written by the server only, and `chat` takes messages only. Of the rooms of Socket.IO's namespaces, `sio`,
/// those can be read and written that the application shares; the same rules hold for their names in the namespace. What is
/// in `sys` and `emits` is the server's.
pub(crate) fn check(
    policy: &dyn Policy,
    shared: impl FnOnce(&str) -> Share,
    identity: &Identity,
    action: Action<'_>,
) -> Decision {
    match house(shared, identity, action) {
        Ok(()) => policy.allow(identity, action),
        refused => Decision::Now(refused),
    }
}

fn house(shared: impl FnOnce(&str) -> Share, identity: &Identity, action: Action<'_>) -> Result<(), Refusal> {
    let room = action.room();
    let (share, name) = match shared_room(room) {
        Some((namespace, room)) => (shared(namespace), room.unwrap_or_default()),
        None => (Share::Publish, room.as_str()),
    };
    match action {
        _ if share == Share::Nothing => Err(Refusal::new(Code::Forbidden, "this room is internal")),
        Action::Read(_) => read(identity, name),
        Action::Publish(..) if share == Share::Read => {
            Err(Refusal::new(Code::Forbidden, "this room is written by its namespace only"))
        }
        Action::Publish(_, event) => publish(name, event),
        // The room's own rules hold, in the transaction that does it.
        Action::Chat(..) => Ok(()),
    }
}

/// Whether an event may be published to a room by somebody whose word is as good as the application's.
pub(crate) fn publishable(room: &RoomName, event: &str) -> Result<(), Refusal> {
    match shared_room(room) {
        Some(_) => Err(Refusal::new(Code::Forbidden, "this room is a namespace's")),
        None => publish(room.as_str(), event),
    }
}

fn read(identity: &Identity, room: &str) -> Result<(), Refusal> {
    let own = |owner: &str| identity.user.as_ref().is_some_and(|user| user.as_str() == owner);
    match room.split_once(':') {
        Some(("user" | "inbox", owner)) if !own(owner) => {
            Err(Refusal::new(Code::Forbidden, "this room belongs to another user"))
        }
        Some(("sys" | "emits", _)) => Err(Refusal::new(Code::Forbidden, "this room is internal")),
        _ => Ok(()),
    }
}

fn publish(room: &str, event: &str) -> Result<(), Refusal> {
    const OURS: [&str; 6] = ["connected", "gap", "error", "open", "expiring", "unauthorized"];
    // As in Node: clients make something of these themselves.
    const CLIENTS: [&str; 6] =
        ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
    if OURS.contains(&event) || CLIENTS.contains(&event) || event.starts_with("server:") {
        return Err(Refusal::new(Code::ReservedEvent, format!("the event name {event} is the server's own")));
    }
    match room.split_once(':') {
        Some((class @ ("user" | "inbox" | "doc" | "sys" | "emits"), _)) => {
            Err(Refusal::new(Code::Forbidden, format!("rooms of class {class} are written by the server only")))
        }
        Some(("chat", _)) if event != "message" => {
            Err(Refusal::new(Code::Forbidden, "only the event message can be published to a chat room"))
        }
        _ => Ok(()),
    }
}
