//! Names of rooms and messages.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use denrei_hub::{Name, RoomName, random_token};
use denrei_proto::codes::Code;
use denrei_store::chat::room_id;

use crate::refusal::Refusal;

/// The class of the logs of chat rooms.
const CLASS: &str = "chat:";

/// How the ids of direct rooms begin.
const DIRECT: &str = "direct-";

/// The longest id of a room, in bytes: a message's id is longer.
const LONGEST: usize = 200;

/// Whether a room is the log of a chat room.
pub(crate) fn is_chat(room: &RoomName) -> bool {
    room.as_str().starts_with(CLASS)
}

/// The log of a room that a client names, by its id or as the log's own name.
pub(crate) fn room_name(id: &str) -> Result<RoomName, Refusal> {
    let id = id.strip_prefix(CLASS).unwrap_or(id);
    if id.is_empty() || id.len() > LONGEST {
        return Err(Refusal::new(Code::InvalidName, "the id of a room has 1 to 200 bytes"));
    }
    Ok(RoomName::parse(&format!("{CLASS}{id}"))?)
}

/// The same for a room that is to be made.
pub(super) fn new_room(id: &str) -> Result<RoomName, Refusal> {
    let name = room_name(id)?;
    if [DIRECT, CLASS].iter().any(|taken| room_id(&name).starts_with(taken)) {
        return Err(Refusal::new(Code::InvalidName, "ids that begin with direct- or chat: are the server's"));
    }
    Ok(name)
}

pub(super) fn random_room() -> RoomName {
    RoomName::parse(&format!("{CLASS}{}", random_token(16))).expect("a token is a name")
}

/// The room of two users: the same, whoever asks.
pub(super) fn direct_room(one: &Name, other: &Name) -> RoomName {
    let mut pair = [one.as_str(), other.as_str()];
    pair.sort_unstable();
    // With its length, so that no two pairs are written the same.
    let text = format!("{}:{}{}", pair[0].len(), pair[0], pair[1]);
    let hash = URL_SAFE_NO_PAD.encode(&digest(&SHA256, text.as_bytes()).as_ref()[..18]);
    RoomName::parse(&format!("{CLASS}{DIRECT}{hash}")).expect("it is a name")
}

/// The number of a message in a room, of its id, or of the number as text.
pub(super) fn sequence_of(room: &RoomName, id: &str) -> Result<u64, Refusal> {
    let number = match id.rsplit_once('-') {
        Some((theirs, number)) if theirs == room_id(room) => number,
        None => id,
        Some(_) => return Err(Refusal::new(Code::NotFound, "there is no such message in this room")),
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse::<u64>().ok().filter(|&number| digits && number > 0 && number < 1 << 53);
    number.ok_or_else(|| Refusal::new(Code::InvalidField, "messageId is the id of a message: ROOM-SEQUENCE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_room_follows_from_the_pair() {
        let name = |text: &str| Name::parse(text).expect("a name");
        assert_eq!(direct_room(&name("a"), &name("b")), direct_room(&name("b"), &name("a")));
        assert_ne!(direct_room(&name("a"), &name("bc")), direct_room(&name("ab"), &name("c")));
        assert!(new_room(room_id(&direct_room(&name("a"), &name("b")))).is_err());
    }

    #[test]
    fn a_message_is_named_by_its_room_and_number() {
        let room = room_name("a-b").expect("a name");
        assert_eq!(sequence_of(&room, "a-b-17"), Ok(17));
        assert_eq!(sequence_of(&room, "17"), Ok(17));
        for wrong in ["b-17", "a-b-0", "a-b-", "a-b-x", "a-b-+1", "", "a-b-99999999999999999999"] {
            assert!(sequence_of(&room, wrong).is_err(), "{wrong}");
        }
    }
}
