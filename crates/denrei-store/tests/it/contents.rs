use denrei_hub::{Draft, Extent, Log, Seq};

use crate::harness::{Place, append, draft, name, numbers, on_both, read, read_all, submit, wait, with_id};

on_both!(
    names_may_hold_anything_but_control_characters,
    rooms_whose_names_differ_by_case_only_are_two,
    a_payload_may_be_empty_and_need_not_be_text,
    times_beyond_what_sql_can_hold_become_the_last_one,
    a_page_ends_before_it_holds_more_than_a_mebibyte_but_is_never_empty,
    spans_at_the_edges_are_answered,
    a_duplicate_within_one_group_reports_the_first_as_it_was_sent,
);

fn names_may_hold_anything_but_control_characters(place: &Place) {
    let long = "ü".repeat(127) + "x";
    let names = ["it's", "100%_", "a\"b", "*", ">", ".", " ", "chat:ø:日本語", "$1", "--", "\\", "🏃", &long];
    let store = place.open();
    for text in names {
        let odd = Draft {
            event: name(text),
            from: Some(text.into()),
            user: Some(name(text)),
            ..with_id(draft(text, text), text)
        };
        assert!(!append(&store, odd.clone()).duplicate, "{text}");
        assert!(append(&store, odd).duplicate, "{text}");
        let page = read(&store, &name(text), Extent::Newest(10));
        assert_eq!(numbers(&page), [1], "{text}");
        let message = &page.messages[0];
        assert_eq!(message.room.as_str(), text);
        assert_eq!(message.event.as_str(), text);
        assert_eq!(message.from.as_deref(), Some(text));
        assert_eq!(message.user.as_ref().unwrap().as_str(), text);
        assert_eq!(message.payload, text);
    }
    let rooms: Vec<_> = names.map(name).to_vec();
    assert!(wait(store.heads(rooms)).unwrap().iter().all(|head| head.seq == Seq(1)));
}

fn rooms_whose_names_differ_by_case_only_are_two(place: &Place) {
    let store = place.open();
    append(&store, draft("feed:a", "small"));
    append(&store, draft("feed:A", "large"));
    assert_eq!(read_all(&store, "feed:A"), [(1, "large".into())]);
}

fn a_payload_may_be_empty_and_need_not_be_text(place: &Place) {
    let store = place.open();
    append(&store, draft("feed:a", ""));
    append(&store, Draft { payload: vec![0, 255, 0].into(), ..draft("feed:a", "") });
    let page = read(&store, &name("feed:a"), Extent::Newest(10));
    assert_eq!((page.messages[0].payload.len(), &page.messages[1].payload[..]), (0, &[0, 255, 0][..]));
}

fn times_beyond_what_sql_can_hold_become_the_last_one(place: &Place) {
    let store = place.open();
    append(&store, Draft { timestamp: u64::MAX, ..draft("feed:a", "1") });
    assert_eq!(read(&store, &name("feed:a"), Extent::Newest(1)).messages[0].timestamp, i64::MAX as u64);
}

fn a_page_ends_before_it_holds_more_than_a_mebibyte_but_is_never_empty(place: &Place) {
    let store = place.open();
    let large = "x".repeat(5 << 20);
    let half = "x".repeat(400 << 10);
    for payload in [&half, &half, &half, &large, &half, &half, &half] {
        append(&store, draft("feed:a", payload));
    }
    let page = |extent| numbers(&read(&store, &name("feed:a"), extent));
    assert_eq!(page(Extent::After(Seq(0), 100)), [1, 2]);
    assert_eq!(page(Extent::After(Seq(2), 100)), [3]);
    assert_eq!(page(Extent::After(Seq(3), 100)), [4], "alone larger than a page");
    assert_eq!(page(Extent::After(Seq(4), 100)), [5, 6]);
    assert_eq!(page(Extent::Newest(100)), [6, 7], "the newest are kept");
    assert_eq!(page(Extent::Newest(1)), [7]);
    assert_eq!(read_all(&store, "feed:a").len(), 7);
}

fn spans_at_the_edges_are_answered(place: &Place) {
    let store = place.open();
    for at in 0..3 {
        append(&store, draft("feed:a", &at.to_string()));
    }
    let page = |extent| numbers(&read(&store, &name("feed:a"), extent));
    assert!(page(Extent::After(Seq(0), 0)).is_empty());
    assert!(page(Extent::Newest(0)).is_empty());
    assert_eq!(page(Extent::After(Seq(0), usize::MAX)), [1, 2, 3]);
    assert_eq!(page(Extent::Newest(usize::MAX)), [1, 2, 3]);
    assert!(page(Extent::After(Seq(u64::MAX), 10)).is_empty());
}

fn a_duplicate_within_one_group_reports_the_first_as_it_was_sent(place: &Place) {
    let store = place.open();
    let answers =
        submit(&store, (0..200).map(|at| with_id(draft("feed:a", &format!("\"{at}\"")), &(at % 10).to_string())));
    let answers: Vec<_> = answers.iter().map(Result::unwrap).collect();
    assert_eq!(answers.len(), 200);
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(answer.duplicate, at >= 10);
        assert_eq!(answer.message.seq, Seq(at as u64 % 10 + 1));
        assert_eq!(answer.message.payload, format!("\"{}\"", at % 10));
    }
    assert_eq!(read_all(&store, "feed:a").len(), 10);
}
