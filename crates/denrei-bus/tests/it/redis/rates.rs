//! Measurements: `cargo test --release -p denrei-bus --test it rates -- --ignored --nocapture --test-threads 1`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use denrei_hub::{Inbound, Subject};

use super::server::Server;
use super::{draft, joined, room, submit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn messages_on_the_bus_per_second() {
    const MANY: u32 = 500_000;
    let server = Server::start(&[]);
    let (from, to) = (joined(&server.address()).bus, joined(&server.address()).bus);
    let subject = Subject::Room(room());
    to.subscribe(&subject).await.expect("Redis is there");
    let since = Instant::now();
    let publishing = tokio::spawn({
        let subject = subject.clone();
        async move {
            for at in 0..MANY {
                from.publish(&subject, Bytes::from_static(&[7; 100]));
                // As fast as the queue is emptied, about.
                if at % 20_000 == 0 {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            }
            from
        }
    });
    let (mut heard, mut lost) = (0, 0);
    while let Ok(inbound) = tokio::time::timeout(Duration::from_secs(1), to.receive()).await {
        match inbound {
            Inbound::Message(..) => heard += 1,
            Inbound::Lost => lost += 1,
        }
    }
    let rate = f64::from(heard) / (since.elapsed() - Duration::from_secs(1)).as_secs_f64();
    println!("bus: {heard} of {MANY} heard, {rate:.0} per second; lost is said {lost} times");
    drop(publishing.await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn appends_per_second() {
    let server = Server::start(&[]);
    let log = joined(&server.address()).log;
    for rooms in [1, 1000] {
        let rooms: Vec<_> = (0..rooms).map(|_| room()).collect();
        let payload = "7".repeat(100);
        let since = Instant::now();
        let many = 200_000;
        let mut under_way = std::collections::VecDeque::new();
        for at in 0..many {
            under_way.push_back(submit(&log, draft(&rooms[at % rooms.len()], &payload)));
            if under_way.len() > 4096 {
                let answer = under_way.pop_front().expect("there are many").await;
                answer.expect("an answer").expect("Redis is there");
            }
        }
        for answer in under_way {
            answer.await.expect("an answer").expect("Redis is there");
        }
        println!("log: {:.0} appends per second to {} rooms", many as f64 / since.elapsed().as_secs_f64(), rooms.len());
        let since = Instant::now();
        for _ in 0..200 {
            log.heads(rooms.clone()).await.expect("Redis is there");
        }
        println!("{}", server.ask("INFO cpu"));
        println!("log: {:.0} heads per second", 200.0 * rooms.len() as f64 / since.elapsed().as_secs_f64());
        let since = Instant::now();
        for _ in 0..500 {
            submit(&log, draft(&rooms[0], &payload)).await.expect("an answer").expect("Redis is there");
        }
        println!("log: {:?} for one append", since.elapsed() / 500);
    }
}
