//! What a chat promises, on both databases.

use std::sync::mpsc;
use std::time::Duration;

use denrei_hub::{LogError, Message as Event, Name, Position, Retained, Seq};
use denrei_store::Store;
use denrei_store::chat::{
    Actor, Answer, Change, Changed, Extent, Followed, Mark, Marked, Message, MessageKind, NewMessage, Outcome, Page,
    Profile, Refused, Role, Room, RoomKind, Sent, Wanted, What,
};
use serde_json::Value;

use crate::harness::{Place, name, on_both, read_all, wait};

mod bounds;
mod membership;
mod outsiders;

on_both!(
    messages_are_numbered_and_told_in_one_transaction,
    a_message_sent_again_is_the_same_message,
    who_may_send,
    slow_mode_and_mutes_hold_messages_back,
    roles_decide_who_keeps_order,
    a_banned_user_stays_out_until_the_ban_ends,
    the_room_passes_to_somebody_when_its_owner_leaves,
    an_edit_keeps_the_number_and_a_deletion_takes_the_content_out_of_the_log,
    threads_have_one_level_and_count_their_answers,
    reactions_are_summed,
    what_is_unread_is_a_subtraction,
    history_is_read_in_every_direction,
    a_direct_room_is_of_two_users,
    who_was_away_is_brought_up_to_date,
    a_message_goes_with_its_event,
    presence_is_for_contacts_and_room_mates,
    many_messages_of_many_rooms_in_one_group,
);

/// A store and its clock.
struct Chat {
    store: Store,
    now: u64,
}

fn user(id: &str) -> Actor {
    Actor { user: Some(name(id)), name: Some(id.to_uppercase().into()), ..Actor::default() }
}

fn guest(client: &str) -> Actor {
    Actor { client: Some(client.into()), ..Actor::default() }
}

fn admin(id: &str) -> Actor {
    Actor { admin: true, ..user(id) }
}

fn log(room: &str) -> Name {
    name(&format!("chat:{room}"))
}

fn told<T: Send + 'static>(ask: impl FnOnce(Box<dyn FnOnce(Outcome<T>) + Send>)) -> Result<T, Refused> {
    let (tell, answer) = mpsc::sync_channel(1);
    ask(Box::new(move |outcome| tell.send(outcome).unwrap()));
    answer.recv_timeout(Duration::from_secs(60)).expect("everything is answered").unwrap()
}

fn json(event: &Event) -> Value {
    serde_json::from_slice(&event.payload).unwrap()
}

impl Chat {
    fn open(place: &Place) -> Self {
        Self { store: place.open(), now: 1_000_000 }
    }

    fn change(&self, room: &str, by: &Actor, change: Change) -> Result<Changed, Refused> {
        told(|tell| self.store.change(log(room), by.clone(), self.now, change, tell))
    }

    fn room(&self, room: &str, by: &Actor, change: Change) -> Room {
        match self.change(room, by, change).unwrap().answer {
            Answer::Room(room) => *room,
            other => panic!("{other:?}"),
        }
    }

    /// A public room with an owner and members.
    fn make(&self, room: &str, owner: &str, members: &[&str]) {
        self.room(room, &user(owner), Change::Join { create: true });
        for member in members {
            self.room(room, &user(member), Change::Join { create: false });
        }
    }

    fn message(&self, room: &str, by: &Actor, content: &str) -> NewMessage {
        NewMessage {
            room: log(room),
            by: by.clone(),
            kind: MessageKind::Text,
            content: content.into(),
            id: None,
            reply_to: None,
            thread: None,
            mentions: Vec::new(),
            data: None,
            file: None,
            at_ms: self.now,
        }
    }

    fn try_send(&self, message: NewMessage) -> Result<Sent, Refused> {
        told(|tell| self.store.send(message, tell))
    }

    fn send(&self, room: &str, by: &Actor, content: &str) -> Value {
        json(&self.try_send(self.message(room, by, content)).unwrap().event)
    }

    fn history(&self, room: &str, by: &Actor, extent: Extent, limit: usize) -> Page {
        wait(self.store.history(&log(room), by, self.now, extent, None, limit)).unwrap().unwrap()
    }

    fn see(&self, room: &str, by: &Actor) -> Room {
        wait(self.store.chat_room(&log(room), by, self.now)).unwrap().unwrap()
    }

    fn mark(&self, room: &str, by: &str, what: What, sequence: u64) -> Result<Marked, Refused> {
        let (tell, answer) = mpsc::sync_channel(1);
        let mark = Mark { room: log(room), user: name(by), what, sequence, at_ms: self.now };
        self.store.mark(vec![mark], Box::new(move |outcome| tell.send(outcome).unwrap()));
        answer.recv_timeout(Duration::from_secs(60)).unwrap().unwrap().remove(0)
    }
}

fn sequences(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| message.sequence).collect()
}

fn messages_are_numbered_and_told_in_one_transaction(place: &Place) {
    let chat = Chat::open(place);
    chat.make("general", "alice", &["bob"]);
    for n in 1..=5 {
        let message = chat.send("general", &user("bob"), &format!("m{n}"));
        assert_eq!((message["sequence"].as_u64(), message["id"].as_str()), (Some(n), Some(&*format!("general-{n}"))));
        assert_eq!(
            (&message["roomId"], &message["userId"], &message["userName"]),
            (&"general".into(), &"bob".into(), &"BOB".into())
        );
        assert_eq!(
            (&message["status"], &message["type"], &message["version"]),
            (&"sent".into(), &"TEXT".into(), &1.into())
        );
    }
    // Two joins, five messages.
    let all = read_all(&chat.store, "chat:general");
    assert_eq!(all.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    let room = chat.see("general", &user("alice"));
    assert_eq!((room.sequence, room.seq, room.members), (5, 7, 2));
    assert_eq!(room.last_message.unwrap().content, "m5".into());
    drop(chat);
    let chat = Chat::open(place);
    assert_eq!(chat.send("general", &user("alice"), "after")["sequence"], 6);
    assert_eq!(chat.try_send(chat.message("nowhere", &user("alice"), "?")).unwrap_err(), Refused::NoRoom);
}

fn a_message_sent_again_is_the_same_message(place: &Place) {
    let mut chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    chat.change("r", &user("alice"), Change::Update { title: None, slow_mode_ms: Some(60_000) }).unwrap();
    let message = |chat: &Chat, by: &str| NewMessage { id: Some(name("one")), ..chat.message("r", &user(by), "hello") };
    let first = chat.try_send(message(&chat, "bob")).unwrap();
    assert!(!first.duplicate);
    // In slow mode too, and whatever it says now.
    chat.now += 10;
    let again = chat.try_send(message(&chat, "bob")).unwrap();
    assert!(again.duplicate && again.event.seq == first.event.seq && json(&again.event) == json(&first.event));
    assert!(!chat.try_send(message(&chat, "alice")).unwrap().duplicate);
    // At once, and after another start.
    let (tell, answers) = mpsc::sync_channel(1000);
    for _ in 0..50 {
        let tell = tell.clone();
        let message = NewMessage { id: Some(name("two")), ..chat.message("r", &user("alice"), "many") };
        chat.store
            .send(message, Box::new(move |sent: Result<Result<Sent, Refused>, LogError>| tell.send(sent).unwrap()));
    }
    let sent: Vec<_> = (0..50).map(|_| answers.recv().unwrap().unwrap().unwrap()).collect();
    assert_eq!(sent.iter().filter(|sent| !sent.duplicate).count(), 1);
    assert!(sent.iter().all(|one| json(&one.event)["sequence"] == 3));
    drop(chat);
    let chat = Chat::open(place);
    assert!(chat.try_send(message(&chat, "bob")).unwrap().duplicate);
    assert_eq!(chat.see("r", &user("bob")).sequence, 3);
}

fn who_may_send(place: &Place) {
    let chat = Chat::open(place);
    chat.make("open", "alice", &[]);
    let private = Change::Create { kind: RoomKind::Private, title: "Secret".into(), members: vec![name("bob")] };
    assert_eq!(chat.room("secret", &user("alice"), private.clone()).members, 2);
    assert!(matches!(chat.change("secret", &user("alice"), private), Err(Refused::Conflict(_))));
    let refused = |room: &str, by: &Actor| chat.try_send(chat.message(room, by, "x")).unwrap_err();
    assert_eq!(refused("open", &user("eve")), Refused::NotMember);
    assert_eq!(refused("secret", &user("eve")), Refused::NoRoom);
    assert_eq!(refused("secret", &guest("c1")), Refused::NoRoom);
    assert_eq!(chat.send("open", &guest("c1"), "hi")["userId"], "c1");
    chat.send("secret", &user("bob"), "hi");
    chat.send("secret", &admin("root"), "I see all");
    assert_eq!(chat.change("secret", &user("eve"), Change::Join { create: true }).unwrap_err(), Refused::NoRoom);
    let read = |room: &str, by: &Actor| wait(chat.store.may_read(&log(room), by, chat.now)).unwrap();
    assert_eq!(read("secret", &user("eve")), Err(Refused::NoRoom));
    assert_eq!(read("nowhere", &user("eve")), Err(Refused::NoRoom));
    assert_eq!(
        (read("open", &user("eve")), read("open", &guest("c")), read("secret", &user("bob"))),
        (Ok(()), Ok(()), Ok(()))
    );
    let (rooms, _) = wait(chat.store.chat_directory(&user("eve"), 0, 10)).unwrap();
    assert_eq!(rooms.iter().map(|room| &*room.id).collect::<Vec<_>>(), ["open"]);
}

fn slow_mode_and_mutes_hold_messages_back(place: &Place) {
    let mut chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    chat.change("r", &user("alice"), Change::Update { title: Some("Slow".into()), slow_mode_ms: Some(5000) }).unwrap();
    chat.send("r", &user("bob"), "one");
    let refused = chat.try_send(chat.message("r", &user("bob"), "two")).unwrap_err();
    assert_eq!(refused, Refused::Slow(chat.now + 5000));
    chat.send("r", &user("alice"), "owners may");
    chat.send("r", &user("alice"), "at once");
    chat.now += 5000;
    chat.send("r", &user("bob"), "two");
    let until_ms = chat.now + 60_000;
    chat.change("r", &user("alice"), Change::Mute { user: name("bob"), until_ms }).unwrap();
    chat.now += 10_000;
    assert_eq!(chat.try_send(chat.message("r", &user("bob"), "three")).unwrap_err(), Refused::Muted(until_ms));
    chat.now = until_ms;
    chat.send("r", &user("bob"), "three");
}

fn roles_decide_who_keeps_order(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &["bob", "carol", "dave"]);
    let kick = |by: &str, whom: &str| chat.change("r", &user(by), Change::Kick { user: name(whom) });
    assert!(matches!(kick("bob", "carol"), Err(Refused::Forbidden(_))));
    let role = |by: &str, whom: &str, role| chat.change("r", &user(by), Change::SetRole { user: name(whom), role });
    assert!(matches!(role("bob", "bob", Role::Owner), Err(Refused::Forbidden(_))));
    role("alice", "bob", Role::Moderator).unwrap();
    role("alice", "carol", Role::Moderator).unwrap();
    assert!(matches!(kick("bob", "carol"), Err(Refused::Forbidden(_))));
    assert!(matches!(kick("bob", "alice"), Err(Refused::Forbidden(_))));
    assert!(matches!(kick("bob", "bob"), Err(Refused::Invalid(_))));
    assert!(matches!(kick("bob", "eve"), Err(Refused::Missing(_))));
    let kicked = kick("bob", "dave").unwrap();
    assert_eq!(kicked.removed, Some((name("dave"), "kicked")));
    let left = json(&kicked.events[0]);
    assert_eq!(
        (&left["userId"], &left["reason"], &left["by"], &left["members"]),
        (&"dave".into(), &"kicked".into(), &"bob".into(), &3.into())
    );
    assert_eq!(chat.try_send(chat.message("r", &user("dave"), "x")).unwrap_err(), Refused::NotMember);
    let members = wait(chat.store.members(&log("r"), &user("bob"), chat.now, "", 2)).unwrap().unwrap();
    assert_eq!(
        members.iter().map(|member| (&*member.user_id, member.role)).collect::<Vec<_>>(),
        [("alice", Role::Owner), ("bob", Role::Moderator)]
    );
    let members = wait(chat.store.members(&log("r"), &user("bob"), chat.now, "bob", 2)).unwrap().unwrap();
    assert_eq!(members.len(), 1);
}

fn a_banned_user_stays_out_until_the_ban_ends(place: &Place) {
    let mut chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    let until_ms = chat.now + 1000;
    let ban = Change::Ban { user: name("bob"), until_ms, reason: Some("spam".into()) };
    assert_eq!(chat.change("r", &user("alice"), ban).unwrap().removed, Some((name("bob"), "banned")));
    assert_eq!(chat.change("r", &user("bob"), Change::Join { create: false }).unwrap_err(), Refused::Banned);
    assert_eq!(wait(chat.store.may_read(&log("r"), &user("bob"), chat.now)).unwrap(), Err(Refused::Banned));
    assert!(matches!(
        chat.change("r", &user("alice"), Change::Invite { user: name("bob") }),
        Err(Refused::Conflict(_))
    ));
    let bans = wait(chat.store.bans(&log("r"), &user("alice"), chat.now)).unwrap().unwrap();
    assert_eq!(
        (&*bans[0].user_id, &*bans[0].by, bans[0].until, bans[0].reason.as_deref()),
        ("bob", "alice", Some(until_ms), Some("spam"))
    );
    assert!(wait(chat.store.bans(&log("r"), &user("eve"), chat.now)).unwrap().is_err());
    chat.now = until_ms;
    chat.room("r", &user("bob"), Change::Join { create: false });
    // For ever, and whoever only reads.
    chat.change("r", &user("alice"), Change::Ban { user: name("eve"), until_ms: 0, reason: None }).unwrap();
    chat.now += 1_000_000_000;
    assert_eq!(wait(chat.store.may_read(&log("r"), &user("eve"), chat.now)).unwrap(), Err(Refused::Banned));
    chat.change("r", &user("alice"), Change::Unban { user: name("eve") }).unwrap();
    chat.room("r", &user("eve"), Change::Join { create: false });
    assert!(matches!(chat.change("r", &user("alice"), Change::Unban { user: name("eve") }), Err(Refused::Missing(_))));
}

fn the_room_passes_to_somebody_when_its_owner_leaves(place: &Place) {
    let mut chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    chat.now += 1;
    chat.room("r", &user("carol"), Change::Join { create: false });
    chat.change("r", &user("alice"), Change::SetRole { user: name("carol"), role: Role::Moderator }).unwrap();
    let left = chat.change("r", &user("alice"), Change::Leave).unwrap();
    assert_eq!(left.events.iter().map(|event| event.event.as_str()).collect::<Vec<_>>(), ["userLeft", "memberUpdated"]);
    assert_eq!(chat.see("r", &user("carol")).own.unwrap().role, Role::Owner);
    chat.change("r", &user("carol"), Change::Leave).unwrap();
    assert_eq!(chat.see("r", &user("bob")).own.unwrap().role, Role::Owner);
    chat.change("r", &user("bob"), Change::Leave).unwrap();
    assert_eq!(chat.see("r", &user("bob")).members, 0);
    assert_eq!(chat.change("r", &user("bob"), Change::Leave).unwrap_err(), Refused::NotMember);
}

fn an_edit_keeps_the_number_and_a_deletion_takes_the_content_out_of_the_log(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    chat.send("r", &user("bob"), "sekrit-1");
    let edit = |by: &str, content: &str, version| {
        let (content, mentions) = (content.into(), Some(vec![name("alice"), name("eve")]));
        chat.change("r", &user(by), Change::Edit { sequence: 1, content, data: None, mentions, version })
    };
    assert!(matches!(edit("alice", "x", None), Err(Refused::Forbidden(_))));
    let edited = edit("bob", "sekrit-2", Some(1)).unwrap();
    let told = json(&edited.events[0]);
    assert_eq!(
        (&told["content"], &told["version"], &told["sequence"], &told["change"]),
        (&"sekrit-2".into(), &2.into(), &1.into(), &"edited".into())
    );
    assert_eq!(told["mentions"], serde_json::json!(["alice"]));
    assert_eq!(chat.see("r", &user("alice")).own.unwrap().mentions, 1);
    assert!(matches!(edit("bob", "sekrit-3", Some(1)), Err(Refused::Conflict(_))));
    chat.change("r", &user("alice"), Change::React { sequence: 1, emoji: "👍".into(), on: true }).unwrap();
    assert!(matches!(chat.change("r", &user("eve"), Change::Delete { sequence: 1 }), Err(Refused::NotMember)));
    let deleted = chat.change("r", &user("alice"), Change::Delete { sequence: 1 }).unwrap();
    assert!(json(&deleted.events[0])["deletedAt"].is_u64());
    assert!(matches!(edit("bob", "sekrit-4", None), Err(Refused::Conflict(_))));
    assert!(chat.change("r", &user("alice"), Change::Delete { sequence: 1 }).unwrap().events.is_empty());
    let everything = read_all(&chat.store, "chat:r");
    assert!(everything.iter().all(|(_, payload)| !payload.contains("sekrit")), "{everything:?}");
    let tombstones = everything.iter().filter(|(_, payload)| payload.contains("deletedAt"));
    let changes: Vec<Value> = tombstones.map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
    let changes: Vec<_> = changes.iter().map(|told| told["change"].as_str()).collect();
    assert_eq!(changes, [None, Some("deleted"), Some("deleted")]);
    assert_eq!(chat.send("r", &user("bob"), "next")["sequence"], 2);
    let page = chat.history("r", &user("bob"), Extent::Newest, 10);
    assert_eq!((sequences(&page.messages), &*page.messages[0].content), (vec![1, 2], ""));
    assert_eq!(chat.see("r", &user("alice")).own.unwrap().mentions, 0);
}

fn threads_have_one_level_and_count_their_answers(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    chat.send("r", &user("alice"), "root");
    let answer = |content: &str, thread, reply_to| {
        chat.try_send(NewMessage { thread, reply_to, ..chat.message("r", &user("bob"), content) })
    };
    let first = json(&answer("a", Some(1), None).unwrap().event);
    assert_eq!(
        (&first["threadId"], &first["root"]["id"], &first["root"]["thread"]["replies"]),
        (&"r-1".into(), &"r-1".into(), &1.into())
    );
    let second = json(&answer("b", Some(1), Some(2)).unwrap().event);
    assert_eq!((&second["replyTo"], &second["root"]["thread"]["replies"]), (&"r-2".into(), &2.into()));
    assert!(matches!(answer("c", Some(2), None), Err(Refused::Invalid(_))));
    assert!(matches!(answer("c", Some(99), None), Err(Refused::Missing(_))));
    chat.send("r", &user("alice"), "between");
    let thread =
        wait(chat.store.history(&log("r"), &user("bob"), chat.now, Extent::Newest, Some(1), 10)).unwrap().unwrap();
    assert_eq!((sequences(&thread.messages), thread.has_before), (vec![2, 3], false));
    let root = wait(chat.store.chat_message(&log("r"), &user("bob"), chat.now, 1)).unwrap().unwrap().unwrap();
    assert_eq!(root.thread.unwrap().replies, 2);
}

fn reactions_are_summed(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    chat.send("r", &user("alice"), "one");
    let react =
        |by: &str, emoji: &str, on| chat.change("r", &user(by), Change::React { sequence: 1, emoji: emoji.into(), on });
    react("alice", "👍", true).unwrap();
    assert!(react("alice", "👍", true).unwrap().events.is_empty());
    // Of the message it says no more.
    let told = json(&react("bob", "👍", true).unwrap().events[0]);
    let reactions = serde_json::json!([{"emoji": "👍", "count": 2, "userIds": ["alice", "bob"]}]);
    let expected = serde_json::json!({
        "id": "r-1", "sequence": 1, "roomId": "r", "version": 1, "change": "reactions", "reactions": reactions
    });
    assert_eq!(told, expected);
    react("bob", "🎉", true).unwrap();
    react("alice", "👍", false).unwrap();
    let page = chat.history("r", &user("bob"), Extent::Newest, 10);
    let sums: Vec<_> = page.messages[0].reactions.iter().map(|reaction| (&*reaction.emoji, reaction.count)).collect();
    assert_eq!(sums.len(), 2);
    assert!(sums.contains(&("👍", 1)) && sums.contains(&("🎉", 1)));
    for n in 0..18 {
        react("alice", &format!("e{n}"), true).unwrap();
    }
    assert!(matches!(react("alice", "one too many", true), Err(Refused::Invalid(_))));
    assert!(matches!(react("eve", "👍", true), Err(Refused::NotMember)));
}

fn what_is_unread_is_a_subtraction(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &[]);
    chat.send("r", &user("alice"), "before");
    chat.room("r", &user("bob"), Change::Join { create: false });
    let own = |by: &str| {
        let own = chat.see("r", &user(by)).own.unwrap();
        (own.read, own.unread, own.mentions)
    };
    assert_eq!((own("alice"), own("bob")), ((1, 0, 0), (1, 0, 0)));
    for n in 0..4 {
        let mentions = if n % 2 == 0 { vec![name("bob"), name("nobody"), name("bob")] } else { Vec::new() };
        chat.try_send(NewMessage { mentions, ..chat.message("r", &user("alice"), "m") }).unwrap();
    }
    assert_eq!(own("bob"), (1, 4, 2));
    let marked = chat.mark("r", "bob", What::Read, 3).unwrap();
    assert_eq!((marked.sequence, marked.unread, marked.mentions, marked.moved, marked.members), (3, 2, 1, true, 2));
    // It never goes back.
    let marked = chat.mark("r", "bob", What::Read, 2).unwrap();
    assert_eq!((marked.sequence, marked.unread, marked.moved), (3, 2, false));
    assert_eq!(chat.mark("r", "eve", What::Read, 1).unwrap_err(), Refused::NotMember);
    let marked = chat.mark("r", "bob", What::Delivered, 5).unwrap();
    assert_eq!((marked.sequence, marked.unread), (5, 2));
    let receipts = wait(chat.store.receipts(&log("r"), &user("alice"), chat.now, 5)).unwrap().unwrap();
    assert_eq!((receipts.read.len(), receipts.delivered.len()), (1, 2));
    chat.mark("r", "bob", What::Read, 5).unwrap();
    assert_eq!(own("bob"), (5, 0, 0));
    chat.change("r", &user("bob"), Change::MarkUnread { sequence: 4 }).unwrap();
    assert_eq!(own("bob"), (5, 2, 0));
    assert!(chat.mark("r", "bob", What::Read, 5).unwrap().moved);
    assert_eq!(own("bob"), (5, 0, 0));
    // Who writes has read.
    chat.send("r", &user("alice"), "m");
    assert_eq!(own("bob").1, 1);
    chat.send("r", &user("bob"), "m");
    assert_eq!(own("bob"), (7, 0, 0));
    // Nobody gets beyond the last message.
    let marked = chat.mark("r", "alice", What::Read, 99).unwrap();
    assert_eq!((marked.sequence, marked.unread, marked.moved), (7, 0, true));
    assert!(!chat.mark("r", "alice", What::Read, 100).unwrap().moved);
}

fn history_is_read_in_every_direction(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &[]);
    let empty = chat.history("r", &user("alice"), Extent::Newest, 3);
    assert_eq!(
        (empty.messages.len(), empty.sequence, empty.seq, empty.has_before, empty.has_after),
        (0, 0, 1, false, false)
    );
    for n in 1..=10 {
        chat.send("r", &user("alice"), &format!("m{n}"));
    }
    let page = |extent, limit| {
        let page = chat.history("r", &user("alice"), extent, limit);
        (sequences(&page.messages), page.has_before, page.has_after)
    };
    assert_eq!(page(Extent::Newest, 3), (vec![8, 9, 10], true, false));
    assert_eq!(page(Extent::After(0), 3), (vec![1, 2, 3], false, true));
    assert_eq!(page(Extent::After(8), 3), (vec![9, 10], true, false));
    assert_eq!(page(Extent::After(10), 3), (vec![], true, false));
    assert_eq!(page(Extent::Before(4), 2), (vec![2, 3], true, true));
    assert_eq!(page(Extent::Before(3), 5), (vec![1, 2], false, true));
    assert_eq!(page(Extent::Before(1), 5), (vec![], false, true));
    assert_eq!(page(Extent::Around(5), 4), (vec![3, 4, 5, 6], true, true));
    assert_eq!(page(Extent::Around(1), 4), (vec![1, 2, 3, 4], false, true));
    assert_eq!(page(Extent::Newest, 100), ((1..=10).collect(), false, false));
    let last = chat.history("r", &user("alice"), Extent::Newest, 3);
    assert_eq!((last.sequence, last.seq), (10, 11));
    // A page ends before it becomes too large.
    chat.make("large", "alice", &[]);
    for _ in 0..3 {
        chat.send("large", &user("alice"), &"x".repeat(600_000));
    }
    assert_eq!(sequences(&chat.history("large", &user("alice"), Extent::Newest, 3).messages), [3]);
    assert_eq!(sequences(&chat.history("large", &user("alice"), Extent::After(0), 3).messages), [1]);
}

fn a_direct_room_is_of_two_users(place: &Place) {
    let chat = Chat::open(place);
    let direct = |by: &str, other: &str| chat.room("direct-ab", &user(by), Change::Direct { other: name(other) });
    let room = direct("alice", "bob");
    assert_eq!((room.kind, room.members, room.own.unwrap().peer.as_deref()), (RoomKind::Direct, 2, Some("bob")));
    assert_eq!(direct("bob", "alice").own.unwrap().peer.as_deref(), Some("alice"));
    chat.send("direct-ab", &user("bob"), "hi");
    let refused = |by: &str, change| chat.change("direct-ab", &user(by), change).unwrap_err();
    assert!(matches!(refused("alice", Change::Leave), Refused::Forbidden(_)));
    assert!(matches!(refused("alice", Change::Invite { user: name("eve") }), Refused::Forbidden(_)));
    assert!(matches!(refused("alice", Change::Kick { user: name("bob") }), Refused::Forbidden(_) | Refused::NotMember));
    let by_admin = chat.change("direct-ab", &admin("root"), Change::Kick { user: name("bob") });
    assert!(matches!(by_admin, Err(Refused::Forbidden(_))));
    assert_eq!(refused("eve", Change::Join { create: true }), Refused::NoRoom);
    let (rooms, next) = wait(chat.store.chat_rooms(&user("alice"), None, 10)).unwrap();
    assert_eq!((rooms.len(), next, rooms[0].own.as_ref().unwrap().unread), (1, None, 1));
}

fn who_was_away_is_brought_up_to_date(place: &Place) {
    let mut chat = Chat::open(place);
    for room in ["a", "b", "c"] {
        chat.now += 1;
        chat.make(room, "alice", &["bob"]);
        chat.send(room, &user("alice"), "first");
    }
    let place_of = |room: &str| {
        let room = chat.see(room, &user("bob"));
        Position { epoch: chat.store.epoch(), seq: Seq(room.seq) }
    };
    let (a, b) = (place_of("a"), place_of("b"));
    chat.now += 1;
    chat.send("a", &user("alice"), "second");
    chat.change("a", &user("alice"), Change::Delete { sequence: 1 }).unwrap();
    for _ in 0..6 {
        chat.send("b", &user("alice"), "more");
    }
    let wanted = |room: &str, since| Wanted { room: log(room), since };
    let wanted = vec![wanted("a", a.clone()), wanted("b", b), wanted("gone", a)];
    let synced = wait(chat.store.sync(&user("bob"), wanted, 5)).unwrap();
    assert_eq!(synced.len(), 3);
    for room in synced {
        let unread = room.room.own.as_ref().unwrap().unread;
        match (&*room.room.id, room.since) {
            ("a", Some(Followed::Events(events))) => {
                let names: Vec<_> = events.iter().map(|event| event.event.as_str()).collect();
                assert_eq!((names, unread), (vec!["message", "messageUpdated"], 2));
            }
            ("b", Some(Followed::Page(page))) => {
                assert_eq!((sequences(&page.messages), unread), (vec![3, 4, 5, 6, 7], 7));
            }
            ("c", None) => assert_eq!(unread, 1),
            other => panic!("{other:?}"),
        }
    }
    let (rooms, next) = wait(chat.store.chat_rooms(&user("bob"), None, 2)).unwrap();
    let (more, end) = wait(chat.store.chat_rooms(&user("bob"), next, 2)).unwrap();
    let ids: Vec<_> = rooms.iter().chain(&more).map(|room| &*room.id).collect();
    assert_eq!((ids.len(), ids[2], end), (3, "c", None));
}

fn a_message_goes_with_its_event(place: &Place) {
    let mut chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    let mentioned =
        NewMessage { mentions: vec![name("bob")], id: Some(name("id")), ..chat.message("r", &user("alice"), "old") };
    chat.try_send(mentioned.clone()).unwrap();
    chat.change("r", &user("bob"), Change::React { sequence: 1, emoji: "👍".into(), on: true }).unwrap();
    chat.now += 10_000;
    chat.send("r", &user("alice"), "new");
    let gone = wait(denrei_hub::Log::trim(&chat.store, Retained::Class("chat".into()), chat.now)).unwrap();
    assert_eq!(gone, 4);
    let page = chat.history("r", &user("bob"), Extent::Newest, 10);
    assert_eq!((sequences(&page.messages), page.has_before), (vec![2], false));
    assert_eq!(chat.see("r", &user("bob")).own.unwrap().mentions, 0);
    // Its id is free again, its number is not.
    assert!(!chat.try_send(mentioned).unwrap().duplicate);
    assert_eq!(chat.see("r", &user("bob")).sequence, 3);
}

fn presence_is_for_contacts_and_room_mates(place: &Place) {
    let chat = Chat::open(place);
    chat.make("small", "alice", &["bob"]);
    chat.make("large", "alice", &["carol", "dave", "erin"]);
    let keep = |profile| told(|tell| chat.store.keep_profile(profile, tell)).unwrap();
    keep(Profile::Contact { user: name("alice"), contact: name("frank"), on: true });
    keep(Profile::Contact { user: name("bob"), contact: name("frank"), on: true });
    keep(Profile::Contact { user: name("bob"), contact: name("frank"), on: false });
    keep(Profile::Seen(vec![(name("alice"), 500), (name("bob"), 400)]));
    keep(Profile::Seen(vec![(name("alice"), 300)]));
    keep(Profile::Visible { user: name("bob"), on: false });
    let mut observers = wait(chat.store.observers(&name("alice"), 3, 100)).unwrap();
    observers.sort();
    assert_eq!(observers, [name("bob"), name("frank")]);
    assert_eq!(wait(chat.store.contacts(&name("alice"))).unwrap(), ["frank".into()]);
    let known = |by: &str, others: &[&str]| {
        let others = others.iter().map(|other| name(other)).collect();
        wait(chat.store.known_to(&name(by), others, 3)).unwrap()
    };
    let seen = known("bob", &["alice", "carol", "bob", "nobody"]);
    let seen: Vec<_> = seen.iter().map(|(user, seen)| (user.as_str(), seen.at_ms, seen.invisible)).collect();
    assert_eq!(seen, [("alice", 500, false), ("bob", 400, true)]);
    assert_eq!(known("carol", &["dave"]).len(), 0);
    assert_eq!((known("frank", &["alice"]).len(), known("alice", &["frank"]).len()), (1, 0));
}

fn many_messages_of_many_rooms_in_one_group(place: &Place) {
    const ROOMS: usize = 7;
    let chat = Chat::open(place);
    for room in 0..ROOMS {
        chat.make(&format!("r{room}"), "alice", &["bob"]);
    }
    let (tell, answers) = mpsc::sync_channel(1000);
    for n in 0..700 {
        let tell = tell.clone();
        let by = user(["alice", "bob", "eve"][n % 3]);
        let room = format!("r{}", n % ROOMS);
        chat.store.send(
            chat.message(&room, &by, &n.to_string()),
            Box::new(move |sent| tell.send((n, sent.unwrap())).unwrap()),
        );
    }
    let mut next = [1; ROOMS];
    for _ in 0..700 {
        let (n, sent) = answers.recv_timeout(Duration::from_secs(60)).unwrap();
        match sent {
            // In the order in which they were handed in.
            Ok(sent) => {
                let message = json(&sent.event);
                assert_eq!(
                    (message["sequence"].as_u64(), &message["content"]),
                    (Some(next[n % ROOMS]), &n.to_string().into())
                );
                next[n % ROOMS] += 1;
            }
            Err(refused) => assert_eq!((refused, n % 3), (Refused::NotMember, 2)),
        }
    }
    assert!(chat.store.statistics().commits < 300, "messages share commits: {:?}", chat.store.statistics());
    let own = chat.see("r0", &user("bob")).own.unwrap();
    let last = chat.history("r0", &user("bob"), Extent::Newest, 1).messages.remove(0);
    assert_eq!(own.unread == 0, &*last.user_id == "bob");
}
