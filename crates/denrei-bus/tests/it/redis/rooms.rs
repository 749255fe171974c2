//! What a room keeps, and for how long.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use denrei_hub::{Draft, Extent, Message, Seq, Window, random_token};

use super::server::{Cluster, Server};
use super::{append, draft, joined, joined_with, name, room, submit, within};

#[tokio::test]
async fn a_room_keeps_so_many_messages() {
    let server = Server::start(&[]);
    let log = joined_with(&server.address(), Window { events: 10, ..Window::default() }).log;
    let room = room();
    let dated = |id: u32| Draft { id: Some(name(&id.to_string())), ..draft(&room, "null") };
    let appends: Vec<_> = (1..=25).map(|id| submit(&log, dated(id))).collect();
    for append in appends {
        within(append).await.expect("an answer").expect("Redis is there");
    }
    let page = within(log.read(&room, Extent::After(Seq::ZERO, 100))).await.expect("Redis is there");
    let numbers: Vec<_> = page.messages.iter().map(|message| message.seq.0).collect();
    assert_eq!(numbers, (16..=25).collect::<Vec<_>>());
    assert_eq!((page.first, page.head), (Seq(16), Seq(25)));
    let kept = append(&log, dated(16)).await.expect("Redis is there");
    assert!(kept.duplicate && kept.message.seq == Seq(16));
    let forgotten = append(&log, dated(15)).await.expect("Redis is there");
    assert!(!forgotten.duplicate && forgotten.message.seq == Seq(26), "an id is free again when its message is gone");
}

#[tokio::test]
async fn a_room_keeps_so_many_bytes_but_always_the_last_message() {
    let server = Server::start(&[]);
    let weight = Message::direct(draft(&room(), "1234567890")).weight();
    let log = joined_with(&server.address(), Window { bytes: 3 * weight, ..Window::default() }).log;
    let room = room();
    for _ in 0..5 {
        append(&log, draft(&room, "1234567890")).await.expect("Redis is there");
    }
    let first = within(log.read(&room, Extent::Newest(100))).await.expect("Redis is there").first;
    assert_eq!(first, Seq(3));
    append(&log, draft(&room, &"1".repeat(10 * weight))).await.expect("Redis is there");
    let page = within(log.read(&room, Extent::Newest(100))).await.expect("Redis is there");
    assert_eq!((page.first, page.head, page.messages.len()), (Seq(6), Seq(6), 1));
}

#[tokio::test]
async fn a_room_keeps_messages_for_so_long_and_its_epoch_while_it_is_held() {
    let server = Server::start(&[]);
    let window = Window { age: Duration::from_secs(1), ..Window::default() };
    let log = joined_with(&server.address(), window).log;
    let (held, left) = (room(), room());
    let hold = log.hold(&held);
    let mut before = Vec::new();
    for room in [&held, &left] {
        before.push(append(&log, draft(room, "1")).await.expect("Redis is there").message.position());
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let page = within(log.read(&held, Extent::Newest(9))).await.expect("Redis is there");
    assert_eq!((page.messages.len(), page.first, page.head), (0, Seq(2), Seq(1)), "its time is over");
    for _ in 0..14 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        log.sweep();
    }
    let heads = within(log.heads(vec![held.clone(), left.clone()])).await.expect("Redis is there");
    assert_eq!(heads[0], before[0], "a room that is held goes on");
    assert_ne!(heads[1].epoch, before[1].epoch, "nobody held this one");
    assert_eq!(heads[1].seq, Seq::ZERO);
    drop(hold);
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes_too() {
    let server = Server::start(&[]);
    let log = joined(&server.address()).log;
    let room = room();
    let payload = "1".repeat(300_000);
    for _ in 0..6 {
        append(&log, draft(&room, &payload)).await.expect("Redis is there");
    }
    let page = within(log.read(&room, Extent::After(Seq(1), 100))).await.expect("Redis is there");
    assert_eq!(page.messages.iter().map(|message| message.seq.0).collect::<Vec<_>>(), [2, 3]);
    let page = within(log.read(&room, Extent::Newest(100))).await.expect("Redis is there");
    assert_eq!(page.messages.iter().map(|message| message.seq.0).collect::<Vec<_>>(), [5, 6]);
    let page = within(log.read(&room, Extent::Newest(0))).await.expect("Redis is there");
    assert_eq!((page.messages.len(), page.first), (0, Seq(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_append_to_one_room_share_its_numbers() {
    let (server, cluster) = (Server::start(&[]), Cluster::start());
    for address in [server.address(), cluster.address()] {
        let room = room();
        let nodes: Vec<_> = (0..2).map(|_| joined(&address).log).collect();
        let told: Vec<_> = nodes.iter().map(|_| Arc::new(Mutex::new(Vec::new()))).collect();
        let mut answers = Vec::new();
        for at in 0..1000 {
            for (log, told) in nodes.iter().zip(&told) {
                let (tell, answer) = tokio::sync::oneshot::channel();
                let told = Arc::clone(told);
                log.append(
                    Draft { origin: 7, ..draft(&room, "null") },
                    Box::new(move |outcome| {
                        let message = outcome.expect("Redis is there").message;
                        assert_eq!(message.origin, 7);
                        told.lock().unwrap().push(message.seq.0);
                        let _ = tell.send(());
                    }),
                );
                answers.push(answer);
            }
            if at % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for answer in answers {
            within(answer).await.expect("every draft is answered");
        }
        let told: Vec<_> = told.iter().map(|told| told.lock().unwrap().clone()).collect();
        assert!(told.iter().all(|told| told.is_sorted()), "answers come in the order of the numbers");
        let mut all = told.concat();
        all.sort_unstable();
        assert_eq!(all, (1..=2000).collect::<Vec<_>>(), "without holes or duplicates");
    }
}

#[tokio::test]
async fn names_of_rooms_mean_nothing_to_redis() {
    let (server, cluster) = (Server::start(&[]), Cluster::start());
    for address in [server.address(), cluster.address()] {
        let log = joined(&address).log;
        let token = random_token(8);
        let hostile = ["*", "?", "[a]", "a{b}c", "{}", "a b", "a:h", "a:s", "../..", "\\", "\"", "é", "🦀", "%00"];
        let rooms: Vec<_> = hostile.iter().map(|mark| name(&format!("feed:{mark}{token}"))).collect();
        for (at, room) in rooms.iter().enumerate() {
            let written = append(&log, draft(room, &at.to_string())).await.expect("Redis is there");
            assert_eq!(written.message.seq, Seq(1), "{room}");
        }
        for (at, room) in rooms.iter().enumerate() {
            let page = within(log.read(room, Extent::Newest(9))).await.expect("Redis is there");
            assert_eq!(page.messages.len(), 1, "{room}");
            assert_eq!(page.messages[0].payload, at.to_string());
        }
        let heads = within(log.heads(rooms)).await.expect("Redis is there");
        assert!(heads.iter().all(|head| head.seq == Seq(1)));
    }
}
