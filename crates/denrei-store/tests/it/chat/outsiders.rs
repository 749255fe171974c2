//! What who is no member learns.

use super::*;

on_both!(private_rooms_are_not_there_for_others, outsiders_see_no_marks, a_ban_is_known_to_who_is_banned);

fn private_rooms_are_not_there_for_others(place: &Place) {
    let chat = Chat::open(place);
    let create = Change::Create { kind: RoomKind::Private, title: "".into(), members: Vec::new() };
    chat.room("secret", &user("alice"), create);
    chat.room("direct-ab", &user("alice"), Change::Direct { other: name("bob") });
    for room in ["secret", "direct-ab"] {
        chat.send(room, &user("alice"), "one");
        for eve in [user("eve"), guest("c1")] {
            let (log, now) = (log(room), chat.now);
            let edit = Change::Edit { sequence: 1, content: "x".into(), data: None, mentions: None, version: None };
            let changes = [
                Change::Update { title: None, slow_mode_ms: None },
                Change::Join { create: true },
                Change::Join { create: false },
                Change::Leave,
                Change::Invite { user: name("eve") },
                Change::SetRole { user: name("alice"), role: Role::Member },
                Change::Kick { user: name("alice") },
                Change::Ban { user: name("alice"), until_ms: 0, reason: None },
                Change::Unban { user: name("alice") },
                edit,
                Change::Delete { sequence: 1 },
                Change::Delete { sequence: 99 },
                Change::React { sequence: 1, emoji: "+".into(), on: true },
                Change::MarkUnread { sequence: 1 },
            ];
            for change in changes {
                let named = format!("{change:?}");
                assert_eq!(chat.change(room, &eve, change).unwrap_err(), Refused::NoRoom, "{named}");
            }
            assert_eq!(chat.try_send(chat.message(room, &eve, "x")).unwrap_err(), Refused::NoRoom);
            let store = &chat.store;
            let answers = [
                wait(store.may_read(&log, &eve, now)).unwrap().err(),
                wait(store.chat_room(&log, &eve, now)).unwrap().err(),
                wait(store.members(&log, &eve, now, "", 10)).unwrap().err(),
                wait(store.bans(&log, &eve, now)).unwrap().err(),
                wait(store.history(&log, &eve, now, Extent::Newest, None, 10)).unwrap().err(),
                wait(store.chat_message(&log, &eve, now, 1)).unwrap().err(),
                wait(store.receipts(&log, &eve, now, 1)).unwrap().err(),
            ];
            assert!(answers.iter().all(|refused| *refused == Some(Refused::NoRoom)), "{answers:?}");
        }
        assert_eq!(chat.mark(room, "eve", What::Read, 1).unwrap_err(), Refused::NoRoom);
    }
}

fn outsiders_see_no_marks(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    chat.send("r", &user("alice"), "one");
    for eve in [user("eve"), guest("c1")] {
        let receipts = wait(chat.store.receipts(&log("r"), &eve, chat.now, 1)).unwrap();
        assert_eq!(receipts.unwrap_err(), Refused::NotMember);
        let members = wait(chat.store.members(&log("r"), &eve, chat.now, "", 10)).unwrap().unwrap();
        assert!(members.iter().all(|member| (member.read, member.delivered) == (None, None)));
    }
    let members = wait(chat.store.members(&log("r"), &user("bob"), chat.now, "", 10)).unwrap().unwrap();
    assert_eq!((members[0].read, members[0].delivered), (Some(1), Some(1)));
    // Whoever reads the log is no member either.
    let role = Change::SetRole { user: name("bob"), role: Role::Moderator };
    let told = json(&chat.change("r", &user("alice"), role).unwrap().events[0]);
    assert!(told["read"].is_null() && told["role"] == "moderator");
}

fn a_ban_is_known_to_who_is_banned(place: &Place) {
    let chat = Chat::open(place);
    let create = Change::Create { kind: RoomKind::Private, title: "".into(), members: vec![name("bob")] };
    chat.room("secret", &user("alice"), create);
    chat.change("secret", &user("alice"), Change::Ban { user: name("bob"), until_ms: 0, reason: None }).unwrap();
    assert_eq!(chat.try_send(chat.message("secret", &user("bob"), "x")).unwrap_err(), Refused::Banned);
    assert_eq!(chat.change("secret", &user("bob"), Change::Delete { sequence: 1 }).unwrap_err(), Refused::Banned);
    assert_eq!(wait(chat.store.may_read(&log("secret"), &user("bob"), chat.now)).unwrap(), Err(Refused::Banned));
}
