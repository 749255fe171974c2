//! One record as it is told: to other nodes, to programs, and to people.

use std::borrow::Cow;
use std::fmt;

use denrei_hub::{Name, Position, Record};
use serde::{Deserialize, Serialize};

use crate::wires;

type Word = Cow<'static, str>;

/// One record of one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    pub(crate) time: u64,
    pub(crate) node: Name,
    pub(super) number: u64,
    pub(super) step: Word,
    outcome: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) room: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seq: Option<u64>,
    /// Of several messages, the last one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Name>,
    /// The publisher's own id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Bytes that waited in the connection's queue before these.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u64>,
    /// Of the connection's close.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

impl Line {
    pub(super) fn of(node: &Name, record: &Record) -> Self {
        let owned = |text: &str| Word::Owned(text.to_owned());
        let (epoch, seq) = match &record.place {
            Some(Position { epoch, seq }) => (Some(owned(epoch.as_str())), Some(seq.0)),
            None => (None, None),
        };
        Self {
            time: record.time,
            node: node.clone(),
            number: record.number,
            step: record.step.as_str().into(),
            outcome: record.outcome.as_str().into(),
            reason: record.reason.map(Into::into),
            room: record.room.clone(),
            epoch,
            seq,
            to_seq: record.to.map(|seq| seq.0),
            count: record.count,
            event: record.event.clone(),
            message_id: record.id.clone(),
            client_id: record.client.as_deref().map(owned),
            user_id: record.user.clone(),
            connection: record.connection,
            transport: record.wire.map(|wire| wires::transport(wire).into()),
            bytes: record.bytes,
            waiting: record.waiting,
            code: record.code,
        }
    }

    /// About how many bytes it has as JSON.
    pub(super) fn length(&self) -> usize {
        let names = [&self.room, &self.event, &self.message_id, &self.user_id];
        let names: usize = names.iter().filter_map(|name| name.as_ref()).map(|name| name.as_str().len()).sum();
        // As escaped as they may be: each character of a name, `"` and `\` at worst, takes two.
        300 + self.node.as_str().len() + 2 * names
    }

    /// What happened, as a sentence; what stands in the fields is added.
    fn sentence(&self) -> &'static str {
        match (&*self.step, &*self.outcome) {
            ("user", "absent") => "the user has no connection on this node",
            ("user", _) => "the user has connections on this node",
            ("publish", "accepted") => "is published",
            ("publish", "duplicate") => "was published before under the same id, and is not again",
            ("publish", _) => "is refused to be published",
            ("number", _) => "has its number",
            ("bus", "told") => "is told to other nodes",
            ("bus", _) => "is heard from another node",
            ("order", "next") => "is the next one: it goes to the readers of this node",
            ("order", "seen") => "came again, and was handed out before",
            ("order", "held") => "is early: held until what is missing has been read from the log",
            ("order", "dropped") => "is early, and too many are: it will be read from the log",
            ("order", "stranger") => "is of another life of the log, which is read",
            ("order", "jumped") => "the room goes on here, after a hole: its readers read the log",
            ("order", _) => "nobody reads the room on this node",
            ("scatter", _) => "is sent to rooms and connections",
            ("deliver", "written") => "the socket has taken it",
            ("deliver", "queued") => "waits in the connection's queue",
            ("deliver", "fell_behind") => "does not fit into the connection's queue: the reader will read the log",
            ("deliver", "overflow") => "does not fit into the connection's queue, and no log has it",
            ("deliver", _) => match self.reason.as_deref() {
                Some("own") => "is not told to who has sent it",
                Some("joining") => "is not told to a reader that has not been answered yet",
                Some("reads_the_log") => "is not told to a reader that reads the log by itself",
                Some("given_before") => "is not told to a reader that has it",
                Some("volatile") => "is dropped, as it would have to wait",
                Some("connection_ended") => "is not told to a connection that has ended",
                _ => "is not told to this reader",
            },
            ("page", "began") => "begins to read the log after this place",
            ("page", "read") => "has read from the log",
            ("page", "gap") => "was told that these are no longer kept",
            ("page", _) => "is written to from this place on",
            ("reader", "there") => "is a reader of the room",
            ("reader", "began") => "has joined the room",
            ("reader", "left") => "has left the room",
            ("reader", "expelled") => "may not read the room any more",
            ("reader", _) => "may not join the room",
            ("session", "there") => "is connected",
            ("session", "identified") => "is connected as this user",
            ("session", "closing") => "is being closed",
            ("session", _) => "is gone",
            ("direct", "absent") => "is not connected to this node",
            ("direct", "overflow") => "a direct message does not fit into the connection's queue",
            ("direct", _) => "a direct message goes to the connection",
            _ => "",
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_day = self.time % 86_400_000;
        let (hours, minutes) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let (seconds, millis) = (of_day / 1000 % 60, of_day % 1000);
        write!(f, "{hours:02}:{minutes:02}:{seconds:02}.{millis:03} {} ", self.node)?;
        write!(f, "{:8}{:12}", self.step, self.outcome)?;
        if let Some(room) = &self.room {
            write!(f, "{room} ")?;
        }
        match (self.seq, self.to_seq) {
            (Some(seq), Some(to)) => write!(f, "{seq} to {to} ")?,
            (Some(seq), None) => write!(f, "{seq} ")?,
            _ => {}
        }
        f.write_str(self.sentence())?;
        let mut between = ": ";
        let mut add = |f: &mut fmt::Formatter<'_>, word: fmt::Arguments<'_>| {
            let written = write!(f, "{between}{word}");
            between = ", ";
            written
        };
        if let Some(user) = &self.user_id {
            add(f, format_args!("user {user}"))?;
        }
        if let (Some(connection), Some(transport)) = (self.connection, &self.transport) {
            add(f, format_args!("connection {connection} ({transport})"))?;
        } else if let Some(connection) = self.connection {
            add(f, format_args!("connection {connection}"))?;
        }
        let texts = [("event", &self.event), ("id", &self.message_id)];
        for (what, text) in texts.into_iter().filter_map(|(what, text)| Some((what, text.as_ref()?))) {
            add(f, format_args!("{what} {text}"))?;
        }
        let numbers = [("bytes", self.bytes), ("waiting before them", self.waiting), ("in all", self.count)];
        for (what, number) in numbers.into_iter().filter_map(|(what, number)| Some((what, number?))) {
            add(f, format_args!("{number} {what}"))?;
        }
        if let Some(code) = self.code {
            add(f, format_args!("code {code}"))?;
        }
        if let Some(reason) = &self.reason {
            add(f, format_args!("{reason}"))?;
        }
        Ok(())
    }
}
