//! What costs no more because there is much.

use super::*;

on_both!(
    a_sync_of_many_large_rooms_is_bounded,
    a_named_room_is_found_behind_a_hundred_others,
    a_page_counts_data_as_well,
    a_sum_of_reactions_names_the_first_ten,
    reactions_of_a_thread_are_read_with_it,
    receipts_are_for_rooms_of_moderate_size,
    a_refused_call_makes_no_room,
    a_resend_is_recognized_although_it_would_be_refused_now,
);

fn a_sync_of_many_large_rooms_is_bounded(place: &Place) {
    let chat = Chat::open(place);
    let since = Position { epoch: chat.store.epoch(), seq: Seq(1) };
    let data = serde_json::value::RawValue::from_string(format!("{:?}", "x".repeat(300_000))).unwrap();
    let mut wanted = Vec::new();
    for n in 0..10 {
        let room = format!("r{n}");
        chat.make(&room, "alice", &[]);
        for _ in 0..3 {
            let message = chat.message(&room, &user("alice"), &"x".repeat(300_000));
            chat.try_send(NewMessage { data: Some(data.clone()), ..message }).unwrap();
        }
        wanted.push(Wanted { room: log(&room), since: since.clone() });
    }
    // Where nothing is missing, nothing is too much.
    chat.make("quiet", "alice", &[]);
    wanted.push(Wanted { room: log("quiet"), since: since.clone() });
    let synced = wait(chat.store.sync(&user("alice"), wanted, 2)).unwrap();
    assert!(synced.iter().all(|synced| synced.room.last_message.is_none()));
    let too_much = synced.iter().filter(|synced| matches!(synced.since, Some(Followed::TooMuch))).count();
    let mut pages = 0;
    for synced in &synced {
        match &synced.since {
            Some(Followed::Page(page)) => pages += page.messages.len(),
            Some(Followed::Events(events)) => assert!(events.is_empty() && &*synced.room.id == "quiet"),
            _ => {}
        }
    }
    // 600 kB each; a page has one of them.
    assert_eq!((pages, too_much), (7, 3));
}

fn a_named_room_is_found_behind_a_hundred_others(place: &Place) {
    let mut chat = Chat::open(place);
    chat.make("quiet", "alice", &[]);
    chat.make("not-mine", "bob", &[]);
    chat.now += 1;
    for n in 0..101 {
        chat.make(&format!("r{n}"), "alice", &[]);
    }
    let since = Position { epoch: chat.store.epoch(), seq: Seq(0) };
    let wanted = ["quiet", "not-mine", "nowhere"].map(|room| Wanted { room: log(room), since: since.clone() });
    let synced = wait(chat.store.sync(&user("alice"), wanted.into(), 5)).unwrap();
    let named: Vec<_> = synced.iter().filter(|synced| synced.since.is_some()).map(|synced| &*synced.room.id).collect();
    assert_eq!((synced.len(), named), (101, vec!["quiet"]));
}

fn a_page_counts_data_as_well(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &[]);
    let data = serde_json::value::RawValue::from_string(format!("{:?}", "x".repeat(600_000))).unwrap();
    for _ in 0..3 {
        let message = NewMessage { data: Some(data.clone()), ..chat.message("r", &user("alice"), "small") };
        chat.try_send(message).unwrap();
    }
    let page = chat.history("r", &user("alice"), Extent::Newest, 3);
    assert_eq!((sequences(&page.messages), page.has_before), (vec![3], true));
}

fn a_sum_of_reactions_names_the_first_ten(place: &Place) {
    let mut chat = Chat::open(place);
    let users: Vec<_> = (10..22).map(|n| format!("u{n}")).collect();
    chat.make("r", "alice", &users.iter().map(String::as_str).collect::<Vec<_>>());
    chat.send("r", &user("alice"), "one");
    let mut react = |by: &str, on| {
        chat.now += 1;
        let change = Change::React { sequence: 1, emoji: "+".into(), on };
        json(&chat.change("r", &user(by), change).unwrap().events[0])["reactions"].clone()
    };
    for user in &users {
        react(user, true);
    }
    let without_first = react("u10", false);
    let expected = serde_json::json!([{ "emoji": "+", "count": 11, "userIds": &users[1..11] }]);
    assert_eq!(without_first, expected);
    let page = chat.history("r", &user("alice"), Extent::Newest, 1);
    assert_eq!(serde_json::to_value(&page.messages[0].reactions).unwrap(), expected);
    chat.change("r", &user("alice"), Change::Delete { sequence: 1 }).unwrap();
    assert!(chat.history("r", &user("alice"), Extent::Newest, 1).messages[0].reactions.is_empty());
}

fn reactions_of_a_thread_are_read_with_it(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &[]);
    chat.send("r", &user("alice"), "root");
    for _ in 0..2 {
        chat.try_send(NewMessage { thread: Some(1), ..chat.message("r", &user("alice"), "answer") }).unwrap();
        chat.send("r", &user("alice"), "between");
    }
    for sequence in 1..=5 {
        let emoji = format!("e{sequence}").into();
        chat.change("r", &user("alice"), Change::React { sequence, emoji, on: true }).unwrap();
    }
    let thread = chat.store.history(&log("r"), &user("alice"), chat.now, Extent::Newest, Some(1), 10);
    let thread = wait(thread).unwrap().unwrap();
    let emoji: Vec<_> = thread.messages.iter().map(|message| &*message.reactions[0].emoji).collect();
    assert_eq!((sequences(&thread.messages), emoji), (vec![2, 4], vec!["e2", "e4"]));
}

fn receipts_are_for_rooms_of_moderate_size(place: &Place) {
    let chat = Chat::open(place);
    let create = |room: &str, members: usize| {
        let members = (0..members).map(|n| name(&format!("u{n}"))).collect();
        chat.room(room, &user("alice"), Change::Create { kind: RoomKind::Private, title: "".into(), members });
        chat.send(room, &user("alice"), "one");
        wait(chat.store.receipts(&log(room), &user("alice"), chat.now, 1)).unwrap().unwrap().read.len()
    };
    assert_eq!((create("moderate", 999), create("large", 1000)), (1, 0));
}

fn a_refused_call_makes_no_room(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &[]);
    let commits = chat.store.statistics().commits;
    assert_eq!(chat.try_send(chat.message("no1", &user("alice"), "x")).unwrap_err(), Refused::NoRoom);
    assert_eq!(chat.mark("no2", "alice", What::Read, 1).unwrap_err(), Refused::NoRoom);
    for change in [Change::Leave, Change::Join { create: false }, Change::Delete { sequence: 1 }] {
        assert_eq!(chat.change("no3", &user("alice"), change).unwrap_err(), Refused::NoRoom);
    }
    let direct = chat.change("no4", &guest("c"), Change::Direct { other: name("alice") });
    assert!(matches!(direct, Err(Refused::NoRoom | Refused::NotMember)));
    assert_eq!(chat.store.statistics().commits, commits + 6);
    place.meddle("CREATE TABLE found (n BIGINT CHECK (n = 1))");
    place.meddle("INSERT INTO found SELECT COUNT(*) FROM rooms");
    place.meddle("INSERT INTO found SELECT value FROM counters WHERE name = 'room'");
    // And the room can still be made.
    chat.make("no1", "alice", &[]);
    chat.send("no1", &user("alice"), "now");
}

fn a_resend_is_recognized_although_it_would_be_refused_now(place: &Place) {
    let chat = Chat::open(place);
    chat.make("r", "alice", &["bob"]);
    chat.change("r", &user("alice"), Change::Update { title: None, slow_mode_ms: Some(60_000) }).unwrap();
    // With many in one group: some of one id, others that are refused.
    let (tell, answers) = mpsc::sync_channel(1000);
    for n in 0..60 {
        let tell = tell.clone();
        let id = if n % 2 == 0 { name("same") } else { name(&format!("other{n}")) };
        let message = NewMessage { id: Some(id), ..chat.message("r", &user("bob"), "x") };
        chat.store.send(message, Box::new(move |sent| tell.send((n, sent.unwrap())).unwrap()));
    }
    for _ in 0..60 {
        match answers.recv_timeout(Duration::from_secs(60)).unwrap() {
            (n, Ok(sent)) => assert!(n % 2 == 0 && sent.duplicate == (n > 0)),
            (n, Err(refused)) => assert!(n % 2 == 1 && matches!(refused, Refused::Slow(_))),
        }
    }
}
