//! Who comes, goes and says nothing meanwhile.

use super::*;

on_both!(
    leaving_ends_no_mute_and_no_wait,
    who_is_muted_does_not_react,
    guests_send_nothing_in_slow_mode,
    an_empty_room_is_its_next_members,
    guests_without_a_connection_have_a_name,
    an_admin_edits_its_own_message,
    an_edit_keeps_the_mentions_that_it_does_not_name,
);

fn leaving_ends_no_mute_and_no_wait(place: &Place) {
    let mut chat = Chat::open(place);
    chat.make("r", "alice", &["bob", "carol"]);
    chat.change("r", &user("alice"), Change::Update { title: None, slow_mode_ms: Some(5000) }).unwrap();
    let until_ms = chat.now + 60_000;
    chat.change("r", &user("alice"), Change::Mute { user: name("bob"), until_ms }).unwrap();
    chat.send("r", &user("carol"), "one");
    for who in ["bob", "carol"] {
        chat.change("r", &user(who), Change::Leave).unwrap();
        chat.room("r", &user(who), Change::Join { create: false });
    }
    let again = |chat: &Chat, who: &str| chat.try_send(chat.message("r", &user(who), "two")).unwrap_err();
    assert_eq!(again(&chat, "bob"), Refused::Muted(until_ms));
    assert_eq!(again(&chat, "carol"), Refused::Slow(chat.now + 5000));
    chat.now = until_ms;
    // What is over does not come back.
    for who in ["bob", "carol"] {
        chat.change("r", &user(who), Change::Leave).unwrap();
        chat.room("r", &user(who), Change::Join { create: false });
        chat.send("r", &user(who), "two");
    }
}

fn who_is_muted_does_not_react(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    chat.send("r", &user("bob"), "one");
    let until_ms = chat.now + 1000;
    chat.change("r", &user("alice"), Change::Mute { user: name("bob"), until_ms }).unwrap();
    let react = Change::React { sequence: 1, emoji: "+".into(), on: true };
    assert_eq!(chat.change("r", &user("bob"), react.clone()).unwrap_err(), Refused::Muted(until_ms));
    chat.change("r", &admin("root"), react).unwrap();
}

fn guests_send_nothing_in_slow_mode(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &[]);
    chat.send("r", &guest("c1"), "fast");
    chat.change("r", &user("alice"), Change::Update { title: None, slow_mode_ms: Some(1) }).unwrap();
    assert_eq!(chat.try_send(chat.message("r", &guest("c2"), "slow")).unwrap_err(), Refused::NotMember);
}

fn an_empty_room_is_its_next_members(place: &Place) {
    let chat = Chat::open(place);
    chat.room("r", &guest("c1"), Change::Join { create: true });
    let role = |by: &str| chat.room("r", &user(by), Change::Join { create: false }).own.unwrap().role;
    assert_eq!((role("alice"), role("bob")), (Role::Owner, Role::Member));
}

fn guests_without_a_connection_have_a_name(place: &Place) {
    let chat = Chat::open(place);
    let room = chat.room("r", &Actor::default(), Change::Join { create: true });
    assert_eq!(&*room.created_by, "guest");
    assert_eq!(chat.send("r", &Actor::default(), "hi")["userId"], "guest");
    assert_eq!(&*chat.history("r", &user("eve"), Extent::Newest, 1).messages[0].user_id, "guest");
}

fn an_admin_edits_its_own_message(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &[]);
    chat.send("r", &admin("root"), "one");
    let edit = Change::Edit { sequence: 1, content: "two".into(), data: None, mentions: None, version: None };
    assert_eq!(json(&chat.change("r", &admin("root"), edit).unwrap().events[0])["content"], "two");
}

fn an_edit_keeps_the_mentions_that_it_does_not_name(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    chat.try_send(NewMessage { mentions: vec![name("bob")], ..chat.message("r", &user("alice"), "one") }).unwrap();
    let edit = |mentions| {
        let change = Change::Edit { sequence: 1, content: "two".into(), data: None, mentions, version: None };
        let told = json(&chat.change("r", &user("alice"), change).unwrap().events[0]);
        (told["mentions"].clone(), chat.see("r", &user("bob")).own.unwrap().mentions)
    };
    assert_eq!(edit(None), (serde_json::json!(["bob"]), 1));
    assert_eq!(edit(Some(Vec::new())), (Value::Null, 0));
}
