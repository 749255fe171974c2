use std::sync::Arc;

use denrei_hub::{Draft, Extent, Log, Retained, Seq};
use denrei_store::Store;

use crate::harness::{Place, append, draft, name, numbers, on_both, read, submit, wait, with_id};

on_both!(
    trimming_lets_go_of_the_oldest_and_pages_say_what_is_first,
    a_room_of_which_nothing_is_kept_does_not_begin_again,
    an_old_message_behind_a_younger_one_stays,
    only_rooms_of_the_class_are_trimmed,
    rooms_of_classes_that_nobody_named_can_be_trimmed_together,
    trimming_goes_through_many_rooms_and_many_messages_in_steps,
    a_step_lets_go_of_about_8_mebibytes,
    the_id_of_a_trimmed_message_is_free_again,
);

fn at(timestamp: u64, draft: Draft) -> Draft {
    Draft { timestamp, ..draft }
}

fn first_and_head(store: &Store, room: &str) -> (u64, u64) {
    let page = read(store, &name(room), Extent::Newest(1));
    (page.first.0, page.head.0)
}

fn class(name: &str) -> Retained {
    Retained::Class(name.into())
}

fn trimming_lets_go_of_the_oldest_and_pages_say_what_is_first(place: &Place) {
    let store = place.open();
    for time in 1..=10 {
        append(&store, at(time, draft("inbox:alice", "1")));
    }
    assert_eq!(wait(store.trim(class("inbox"), 5)).unwrap(), 4);
    let page = read(&store, &name("inbox:alice"), Extent::After(Seq(0), 3));
    assert_eq!((page.first, page.head, numbers(&page)), (Seq(5), Seq(10), vec![5, 6, 7]));
    assert_eq!(wait(store.trim(class("inbox"), 5)).unwrap(), 0, "nothing is left to trim");
}

fn a_room_of_which_nothing_is_kept_does_not_begin_again(place: &Place) {
    let store = place.open();
    for time in 1..=3 {
        append(&store, at(time, draft("inbox:alice", "1")));
    }
    assert_eq!(wait(store.trim(class("inbox"), u64::MAX)).unwrap(), 3);
    let page = read(&store, &name("inbox:alice"), Extent::After(Seq(0), 10));
    assert_eq!((page.first, page.head, numbers(&page)), (Seq(4), Seq(3), vec![]));
    drop(store);
    let store = place.open();
    assert_eq!(append(&store, draft("inbox:alice", "1")).message.seq, Seq(4));
    assert_eq!(first_and_head(&store, "inbox:alice"), (4, 4));
}

fn an_old_message_behind_a_younger_one_stays(place: &Place) {
    let store = place.open();
    for time in [1, 100, 2, 3] {
        append(&store, at(time, draft("inbox:alice", "1")));
    }
    assert_eq!(wait(store.trim(class("inbox"), 50)).unwrap(), 1);
    assert_eq!(first_and_head(&store, "inbox:alice"), (2, 4));
}

fn only_rooms_of_the_class_are_trimmed(place: &Place) {
    let store = place.open();
    let rooms = ["inbox:a", "inbox", "inbox2:a", "inb:a", "chat:inbox:a", "Inbox:a", ":a"];
    for room in rooms {
        append(&store, at(1, draft(room, "1")));
    }
    assert_eq!(wait(store.trim(class("inbox"), 2)).unwrap(), 1);
    assert_eq!(first_and_head(&store, "inbox:a"), (2, 1));
    for room in &rooms[1..] {
        assert_eq!(first_and_head(&store, room), (1, 1), "{room}");
    }
    assert_eq!(wait(store.trim(class(""), 2)).unwrap(), 2, "`inbox` and `:a` have no class");
}

fn rooms_of_classes_that_nobody_named_can_be_trimmed_together(place: &Place) {
    let store = place.open();
    let known = (0..300).map(|room| format!("chat:{room}"));
    let rooms: Vec<_> = known.chain(["lobby".into(), "game:1".into(), "chats".into()]).collect();
    for room in &rooms {
        append(&store, at(1, draft(room, "1")));
    }
    let others = Retained::Others(["chat", "inbox"].map(Arc::from).into());
    assert_eq!(wait(store.trim(others.clone(), 2)).unwrap(), 3);
    assert_eq!(wait(store.trim(others, 2)).unwrap(), 0);
    assert_eq!(first_and_head(&store, "lobby"), (2, 1));
    assert_eq!(first_and_head(&store, "chat:299"), (1, 1));
}

fn trimming_goes_through_many_rooms_and_many_messages_in_steps(place: &Place) {
    let store = place.open();
    let many = (0..5_000).map(|_| at(1, draft("inbox:long", "1")));
    let rooms = (0..1_000).map(|room| at(1, draft(&format!("inbox:{room}"), "1")));
    let young = (0..5).map(|_| at(9, draft("inbox:long", "1")));
    let answers = submit(&store, many.chain(rooms).chain(young));
    assert_eq!(answers.iter().filter(Result::is_ok).count(), 6_005);
    let before = store.statistics().commits;
    assert_eq!(wait(store.trim(class("inbox"), 5)).unwrap(), 6_000);
    assert!(store.statistics().commits - before >= 6, "no step lets go of more than 1,000");
    assert_eq!(first_and_head(&store, "inbox:long"), (5_001, 5_005));
    let rooms: Vec<_> = (0..1_000).map(|room| name(&format!("inbox:{room}"))).collect();
    assert!(wait(store.heads(rooms)).unwrap().iter().all(|head| head.seq == Seq(1)));
}

fn a_step_lets_go_of_about_8_mebibytes(place: &Place) {
    let store = place.open();
    let payload = "x".repeat(3 << 20);
    for _ in 0..9 {
        append(&store, at(1, draft("inbox:a", &payload)));
    }
    let before = store.statistics().commits;
    assert_eq!(wait(store.trim(class("inbox"), 5)).unwrap(), 9);
    assert!(store.statistics().commits - before >= 3);
}

fn the_id_of_a_trimmed_message_is_free_again(place: &Place) {
    let store = place.open();
    append(&store, at(1, with_id(draft("inbox:a", "1"), "x")));
    wait(store.trim(class("inbox"), 2)).unwrap();
    let again = append(&store, at(3, with_id(draft("inbox:a", "2"), "x")));
    assert_eq!((again.duplicate, again.message.seq), (false, Seq(2)));
}
