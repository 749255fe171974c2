//! What one message of the log's stream holds: some consecutive events of a room.

use bytes::Bytes;
use denrei_hub::{ClientId, Draft, Epoch, Message, Name, Position, RoomName, Seq};
use serde::{Deserialize, Serialize};

/// Says which numbers of a room a message of the stream holds.
///
/// Without events it is a marker: it says where the room stands, so that its epoch is known before the first event, and
/// after the last was let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Tells who wrote it, and at which attempt, that it was this one.
    pub(super) token: u64,
    /// When it was written, in ms since 1970 by the writer's clock.
    pub(super) at: u64,
    pub(super) epoch: Epoch,
    /// The number of its first event.
    pub(super) first: u64,
    /// How many events there are.
    pub(super) count: u64,
}

/// An event as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Event {
    pub(super) event: Name,
    pub(super) payload: Bytes,
    pub(super) from: Option<ClientId>,
    pub(super) user: Option<Name>,
    pub(super) id: Option<Name>,
    pub(super) timestamp: u64,
}

/// Begins each message; what begins otherwise is not read.
const VERSION: u8 = 1;

impl Header {
    /// The last number given in the room: that of its last event, or the one before the first.
    pub(super) fn head(&self) -> u64 {
        self.first - 1 + self.count
    }

    /// Where the room stands after it.
    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), seq: Seq(self.head()) }
    }

    /// Version (1 byte), token, at and first (8 each), count (4), epoch (1 for its length); little endian. Then the events
    /// as MessagePack.
    pub(super) fn write(&self, events: &[Event]) -> Bytes {
        let payloads: usize = events.iter().map(|event| event.payload.len() + 128).sum();
        let mut bytes = Vec::with_capacity(128 + payloads);
        bytes.push(VERSION);
        for number in [self.token, self.at, self.first] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&u32::try_from(self.count).unwrap_or(u32::MAX).to_le_bytes());
        let epoch = self.epoch.as_str().as_bytes();
        bytes.push(u8::try_from(epoch.len()).expect("an epoch has at most 64 bytes"));
        bytes.extend_from_slice(epoch);
        rmp_serde::encode::write(&mut bytes, events).expect("events are plain data, and a Vec takes it all");
        bytes.into()
    }

    /// Reads the header, and says where the events begin.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        fn number(bytes: &mut &[u8]) -> Option<u64> {
            let (number, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Some(u64::from_le_bytes(*number))
        }
        let (&VERSION, mut rest) = bytes.split_first()? else { return None };
        let (token, at, first) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
        let (count, rest) = rest.split_first_chunk()?;
        let count = u64::from(u32::from_le_bytes(*count));
        let (&length, rest) = rest.split_first()?;
        let (epoch, events) = rest.split_at_checked(usize::from(length))?;
        let epoch = Epoch::parse(std::str::from_utf8(epoch).ok()?).ok()?;
        let fits = first >= 1 && first.checked_add(count)? <= Seq::LAST.0;
        fits.then_some((Self { token, at, epoch, first, count }, events))
    }

    /// Reads all of it.
    pub(super) fn read_all(bytes: &[u8]) -> Option<(Self, Vec<Event>)> {
        let (header, events) = Self::read(bytes)?;
        let events: Vec<Event> = rmp_serde::from_slice(events).ok()?;
        (events.len() as u64 == header.count).then_some((header, events))
    }
}

impl Event {
    pub(super) fn of(draft: &Draft) -> Self {
        Self {
            event: draft.event.clone(),
            payload: draft.payload.clone(),
            from: draft.from.clone(),
            user: draft.user.clone(),
            id: draft.id.clone(),
            timestamp: draft.timestamp,
        }
    }

    pub(super) fn message(self, room: &RoomName, position: Position) -> Message {
        let draft = Draft {
            from: self.from,
            user: self.user,
            id: self.id,
            ..Draft::new(room.clone(), self.event, self.payload, self.timestamp)
        };
        Message::stored(draft, position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Bytes {
        let epoch = Epoch::parse("e-1").expect("an epoch");
        let event = Event {
            event: Name::parse("reaction").expect("a name"),
            payload: Bytes::from_static(b"{\"a\":1}"),
            from: Some("c".into()),
            user: Name::parse("alice").ok(),
            id: None,
            timestamp: 7,
        };
        Header { token: 1, at: 2, epoch, first: 41, count: 1 }.write(&[event])
    }

    #[test]
    fn what_was_written_is_read() {
        let (header, events) = Header::read_all(&written()).expect("a batch");
        assert_eq!((header.token, header.at, header.first, header.head()), (1, 2, 41, 41));
        assert_eq!(
            (events[0].event.as_str(), &*events[0].payload, events[0].timestamp),
            ("reaction", &b"{\"a\":1}"[..], 7)
        );
    }

    #[test]
    fn what_is_not_whole_is_not_read() {
        let whole = written();
        for length in 0..whole.len() {
            assert!(Header::read_all(&whole[..length]).is_none(), "{length} bytes");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bent = whole.to_vec();
                bent[at] ^= 1 << bit;
                // It may be read as something else, but never panics, and its numbers are numbers.
                if let Some((header, events)) = Header::read_all(&bent) {
                    assert!(header.head() <= Seq::LAST.0 && events.len() as u64 == header.count);
                }
            }
        }
    }
}
