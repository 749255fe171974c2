//! Measurements, run by hand: `cargo test --release -p denrei-bus --test it measure -- --ignored --nocapture`.

#![allow(clippy::print_stdout, reason = "a measurement says what it has measured")]

use std::time::Instant;

use denrei_hub::{Inbound, Subject};

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure_the_bus() {
    const MANY: u64 = 1_000_000;
    let server = Server::start();
    let (one, other) = (server.node(1).bus, server.node(2).bus);
    let subjects: Vec<_> = (0..100).map(|number| Subject::Room(room(&format!("{number}")))).collect();
    for subject in &subjects {
        within("a subscription", other.subscribe(subject)).await.unwrap();
    }
    within("a subscription", one.subscribe(&Subject::Nodes)).await.unwrap();
    let payload = Bytes::from(vec![1; 128]);
    let begun = Instant::now();
    let publishing = tokio::spawn(async move {
        for number in 0..MANY {
            one.publish(&subjects[number as usize % 100], payload.clone());
            if number % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        one
    });
    let (mut heard, mut losses) = (0_u64, 0);
    while let Ok(inbound) = tokio::time::timeout(Duration::from_secs(1), other.receive()).await {
        match inbound {
            Inbound::Lost => losses += 1,
            Inbound::Message(..) => heard += 1,
        }
    }
    drop(publishing.await);
    let took = begun.elapsed() - Duration::from_secs(1);
    println!("bus: {heard} of {MANY} in {took:.2?}, {:.0}/s, {losses} losses told", heard as f64 / took.as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure_the_log() {
    const MANY: usize = 50_000;
    let server = Server::start();
    let (one, other) = (server.node(1).log, server.node(2).log);
    for (what, rooms) in [("one room", 1), ("100 rooms", 100)] {
        let rooms: Vec<_> = (0..rooms).map(|number| room(&format!("{what} {number}"))).collect();
        let begun = Instant::now();
        let answers: Vec<_> = (0..MANY).map(|at| submit(&one, draft(&rooms[at % rooms.len()], "{\"a\":1}"))).collect();
        for answer in answers {
            answer.await.expect("the log takes it");
        }
        println!("log, {what}: {:.0} appends/s", MANY as f64 / begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        for _ in 0..100 {
            within("heads", one.heads(rooms.clone())).await.unwrap();
        }
        println!("log, {what}: 100 times all heads in {:.2?}", begun.elapsed());
    }
    let lone = room("lone");
    let begun = Instant::now();
    for _ in 0..2000 {
        append(&one, draft(&lone, "1")).await;
    }
    println!("log: {:.0} us for each append on its own", begun.elapsed().as_micros() as f64 / 2000.0);
    let begun = Instant::now();
    read(&other, &lone, Extent::Newest(1000)).await;
    println!("log: {:.2?} for the first page of 1000 messages on a node", begun.elapsed());
    let begun = Instant::now();
    read(&other, &lone, Extent::Newest(1000)).await;
    println!("log: {:.2?} for another", begun.elapsed());
    let both = room("both");
    let begun = Instant::now();
    let answers: Vec<_> =
        (0..4000).map(|at| submit(if at % 2 == 0 { &one } else { &other }, draft(&both, "1"))).collect();
    for answer in answers {
        answer.await.expect("the log takes it");
    }
    println!("log, two nodes in one room at once: {:.0} appends/s", 4000.0 / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let work = |log: Arc<dyn Log>| {
        let both = both.clone();
        tokio::spawn(async move {
            for _ in 0..500 {
                append(&log, draft(&both, "1")).await;
            }
        })
    };
    let (a, b) = (work(one), work(other));
    a.await.unwrap();
    b.await.unwrap();
    println!("log, two nodes in one room, one after another: {:.0} appends/s", 1000.0 / begun.elapsed().as_secs_f64());
}
