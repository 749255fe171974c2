//! Names and numbers: what a room is called and where in it one is.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A validated name of a room, a user or an event: 1 to 255 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in bytes.
    pub const LONGEST: usize = 255;

    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it, fit to be shown to the client.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > Self::LONGEST {
            return Err(InvalidName::Long { bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidName::Control);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        (*name.0).into()
    }
}

/// The name of a room. The part before its first `:` chooses its class.
pub type RoomName = Name;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The name has no characters.
    #[error("a name has at least 1 byte")]
    Empty,
    /// The name is longer than [`Name::LONGEST`].
    #[error("a name of {bytes} bytes exceeds the limit of 255")]
    Long {
        /// How long it is.
        bytes: usize,
    },
    /// The name holds a control character: a newline would break an SSE field, a NUL a Postgres text.
    #[error("a name has no control characters")]
    Control,
}

/// The id of a connection, as its clients see it (`clientId`, `from`).
pub type ClientId = Arc<str>;

/// The number of a message in its room: 1, 2, 3 … without holes. 0 means "before the first", or unnumbered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first message.
    pub const ZERO: Self = Self(0);

    /// The highest number a client may name: JavaScript's numbers are exact up to 2^53 - 1.
    pub const LAST: Self = Self((1 << 53) - 1);

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which life of the log a number belongs to: a number alone lies after data was lost.
///
/// One per database for stored rooms, one per creation of a memory room. A random string without a colon.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// The epoch of rooms that keep no log; their messages have number 0.
    pub fn none() -> Self {
        Self("none".into())
    }

    /// A new one, unlike any other.
    pub fn random() -> Self {
        Self(random_token(10).into())
    }

    /// Takes text as an epoch.
    ///
    /// # Errors
    /// [`InvalidPosition`] when it is empty, longer than 64 bytes, or holds other than letters, digits, `-` and `_`.
    pub fn parse(text: &str) -> Result<Self, InvalidPosition> {
        let fits = !text.is_empty() && text.len() <= 64;
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPosition)
        }
    }

    /// The epoch as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in a room, written `EPOCH:SEQ`: everything up to and including `seq` has been seen.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The life of the log.
    pub epoch: Epoch,
    /// The last number seen in it.
    pub seq: Seq,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, seq) = text.split_once(':').ok_or(InvalidPosition)?;
        let digits = !seq.is_empty() && seq.bytes().all(|b| b.is_ascii_digit());
        let seq = seq.parse().ok().filter(|&seq| digits && Seq(seq) <= Seq::LAST).ok_or(InvalidPosition)?;
        Ok(Self { epoch: Epoch::parse(epoch)?, seq: Seq(seq) })
    }
}

/// A text is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is written EPOCH:SEQ, as the server gave it")]
pub struct InvalidPosition;

/// Makes a random text of letters, digits, `-` and `_`, with 6 bits in each character.
///
/// # Panics
/// When the operating system gives no randomness: nothing that needs an id could go on safely.
pub fn random_token(characters: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; 64];
    let bytes = &mut bytes[..characters];
    POOL.with_borrow_mut(|pool| pool.fill(bytes));
    bytes.iter().map(|byte| ALPHABET[usize::from(byte & 63)] as char).collect()
}

/// Makes a random number.
///
/// # Panics
/// As [`random_token`].
pub fn random_number() -> u64 {
    let mut bytes = [0; 8];
    POOL.with_borrow_mut(|pool| pool.fill(&mut bytes));
    u64::from_le_bytes(bytes)
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; 1024], left: 0 }) };
}

/// Randomness of the operating system, fetched for many ids at once: asking for each costs a handshake 5 % of its time.
struct Pool {
    bytes: [u8; 1024],
    left: usize,
}

impl Pool {
    fn fill(&mut self, bytes: &mut [u8]) {
        if self.left < bytes.len() {
            getrandom::fill(&mut self.bytes).expect("the operating system gives randomness");
            self.left = self.bytes.len();
        }
        let given = &mut self.bytes[self.left - bytes.len()..self.left];
        bytes.copy_from_slice(given);
        // What was given away is not kept: some ids are secrets.
        given.fill(0);
        self.left -= bytes.len();
    }
}
