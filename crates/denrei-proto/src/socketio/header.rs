//! The text before the JSON: `<kind>[<attachments>-][<namespace>,][<id>]`.

use thiserror::Error;

/// What a packet is for. Whether attachments follow is told apart from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `0`: joins a namespace, or says that it was joined.
    Connect,
    /// `1`: leaves a namespace. There is no answer.
    Disconnect,
    /// `2`, or `5` with attachments.
    Event,
    /// `3`, or `6` with attachments: answers an event that had an id.
    Ack,
    /// `4`: a namespace could not be joined. From the server only.
    ConnectError,
}

/// The parts of a packet's text, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The first digit.
    pub kind: Kind,
    /// How many binary messages follow.
    pub attachments: u32,
    /// Begins with a slash; `/` where the packet names none. A query is kept.
    pub namespace: &'a str,
    /// At most 2^53-1.
    pub id: Option<u64>,
    /// What follows, empty or beginning with `[`, `{` or `"`. It may still turn out not to be JSON.
    pub data: &'a str,
}

/// Why a packet was not understood. The connection closes: what comes after cannot be trusted to be in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The first byte is none of `0` to `6`.
    #[error("packet has no known type")]
    UnknownKind,
    /// `5` or `6` without a count, or with one that is not above 0 (CVE-2026-69185).
    #[error("attachment count is not a number above 0")]
    AttachmentCount,
    /// More attachments than the limit (CVE-2026-33151).
    #[error("packet exceeds the limit of {limit} attachments")]
    TooManyAttachments {
        /// In binary messages.
        limit: u32,
    },
    /// The attachments of a packet are too big together.
    #[error("attachments exceed the limit of {limit} bytes")]
    AttachmentsTooBig {
        /// In bytes.
        limit: usize,
    },
    /// A namespace that is too long, or in msgpack none at all.
    #[error("namespace is missing or exceeds the limit of {limit} bytes")]
    Namespace {
        /// In bytes.
        limit: usize,
    },
    /// An id above 2^53-1, or in msgpack one that is no integer.
    #[error("id is not an integer of at most 2^53-1")]
    Id,
    /// What follows is not the JSON that the kind of packet carries.
    #[error("payload does not fit the packet")]
    Payload,
    /// An event's name is no string or number, too long, or reserved.
    #[error("event has no name, or one that is reserved")]
    EventName,
    /// JSON or msgpack inside itself too many times.
    #[error("payload exceeds the limit of {limit} levels")]
    TooDeep {
        /// In arrays and objects.
        limit: usize,
    },
    /// A placeholder's number is none of an attachment (CVE-2022-2421), or there are more placeholders than attachments.
    #[error("placeholder refers to no attachment, or there are too many")]
    Placeholder,
    /// A text message while attachments are missing.
    #[error("text while attachments are missing")]
    TextAmongAttachments,
    /// A binary message that no packet announced.
    #[error("binary message without a packet before it")]
    UnexpectedBinary,
    /// A text message from a client whose packets are binary.
    #[error("text from a client that speaks msgpack")]
    UnexpectedText,
    /// Bytes that are not msgpack, or a type that JSON has no form for.
    #[error("packet is not valid msgpack")]
    Msgpack,
}

impl<'a> Header<'a> {
    /// Reads the front of a text message.
    ///
    /// # Errors
    ///
    /// See [`Malformed`]. Time is constant but for the length of the namespace: digits beyond any limit are not read
    /// (CVE-2020-36049).
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let (kind, binary) = match text.as_bytes().first() {
            Some(b'0') => (Kind::Connect, false),
            Some(b'1') => (Kind::Disconnect, false),
            Some(b'2') => (Kind::Event, false),
            Some(b'3') => (Kind::Ack, false),
            Some(b'4') => (Kind::ConnectError, false),
            Some(b'5') => (Kind::Event, true),
            Some(b'6') => (Kind::Ack, true),
            _ => return Err(Malformed::UnknownKind),
        };
        // The first byte is ASCII, and so are all that are cut off below.
        let mut rest = &text[1..];
        let mut attachments = 0;
        if binary {
            let count;
            (count, rest) = number(rest, LONGEST_COUNT).ok_or(Malformed::AttachmentCount)?;
            rest = rest.strip_prefix('-').ok_or(Malformed::AttachmentCount)?;
            let count = count.and_then(|count| u32::try_from(count).ok()).filter(|&count| count > 0);
            attachments = count.ok_or(Malformed::AttachmentCount)?;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            // Without a comma the namespace goes to the end: `40/random`.
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let (id, data) = number(rest, LONGEST_ID).ok_or(Malformed::Id)?;
        if id.is_some_and(|id| id > MAX_ID) {
            return Err(Malformed::Id);
        }
        if !matches!(data.as_bytes().first(), None | Some(b'[' | b'{' | b'"')) {
            return Err(Malformed::Payload);
        }
        Ok(Header { kind, attachments, namespace, id, data })
    }
}

/// What JavaScript counts without loss.
pub(super) const MAX_ID: u64 = (1 << 53) - 1;
const LONGEST_ID: usize = 16;
const LONGEST_COUNT: usize = 9;

/// Takes digits off the front, if there are any; more than `longest` are an error.
fn number(text: &str, longest: usize) -> Option<(Option<u64>, &str)> {
    let digits = text.bytes().take(longest + 1).take_while(u8::is_ascii_digit).count();
    if digits > longest {
        return None;
    }
    let (digits, rest) = text.split_at(digits);
    Some((digits.parse().ok(), rest))
}
