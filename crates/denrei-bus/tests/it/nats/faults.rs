//! What is promised when the server dies, or the way to it is cut.

use std::time::Instant;

use denrei_hub::{Channel, Heard, Inbound, Listen, Listening, LogError, Seq, Subject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::free_port;
use super::*;
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_begins_anew_after_the_server_was_killed() {
    let mut server = Server::start();
    let (one, other) = (server.node(1).log, server.node(2).log);
    let room = room("restarts");
    let mut lives = Vec::new();
    for round in 0..4 {
        for at in 0..5 {
            let log = if at % 2 == 0 { &one } else { &other };
            let appended = eventually("an append", async || submit(log, draft(&room, &format!("{round}"))).await).await;
            assert_eq!(appended.message.seq, Seq(at + 1), "round {round}");
        }
        for log in [&one, &other] {
            let page = read(log, &room, Extent::Newest(100)).await;
            assert_eq!((numbers(&page), payloads(&page)), ((1..=5).collect(), vec![format!("{round}"); 5]));
            lives.push(page.epoch.as_str().to_owned());
        }
        server.kill();
        if round % 2 == 1 {
            server.lose_everything();
        }
        refuses(&one, &room).await;
        server.start_again();
    }
    lives.dedup();
    assert_eq!(lives.len(), 4, "each life has its own epoch, the same on all nodes: {lives:?}");
}

/// Without a server, everything is refused, soon.
async fn refuses(log: &Arc<dyn Log>, room: &RoomName) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    let answers: Vec<_> = (0..100).map(|_| submit(log, draft(room, "1"))).collect();
    for answer in answers {
        let refused = answer.await.expect_err("there is no server");
        assert!(matches!(refused, LogError::Unavailable(_)), "{refused}");
    }
    assert!(log.read(room, Extent::Newest(1)).await.is_err());
    assert!(log.heads(vec![room.clone(); 100]).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_hears_again_after_the_server_was_killed_and_says_what_it_lost() {
    let mut server = Server::start();
    let (one, other) = (server.node(1).bus, server.node(2).bus);
    let subjects = [Subject::Room(room("a")), Subject::Nodes, Subject::Node(name("n"))];
    for subject in &subjects {
        within("a subscription", one.subscribe(subject)).await.unwrap();
    }
    for round in 0..2 {
        server.kill();
        assert!(within("a subscription", one.subscribe(&subjects[0])).await.is_err(), "round {round}");
        for _ in 0..1000 {
            other.publish(&subjects[0], "lost".into());
        }
        server.start_again();
        eventually("a subscription", async || one.subscribe(&subjects[0]).await).await;
        eventually("a subscription", async || other.subscribe(&Subject::Node(name("m"))).await).await;
        for (at, subject) in subjects.iter().enumerate() {
            other.publish(subject, Bytes::from(format!("{round} {at}")));
        }
        let (mut lost, mut heard) = (false, Vec::new());
        while heard.len() < 3 || !lost {
            match within("a message", one.receive()).await {
                Inbound::Lost => lost = true,
                Inbound::Message(_, bytes) if bytes == "lost" => {}
                Inbound::Message(subject, bytes) => heard.push((subject, bytes)),
            }
        }
        for (at, subject) in subjects.iter().enumerate() {
            assert!(heard.contains(&(subject.clone(), Bytes::from(format!("{round} {at}")))), "{heard:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publisher_had_to_drop_is_told_to_the_others() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let (cut, whole) = (node_at(&format!("nats://127.0.0.1:{}", proxy.port), 1, Classes::default()), server.node(2));
    let subject = Subject::Room(room("a"));
    within("a subscription", whole.bus.subscribe(&subject)).await.unwrap();
    within("a subscription", cut.bus.subscribe(&Subject::Nodes)).await.unwrap();
    proxy.shut(true);
    for _ in 0..200 {
        cut.bus.publish(&subject, "x".into());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    proxy.shut(false);
    eventually("a subscription", async || cut.bus.subscribe(&Subject::Nodes).await).await;
    cut.bus.publish(&subject, "end".into());
    let (mut lost, mut count) = (false, 0);
    loop {
        match within("a message", whole.bus.receive()).await {
            Inbound::Lost => lost = true,
            Inbound::Message(_, bytes) if bytes == "end" => break,
            Inbound::Message(..) => count += 1,
        }
    }
    assert!(lost && count < 200, "{count} of 200 arrived, and of a loss was told: {lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_say_what_they_lost_when_the_server_was_killed() {
    let mut server = Server::start();
    let channels = server.node(1).channels;
    let channel = Channel::Plain("news".into());
    let mut listening = within("a subscription", channels.subscribe(Listen::To(channel.clone()))).await.unwrap();
    let mut below = within("a subscription", channels.subscribe(Listen::Below("ne".into()))).await.unwrap();
    server.kill();
    // What is handed over before the connection is known to be dead is not refused.
    eventually("a refusal", async || match channels.publish(&channel, "1".into()).await {
        Err(_) => Ok(()),
        Ok(()) => Err("it was taken"),
    })
    .await;
    server.start_again();
    // What was refused may have been on its way all the same.
    let refused = Heard::Message(channel.clone(), "1".into());
    let next = async |listening: &mut Listening| loop {
        match within("a message", listening.next()).await {
            Some(heard) if heard == refused => {}
            other => return other,
        }
    };
    for listening in [&mut listening, &mut below] {
        assert_eq!(next(listening).await, Some(Heard::Lost));
    }
    eventually("a message", async || channels.publish(&channel, "2".into()).await).await;
    for listening in [&mut listening, &mut below] {
        assert_eq!(next(listening).await, Some(Heard::Message(channel.clone(), "2".into())));
    }
    assert_eq!(within("a count", channels.count(&channel)).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_the_shelf_outlive_the_server() {
    let mut server = Server::start();
    let node = server.node(1);
    let (thing, value) = (name("thing"), name("value"));
    let long = Duration::from_secs(60);
    let grant = within("a lease", node.leases.take(&thing, long)).await.unwrap().expect("it is free");
    within("a value", node.shelf.put(&value, "1".into(), long)).await.unwrap();
    server.kill();
    assert!(within("a lease", node.leases.renew(&thing, &grant, long)).await.is_err());
    assert!(within("a value", node.shelf.get(&value)).await.is_err());
    server.start_again();
    assert!(eventually("a lease", async || node.leases.renew(&thing, &grant, long).await).await);
    assert!(within("a lease", node.leases.take(&thing, long)).await.unwrap().is_none());
    assert_eq!(within("a value", node.shelf.take(&value)).await.unwrap(), Some("1".into()));
    server.kill();
    server.lose_everything();
    server.start_again();
    let next = eventually("a lease", async || node.leases.take(&thing, long).await).await.expect("nobody knows of it");
    assert!(next.fence > grant.fence, "fences grow also when everything was lost: {next:?} after {grant:?}");
    assert!(!within("a lease", node.leases.renew(&thing, &grant, long)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_swallows_what_is_sent_is_given_up() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let (cut, whole) = (node_at(&format!("nats://127.0.0.1:{}", proxy.port), 1, Classes::default()), server.node(2));
    let (room, subject) = (room("cut"), Subject::Nodes);
    append(&cut.log, draft(&room, "1")).await;
    within("a subscription", cut.bus.subscribe(&subject)).await.unwrap();
    proxy.swallow(true);
    let begun = Instant::now();
    for _ in 0..1000 {
        cut.bus.publish(&subject, "1".into());
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "publishing does not wait: {:?}", begun.elapsed());
    let answers: Vec<_> = (0..300).map(|_| submit(&cut.log, with_id(&room, "same", "2"))).collect();
    for answer in answers {
        let refused = answer.await.expect_err("there is no way to the server");
        assert!(matches!(refused, LogError::Unavailable(_)), "{refused}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    append(&whole.log, draft(&room, "3")).await;
    proxy.swallow(false);
    let appended = eventually("an append", async || submit(&cut.log, with_id(&room, "same", "2")).await).await;
    let page = read(&whole.log, &room, Extent::Newest(100)).await;
    assert_eq!(payloads(&page).iter().filter(|payload| *payload == "2").count(), 1, "{page:?}");
    assert_eq!(page.head.0, page.messages.len() as u64);
    assert!(page.messages.iter().any(|message| message.seq == appended.message.seq && message.payload == "2"));
    loop {
        if within("a loss", cut.bus.receive()).await == Inbound::Lost {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_does_not_need_a_server() {
    let port = free_port();
    let node = node_at(&format!("nats://127.0.0.1:{port},127.0.0.1:{}", free_port()), 1, Classes::default());
    refuses(&node.log, &room("a")).await;
    assert!(within("a subscription", node.bus.subscribe(&Subject::Nodes)).await.is_err());
    assert!(within("a lease", node.leases.take(&name("a"), Duration::from_secs(1))).await.is_err());
    assert!(within("a count", node.channels.count(&Channel::Plain("a".into()))).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_an_operator_deleted_is_made_again() {
    let server = Server::start();
    let (one, other) = (server.node(1).log, server.node(2).log);
    let room = room("deleted");
    let before = append(&one, draft(&room, "1")).await.message.position();
    append(&other, draft(&room, "2")).await;
    let mut program = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    let delete = b"CONNECT {\"verbose\":false}\r\nPUB $JS.API.STREAM.DELETE.denrei-log r 0\r\n\r\nPING\r\n";
    program.write_all(delete).await.unwrap();
    let mut heard = String::new();
    while !heard.contains("PONG") {
        let mut bytes = [0; 4096];
        let count = within("text", program.read(&mut bytes)).await.unwrap();
        assert_ne!(count, 0, "{heard}");
        heard += &String::from_utf8_lossy(&bytes[..count]);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = eventually("an append", async || submit(&one, draft(&room, "3")).await).await.message.position();
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(after.seq, Seq(1));
    let next = eventually("an append", async || submit(&other, draft(&room, "4")).await).await.message.position();
    assert_eq!((next.epoch, next.seq), (after.epoch, Seq(2)));
}
