//! The log of memory rooms that nodes share.

use denrei_hub::{LogError, Seq, random_token};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_give_each_number_once() {
    let server = Server::start();
    let (one, other) = (server.node(1).log, server.node(2).log);
    let room = room("busy");
    let mut answers = Vec::new();
    for at in 0..200 {
        for (node, log) in [(1, &one), (2, &other)] {
            answers.push((node, submit(log, draft(&room, &format!("\"{node}-{at}\"")))));
        }
        if at % 5 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let mut given = [vec![], vec![]];
    for (node, answer) in answers {
        given[node - 1].push(answer.await.expect("the log takes it").message.seq.0);
    }
    assert!(given.iter().all(|numbers| numbers.is_sorted_by(|a, b| a < b)), "each node's drafts keep their order");
    let mut all = given.concat();
    all.sort_unstable();
    assert_eq!(all, (1..=400).collect::<Vec<_>>());
    let pages = [read(&one, &room, Extent::Newest(1000)).await, read(&other, &room, Extent::Newest(1000)).await];
    assert_eq!(payloads(&pages[0]), payloads(&pages[1]));
    assert_eq!(numbers(&pages[0]), all);
    let mut told = payloads(&pages[0]);
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 400, "nothing is there twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_on_two_nodes_at_once_is_one_message() {
    let server = Server::start();
    let (one, other) = (server.node(1).log, server.node(2).log);
    let room = room("ids");
    for at in 0..30 {
        let id = format!("id-{at}");
        let (a, b) = (submit(&one, with_id(&room, &id, "1")), submit(&other, with_id(&room, &id, "2")));
        let (a, b) = (a.await.expect("the log takes it"), b.await.expect("the log takes it"));
        assert_eq!(a.message.position(), b.message.position(), "{id}");
        assert_eq!(a.message.payload, b.message.payload, "{id}");
        assert_eq!(usize::from(a.duplicate) + usize::from(b.duplicate), 1, "{id}");
    }
    assert_eq!(head(&one, &room).await.seq, Seq(30));
    // A node that has never seen the room.
    let third = server.node(3).log;
    let again = append(&third, with_id(&room, "id-7", "3")).await;
    assert!(again.duplicate && again.message.seq == Seq(8) && again.message.payload != "3");
    let new = append(&third, with_id(&room, "id-30", "3")).await;
    assert_eq!((new.duplicate, new.message.seq, new.message.origin), (false, Seq(31), 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_keeps_as_many_as_its_window_says() {
    let server = Server::start();
    let classes = || live(Window { events: 10, ..Window::default() });
    let (one, other) = (server.node_with(1, classes()).log, server.node_with(2, classes()).log);
    let room = room("few");
    // One at a time and together; more than the server is asked to keep of a room.
    for at in 0..25 {
        append(&one, with_id(&room, &format!("{at}"), "1")).await;
    }
    let many: Vec<_> = (25..500).map(|at| submit(&one, with_id(&room, &format!("{at}"), "1"))).collect();
    for answer in many {
        answer.await.expect("the log takes it");
    }
    for log in [&one, &other] {
        let page = read(log, &room, Extent::After(Seq::ZERO, 100)).await;
        assert_eq!(numbers(&page), (491..=500).collect::<Vec<_>>());
        assert_eq!((page.first, page.head), (Seq(491), Seq(500)));
    }
    assert!(append(&other, with_id(&room, "499", "1")).await.duplicate, "it is kept");
    assert!(!append(&other, with_id(&room, "480", "1")).await.duplicate, "it was let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_keeps_as_much_as_its_window_says() {
    let server = Server::start();
    let classes = || live(Window { bytes: 50_000, ..Window::default() });
    let (one, other) = (server.node_with(1, classes()).log, server.node_with(2, classes()).log);
    let room = room("heavy");
    let payload = format!("\"{}\"", "a".repeat(3000));
    for _ in 0..12 {
        append(&one, draft(&room, &payload)).await;
    }
    for log in [&one, &other] {
        let page = read(log, &room, Extent::Newest(100)).await;
        let weight: usize = page.messages.iter().map(|message| message.weight()).sum();
        assert!(weight <= 50_000 && weight + page.messages[0].weight() > 50_000, "{weight} bytes");
        assert_eq!((page.messages[0].seq, page.head), (page.first, Seq(12)));
    }
    let huge = format!("\"{}\"", "a".repeat(100_000));
    append(&one, draft(&room, &huge)).await;
    assert_eq!(numbers(&read(&other, &room, Extent::Newest(100)).await), [13], "the newest is kept, however heavy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_keeps_as_long_as_its_window_says() {
    let server = Server::start();
    let mut classes = live(Window { age: Duration::from_secs(1), ..Window::default() });
    // So that the server keeps it for longer.
    classes.set("other", Class { keep: Keep::Memory(Window::default()) });
    let log = server.node_with(1, classes).log;
    let room = room("short");
    let epoch = append(&log, with_id(&room, "1", "1")).await.message.epoch.clone();
    tokio::time::sleep(Duration::from_millis(600)).await;
    append(&log, draft(&room, "2")).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let page = read(&log, &room, Extent::After(Seq::ZERO, 100)).await;
    assert_eq!((payloads(&page), page.first, page.head), (vec!["2".to_owned()], Seq(2), Seq(2)));
    let again = append(&log, with_id(&room, "1", "3")).await;
    assert_eq!((again.duplicate, again.message.seq), (false, Seq(3)), "its id is free");
    assert_eq!(again.message.epoch, epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_room_keeps_its_epoch_and_another_does_not() {
    let server = Server::start();
    let classes = || live(Window { age: Duration::from_secs(2), ..Window::default() });
    let (holds, other) = (server.node_with(1, classes()).log, server.node_with(2, classes()).log);
    let (held, left) = (room("held"), room("left"));
    let hold = holds.hold(&held).expect("it can be held");
    let before = append(&other, draft(&held, "1")).await.message.position();
    let gone = append(&other, draft(&left, "1")).await.message.position();
    for _ in 0..60 {
        holds.sweep();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let page = read(&other, &held, Extent::Newest(10)).await;
    assert_eq!((page.position(), page.first, page.messages.len()), (before.clone(), Seq(2), 0));
    assert_ne!(head(&other, &left).await.epoch, gone.epoch, "nobody held it");
    let next = append(&holds, draft(&held, "2")).await.message.position();
    assert_eq!((&next.epoch, next.seq), (&before.epoch, Seq(2)));
    drop(hold);
    tokio::time::sleep(Duration::from_secs(4)).await;
    holds.sweep();
    assert_ne!(head(&holds, &held).await.epoch, before.epoch, "nobody holds it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_rooms_like_others() {
    let server = Server::start();
    let (one, other) = (server.node(1).log, server.node(2).log);
    let names =
        ["*", ">", "a.*", "a.>", "$JS.API.>", "_INBOX.a", "a b", "a..b", ".", "é", "\u{202e}", "../a", "A", "a"];
    let long = "é".repeat(127);
    let rooms: Vec<_> = names.into_iter().chain([&*long]).map(name).collect();
    for room in &rooms {
        append(&one, draft(room, &format!("{room:?}"))).await;
    }
    for room in &rooms {
        let page = read(&other, room, Extent::Newest(10)).await;
        assert_eq!((payloads(&page), page.head), (vec![format!("{room:?}")], Seq(1)), "{room}");
    }
    let heads = within("heads", other.heads(rooms.clone())).await.expect("the log can be read");
    assert!(heads.iter().all(|head| head.seq == Seq(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_bounded_in_bytes() {
    let server = Server::start();
    let log = server.node(1).log;
    let room = room("pages");
    let payload = format!("\"{}\"", "a".repeat(100_000));
    for _ in 0..30 {
        append(&log, draft(&room, &payload)).await;
    }
    let page = read(&log, &room, Extent::After(Seq::ZERO, 1000)).await;
    let weight: usize = page.messages.iter().map(|message| message.weight()).sum();
    assert!((1..30).contains(&page.messages.len()) && weight <= 2 << 20, "{weight} bytes");
    let newest = read(&log, &room, Extent::Newest(1000)).await;
    assert_eq!(newest.messages.len(), page.messages.len());
    assert_eq!(newest.messages[newest.messages.len() - 1].seq, Seq(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_server_would_not_take_is_refused_by_itself() {
    let server = Server::start();
    let log = server.node(1).log;
    let room = room("large");
    append(&log, draft(&room, "1")).await;
    let huge = format!("\"{}\"", "a".repeat(2 << 20));
    let (huge, next) = (submit(&log, draft(&room, &huge)), submit(&log, draft(&room, "2")));
    match huge.await {
        Err(LogError::Full(why)) => assert!(why.contains("2097154 bytes exceeds the limit"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(next.await.expect("the log takes it").message.seq, Seq(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_is_told_of() {
    let server = Server::without_jetstream();
    let node = server.node(1);
    let (room, thing) = (room("a"), name(&random_token(8)));
    let sentence = "the NATS server has no JetStream: start it with -js";
    let refused = submit(&node.log, draft(&room, "1")).await.expect_err("it cannot be kept");
    assert!(refused.to_string().contains(sentence), "{refused}");
    let refused = node.leases.take(&thing, Duration::from_secs(1)).await.expect_err("nobody can say");
    assert!(refused.to_string().contains(sentence), "{refused}");
    let refused = node.shelf.put(&thing, "1".into(), Duration::from_secs(1)).await.expect_err("it cannot be kept");
    assert!(refused.to_string().contains(sentence), "{refused}");
}
