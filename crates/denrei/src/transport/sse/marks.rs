//! Where a stream stands in all its rooms, as one event id.
//!
//! The events of a stream of several rooms cannot be encoded once for all readers: each id holds the stream's positions
//! in all rooms. So they travel to the session as records (room, position, bytes), and the session writes the id.

use bytes::{BufMut, Bytes, BytesMut};
use denrei_hub::{Epoch, InvalidPosition, Message, Position, RoomName, Seq};
use denrei_proto::sse::{self, Carriage, Format};

use crate::link::Compose;
use crate::wires;

/// A stream's positions, in the order of its rooms.
pub(crate) struct Marks {
    rooms: Vec<RoomName>,
    places: Vec<Option<Position>>,
    carriage: Carriage,
}

impl Marks {
    /// Rooms of one stream: their positions make an id of less than 2 KiB.
    pub(crate) const MOST: usize = 50;

    pub(crate) fn new(rooms: Vec<RoomName>, places: Vec<Option<Position>>, carriage: Carriage) -> Self {
        Self { rooms, places, carriage }
    }

    /// What turns records into the stream's bytes, after `head`.
    pub(crate) fn compose(mut self, head: Bytes) -> Compose {
        let mut head = Some(head);
        Box::new(move |records| {
            let mut out = head.take().map_or_else(Vec::new, Vec::from);
            let mut rest = &records[..];
            while let Some(record) = Record::read(&mut rest) {
                self.write(&record, &mut out);
            }
            out.into()
        })
    }

    fn write(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        let mut text = Vec::with_capacity(record.body.len() + 64);
        if !record.room.is_empty() {
            if let Some(at) = self.rooms.iter().position(|room| room.as_str() == record.room) {
                self.places[at] = record.place.parse().ok();
            }
            if record.body.is_empty() {
                return;
            }
            text.extend_from_slice(b"id: ");
            text.extend_from_slice(self.id().as_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(record.body);
        out.extend_from_slice(&sse::carry(&text, self.carriage));
    }

    /// One room: its position. Several: `m`, the epochs, and per room a hash of its name, the number of its epoch and
    /// the seq in hexadecimal.
    fn id(&self) -> String {
        if let [place] = &self.places[..] {
            return place.as_ref().map(Position::to_string).unwrap_or_default();
        }
        let mut epochs: Vec<&Epoch> = Vec::new();
        let mut marks = String::new();
        for (room, place) in self.rooms.iter().zip(&self.places) {
            let Some(place) = place else { continue };
            let epoch = epochs.iter().position(|epoch| **epoch == place.epoch).unwrap_or_else(|| {
                epochs.push(&place.epoch);
                epochs.len() - 1
            });
            marks.push_str(&format!(".{:x}:{epoch}:{:x}", hash(room), place.seq.0));
        }
        let epochs: Vec<&str> = epochs.into_iter().map(Epoch::as_str).collect();
        format!("m.{}{marks}", epochs.join(","))
    }
}

/// Reads an event id for a stream of these rooms: their places, none for those it does not name.
pub(crate) fn parse(id: &str, rooms: &[RoomName]) -> Result<Vec<Option<Position>>, InvalidPosition> {
    let Some(id) = id.strip_prefix("m.") else {
        return match rooms {
            [_] => Ok(vec![Some(id.parse()?)]),
            _ => Err(InvalidPosition),
        };
    };
    let mut parts = id.split('.');
    let epochs: Vec<&str> = parts.next().unwrap_or_default().split(',').collect();
    let mut places = vec![None; rooms.len()];
    for part in parts.take(Marks::MOST) {
        let mut fields = part.split(':');
        let mut number = |radix| u64::from_str_radix(fields.next()?, radix).ok();
        let (Some(hashed), Some(epoch), Some(seq)) = (number(16), number(10), number(16)) else {
            return Err(InvalidPosition);
        };
        let epoch = usize::try_from(epoch).ok().and_then(|at| epochs.get(at)).ok_or(InvalidPosition)?;
        let place = Position { epoch: Epoch::parse(epoch)?, seq: Seq(seq) };
        if place.seq > Seq::LAST {
            return Err(InvalidPosition);
        }
        for (room, mark) in rooms.iter().zip(&mut places) {
            if hash(room) == hashed {
                *mark = Some(place.clone());
            }
        }
    }
    Ok(places)
}

/// FNV-1a, cut to 36 bits: stable over processes and versions, because clients keep ids.
fn hash(room: &RoomName) -> u64 {
    let wide = room
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (wide ^ wide >> 36) & 0xf_ffff_ffff
}

/// Bytes of a stream on their way to its session.
struct Record<'a> {
    /// Empty: the bytes move no position.
    room: &'a str,
    place: &'a str,
    body: &'a [u8],
}

/// Encodes a message as a record.
pub(crate) fn of(message: &Message, format: Format) -> Bytes {
    let body = wires::event(message, |event| sse::event_without_id(event, format));
    let numbered = message.seq > Seq::ZERO;
    record(numbered.then_some((&message.room, &message.position())), &body)
}

/// Encodes bytes as a record.
pub(crate) fn record(mark: Option<(&RoomName, &Position)>, body: &[u8]) -> Bytes {
    let place = mark.map(|(_, place)| place.to_string()).unwrap_or_default();
    let room = mark.map(|(room, _)| room.as_str()).unwrap_or_default();
    let mut record = BytesMut::with_capacity(12 + room.len() + place.len() + body.len());
    for part in [room.as_bytes(), place.as_bytes(), body] {
        record.put_u32(u32::try_from(part.len()).expect("events are far below 4 GiB"));
        record.extend_from_slice(part);
    }
    record.freeze()
}

impl<'a> Record<'a> {
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let mut part = || {
            let (length, behind) = rest.split_first_chunk()?;
            let (part, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            *rest = behind;
            Some(part)
        };
        let (room, place, body) = (part()?, part()?, part()?);
        Some(Self { room: std::str::from_utf8(room).ok()?, place: std::str::from_utf8(place).ok()?, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(count: usize) -> Vec<RoomName> {
        (0..count).map(|n| RoomName::parse(&format!("live:{n}")).unwrap()).collect()
    }

    fn place(epoch: &str, seq: u64) -> Position {
        Position { epoch: Epoch::parse(epoch).unwrap(), seq: Seq(seq) }
    }

    #[test]
    fn the_id_of_a_stream_is_read_back_for_all_its_rooms() {
        for count in [1, 2, 50] {
            let rooms = rooms(count);
            let places: Vec<_> = (0..count).map(|n| Some(place(["aA-_9", "b"][n % 2], n as u64 * 1000))).collect();
            let marks = Marks::new(rooms.clone(), places.clone(), Carriage::Body);
            assert_eq!(parse(&marks.id(), &rooms), Ok(places));
        }
    }

    #[test]
    fn the_largest_id_is_under_two_kibibytes() {
        let places = (0..Marks::MOST).map(|n| Some(place(&format!("abcdefgh{n:02}"), 0xffff_ffff))).collect();
        let id = Marks::new(rooms(Marks::MOST), places, Carriage::Body).id();
        assert!(id.len() < 2048, "{} bytes", id.len());
    }

    #[test]
    fn a_room_that_the_id_does_not_name_begins_now() {
        let marks = Marks::new(rooms(2), vec![Some(place("e", 1)), Some(place("e", 2))], Carriage::Body);
        assert_eq!(parse(&marks.id(), &rooms(3)), Ok(vec![Some(place("e", 1)), Some(place("e", 2)), None]));
    }

    #[test]
    fn garbage_is_no_id() {
        for bad in [
            "",
            "x",
            "e:-1",
            "e:18446744073709551616",
            ":1",
            "m.",
            "m.e.1",
            "m.e.1:9:1",
            "m.e.1:0:ffffffffffffffff",
            "e:1:2",
        ] {
            let parsed = parse(bad, &rooms(2));
            assert!(parsed.is_err() || bad == "m.", "{bad}");
        }
        assert!(parse("e:1", &rooms(2)).is_err(), "the position of one room says nothing of two");
    }

    #[test]
    fn records_become_events_whose_ids_hold_all_positions() {
        let rooms = rooms(2);
        let mut compose =
            Marks::new(rooms.clone(), vec![None, None], Carriage::Body).compose(Bytes::from_static(b"HEAD"));
        let mut joined = BytesMut::new();
        joined.extend_from_slice(&record(Some((&rooms[0], &place("e", 1))), b""));
        joined.extend_from_slice(&record(None, b":keep-alive\n\n"));
        joined.extend_from_slice(&record(Some((&rooms[1], &place("f", 2))), b"data: x\n\n"));
        let text = String::from_utf8(compose(joined.freeze()).to_vec()).unwrap();
        let expected =
            format!("HEAD:keep-alive\n\nid: m.e,f.{:x}:0:1.{:x}:1:2\ndata: x\n\n", hash(&rooms[0]), hash(&rooms[1]));
        assert_eq!(text, expected);
    }
}
