//! What sockets, rooms, namespaces and events are called.

use std::fmt;
use std::sync::Arc;

use denrei_hub::{InvalidName, Name, RoomName, random_token};
use serde::{Deserialize, Serialize};

/// The public id of a socket: 20 random characters, another one in each namespace. It is no credential.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketId(Arc<str>);

impl SocketId {
    /// Node's clusters tell a socket's room from others by this length.
    pub(crate) const LENGTH: usize = 20;

    pub(crate) fn random() -> Self {
        Self(random_token(Self::LENGTH).into())
    }

    /// That of a client whose server does not say which it is.
    pub(crate) fn unnamed() -> Self {
        Self("".into())
    }

    /// As another server says it.
    pub(crate) fn of(id: &str) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl AsRef<str> for SocketId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for SocketId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The secret with which a client comes back to its session. Shown to nobody else.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Pid(Arc<str>);

impl Pid {
    pub(crate) fn random() -> Self {
        Self(random_token(24).into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pid(…)")
    }
}

impl std::borrow::Borrow<str> for Pid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// One name or several: `"a"`, `["a", "b"]`, a `Vec`, the id of a socket.
pub trait Rooms: sealed::Sealed {
    #[doc(hidden)]
    fn each(self, visit: &mut dyn FnMut(&str));
}

macro_rules! one {
    ($($one:ty),*) => {
        $(impl Rooms for $one {
            fn each(self, visit: &mut dyn FnMut(&str)) {
                visit(self.as_ref());
            }
        })*
    };
}

macro_rules! several {
    ($($several:ty $(, $size:ident)?;)*) => {
        $(impl<T: AsRef<str> $(, const $size: usize)?> Rooms for $several {
            fn each(self, visit: &mut dyn FnMut(&str)) {
                for name in self {
                    visit(name.as_ref());
                }
            }
        })*
    };
}

one!(&str, &String, String, Arc<str>, &Arc<str>, SocketId, &SocketId);
several! {
    [T; N], N;
    &[T; N], N;
    &[T];
    Vec<T>;
    &Vec<T>;
}

mod sealed {
    use std::sync::Arc;

    use super::SocketId;

    pub trait Sealed {}

    macro_rules! sealed {
        ($($one:ty),*) => { $(impl Sealed for $one {})* };
    }
    sealed!(&str, &String, String, Arc<str>, &Arc<str>, SocketId, &SocketId);
    impl<T: AsRef<str>, const N: usize> Sealed for [T; N] {}
    impl<T: AsRef<str>, const N: usize> Sealed for &[T; N] {}
    impl<T: AsRef<str>> Sealed for &[T] {}
    impl<T: AsRef<str>> Sealed for Vec<T> {}
    impl<T: AsRef<str>> Sealed for &Vec<T> {}
}

/// The rooms of a namespace among those of the hub: `sio:/chat` is everybody in it, `sio:/chat:news` its room `news`.
/// They keep no log.
#[derive(Clone, Debug)]
pub(crate) struct HubRooms {
    all: RoomName,
}

impl HubRooms {
    pub(crate) fn of(namespace: &str) -> Result<Self, InvalidNamespace> {
        let invalid = |reason| InvalidNamespace { name: namespace.into(), reason };
        if !namespace.starts_with('/') {
            return Err(invalid("it begins with a slash"));
        }
        if namespace.contains(':') {
            return Err(invalid("it has no colon"));
        }
        if namespace.len() > LONGEST_NAMESPACE {
            return Err(invalid("it has at most 128 bytes"));
        }
        let all = RoomName::parse(&format!("sio:{namespace}"));
        Ok(Self { all: all.map_err(|_| invalid("it has no control characters"))? })
    }

    /// Everybody.
    pub(crate) fn all(&self) -> &RoomName {
        &self.all
    }

    pub(crate) fn room(&self, room: &str) -> Result<RoomName, InvalidName> {
        if room.is_empty() {
            return Err(InvalidName::Empty);
        }
        RoomName::parse(&format!("{}:{room}", self.all))
    }

    /// The name of a room as the application knows it.
    pub(crate) fn short<'a>(&self, room: &'a RoomName) -> &'a str {
        room.as_str().get(self.all.as_str().len() + 1..).unwrap_or_default()
    }
}

/// Rooms must have names too, and together they are names of the hub.
const LONGEST_NAMESPACE: usize = 128;

/// Why a namespace cannot have this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name of a namespace: {reason}")]
pub struct InvalidNamespace {
    name: Box<str>,
    reason: &'static str,
}

impl InvalidNamespace {
    pub(crate) fn new(name: &str, reason: &'static str) -> Self {
        Self { name: name.into(), reason }
    }
}

/// The name of an event that the application emits.
pub(crate) fn event_name(name: &str) -> Result<Name, EventNameError> {
    if RESERVED.contains(&name) {
        return Err(EventNameError::Reserved);
    }
    Name::parse(name).map_err(EventNameError::Invalid)
}

/// Names that mean something to clients themselves.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Why an event cannot have a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EventNameError {
    Reserved,
    Invalid(InvalidName),
}
