//! Files: what is set aside, what is kept, what goes.

use std::sync::mpsc;
use std::time::Duration;

use denrei_hub::Name;
use denrei_store::Store;
use denrei_store::chat::{Actor, Change, MessageKind, NewMessage, Refused, Sent};
use denrei_store::files::{File, Finished, NewFile, Taken};
use serde_json::{Value, json, value::RawValue};

use crate::harness::{Place, name, on_both, wait};

on_both!(
    a_file_is_known_from_its_beginning_to_its_end,
    what_is_set_aside_by_many_at_once_never_passes_the_quota,
    what_is_not_used_of_what_was_set_aside_is_given_back,
    small_files_count_as_well,
    a_file_that_was_put_somewhere_is_finished_by_one,
    a_file_that_has_come_is_not_taken_for_one_that_is_pending,
    files_end_when_nobody_has_claimed_them,
    a_message_claims_the_file_of_its_sender_for_its_room,
    a_message_that_is_refused_claims_nothing,
);

const QUOTA: u64 = 1_000_000;

fn new(id: &str, user: &str, bytes: u64) -> NewFile {
    NewFile {
        id: id.into(),
        user: Some(name(user)),
        room: None,
        name: "a name".into(),
        bytes,
        created_at: 100,
        until: 200,
    }
}

fn finished(bytes: u64) -> Finished {
    Finished {
        kind: "image/png".into(),
        bytes,
        sha256: Some("00".into()),
        size: Some((3, 4)),
        thumbnail: Some("image/jpeg".into()),
        unclaimed_until: 300,
    }
}

fn begin(store: &Store, file: NewFile) -> bool {
    wait(store.begin_file(file, QUOTA)).unwrap()
}

fn keep(store: &Store, file: NewFile) {
    let (id, bytes) = (file.id.clone(), file.bytes);
    assert!(begin(store, file));
    assert!(wait(store.finish_file(&id, finished(bytes))).unwrap());
}

fn find(store: &Store, id: &str) -> Option<File> {
    wait(store.find_file(id)).unwrap()
}

fn end(store: &Store, now_ms: u64) -> Vec<Box<str>> {
    wait(store.end_files(now_ms)).unwrap()
}

fn a_file_is_known_from_its_beginning_to_its_end(place: &Place) {
    let store = place.open();
    assert!(begin(&store, new("a", "alice", 10)));
    let pending = find(&store, "a").unwrap();
    assert!(!pending.is_stored && pending.bytes == 10 && pending.user.as_deref() == Some("alice"));
    assert!(wait(store.finish_file("a", finished(7))).unwrap());
    let stored = find(&store, "a").unwrap();
    assert_eq!((stored.is_stored, stored.bytes, stored.width, stored.height), (true, 7, Some(3), Some(4)));
    assert_eq!((&*stored.kind, stored.thumbnail.as_deref()), ("image/png", Some("image/jpeg")));
    assert!(!wait(store.finish_file("a", finished(7))).unwrap(), "it is finished once");
    assert!(wait(store.remove_file("a", Taken::Any)).unwrap());
    assert!(!wait(store.remove_file("a", Taken::Any)).unwrap());
    assert_eq!(find(&store, "a"), None);
    // Until its object is gone, there is a row of it.
    assert_eq!(wait(store.known_files(vec!["a".into(), "b".into()])).unwrap(), [true, false]);
    assert_eq!(end(&store, 100), ["a".into()]);
    wait(store.forget_files(vec!["a".into()])).unwrap();
    assert_eq!(wait(store.known_files(vec!["a".into()])).unwrap(), [false]);
}

fn what_is_set_aside_by_many_at_once_never_passes_the_quota(place: &Place) {
    let store = place.open();
    let begun: Vec<_> =
        (0..100).map(|number| store.begin_file(new(&format!("file-{number}"), "alice", 100_000), QUOTA)).collect();
    let taken = begun.into_iter().map(|begun| wait(begun).unwrap()).filter(|taken| *taken).count();
    assert_eq!(taken, 10);
    assert!(begin(&store, new("b", "bob", 1_000_000)), "another user has a quota too");
    assert!(!begin(&store, new("c", "carol", 1_000_001)), "the first file counts");
}

fn what_is_not_used_of_what_was_set_aside_is_given_back(place: &Place) {
    let store = place.open();
    assert!(begin(&store, new("a", "alice", 1_000_000)));
    assert!(!begin(&store, new("b", "alice", 1)));
    assert!(!wait(store.finish_file("a", finished(1_000_001))).unwrap(), "more than was set aside");
    assert!(wait(store.finish_file("a", finished(400_000))).unwrap());
    assert!(!begin(&store, new("b", "alice", 600_001)));
    assert!(begin(&store, new("b", "alice", 600_000)));
    assert!(wait(store.remove_file("b", Taken::Pending)).unwrap());
    assert!(wait(store.remove_file("a", Taken::Any)).unwrap());
    assert!(begin(&store, new("c", "alice", 1_000_000)));
}

fn small_files_count_as_well(place: &Place) {
    let store = place.open();
    let begun = (0..300).filter(|number| begin(&store, new(&format!("file-{number}"), "alice", 0))).count() as u64;
    assert_eq!(begun, QUOTA / 4096);
}

fn a_file_that_was_put_somewhere_is_finished_by_one(place: &Place) {
    let store = place.open();
    assert!(begin(&store, new("a", "alice", 10)));
    assert!(wait(store.arrived_file("a")).unwrap());
    assert!(!wait(store.arrived_file("a")).unwrap());
    assert!(!find(&store, "a").unwrap().is_stored);
    assert!(wait(store.finish_file("a", finished(10))).unwrap());
    assert!(!wait(store.arrived_file("a")).unwrap());
}

fn a_file_that_has_come_is_not_taken_for_one_that_is_pending(place: &Place) {
    let store = place.open();
    keep(&store, new("a", "alice", 10));
    assert!(!wait(store.remove_file("a", Taken::Pending)).unwrap());
    assert!(find(&store, "a").is_some());
}

fn files_end_when_nobody_has_claimed_them(place: &Place) {
    let store = place.open();
    keep(&store, new("unclaimed", "alice", 10));
    keep(&store, NewFile { room: Some(name("live:x")), ..new("of a room", "alice", 10) });
    assert!(begin(&store, new("pending", "alice", 990_000)));
    assert!(end(&store, 199).is_empty());
    assert_eq!(end(&store, 200), ["pending".into()]);
    assert_eq!(end(&store, 299), ["pending".into()], "until it is forgotten");
    assert_eq!(end(&store, 300), ["pending".into(), "unclaimed".into()]);
    wait(store.forget_files(vec!["pending".into(), "unclaimed".into(), "of a room".into()])).unwrap();
    assert!(end(&store, u64::MAX).is_empty());
    assert!(find(&store, "of a room").is_some(), "only what is hidden is forgotten");
    assert!(begin(&store, new("b", "alice", 990_000)));
}

fn actor(user: &str) -> Actor {
    Actor { user: Some(name(user)), ..Actor::default() }
}

fn join(store: &Store, room: &Name, user: &str) {
    let (tell, told) = mpsc::sync_channel(1);
    let done = Box::new(move |outcome| tell.send(outcome).unwrap());
    store.change(room.clone(), actor(user), 1, Change::Join { create: true }, done);
    told.recv_timeout(Duration::from_secs(60)).unwrap().unwrap().unwrap();
}

fn send(store: &Store, room: &Name, user: &str, file: &str, data: &Value) -> Result<Sent, Refused> {
    let message = NewMessage {
        room: room.clone(),
        by: actor(user),
        kind: MessageKind::Image,
        content: "look".into(),
        id: None,
        reply_to: None,
        thread: None,
        mentions: Vec::new(),
        data: Some(RawValue::from_string(data.to_string()).unwrap()),
        file: Some(file.into()),
        at_ms: 2,
    };
    let (tell, told) = mpsc::sync_channel(1);
    store.send(message, Box::new(move |outcome| tell.send(outcome).unwrap()));
    told.recv_timeout(Duration::from_secs(60)).unwrap().unwrap()
}

fn a_message_claims_the_file_of_its_sender_for_its_room(place: &Place) {
    let store = place.open();
    let room = name("chat:r");
    join(&store, &room, "alice");
    keep(&store, new("a", "alice", 10));
    let sent = send(&store, &room, "alice", "a", &json!({ "fileId": "a", "file": "forged", "own": 1 })).unwrap();
    let payload: Value = serde_json::from_slice(&sent.event.payload).unwrap();
    let told = json!({
        "id": "a", "name": "a name", "type": "image/png", "bytes": 10, "width": 3, "height": 4, "thumbnail": true
    });
    assert_eq!(payload["data"], json!({ "fileId": "a", "file": told, "own": 1 }));
    assert_eq!(find(&store, "a").unwrap().room.as_deref(), Some("chat:r"));
    assert!(end(&store, u64::MAX >> 1).is_empty(), "it stays with its room");
    send(&store, &room, "alice", "a", &json!({})).unwrap();
}

fn a_message_that_is_refused_claims_nothing(place: &Place) {
    let store = place.open();
    let (room, other) = (name("chat:r"), name("chat:other"));
    for user in ["alice", "bob"] {
        join(&store, &room, user);
        join(&store, &other, user);
    }
    keep(&store, new("a", "alice", 10));
    assert!(begin(&store, new("pending", "alice", 10)));
    let data = json!({});
    assert!(matches!(send(&store, &room, "bob", "a", &data), Err(Refused::Forbidden(_))));
    assert!(matches!(send(&store, &room, "carol", "a", &data), Err(Refused::NotMember)));
    assert!(matches!(send(&store, &room, "alice", "pending", &data), Err(Refused::Missing(_))));
    assert!(matches!(send(&store, &room, "alice", "none", &data), Err(Refused::Missing(_))));
    assert_eq!(find(&store, "a").unwrap().room, None);
    send(&store, &room, "alice", "a", &data).unwrap();
    assert!(matches!(send(&store, &other, "alice", "a", &data), Err(Refused::Conflict(_))));
}
