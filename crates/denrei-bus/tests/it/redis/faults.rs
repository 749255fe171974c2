//! What happens when Redis goes, or the way to it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use denrei_hub::{Channel, Extent, Heard, Inbound, Listen, LogError, Seq, Subject};

use super::server::{Cluster, Server};
use super::{append, draft, eventually, joined, name, room, submit, within};
use crate::proxy::Proxy;

#[tokio::test]
async fn after_a_restart_the_bus_hears_again_and_says_that_it_lost_something() {
    let mut server = Server::start(&[]);
    let (one, other) = (joined(&server.address()), joined(&server.address()));
    let subjects = [Subject::Room(room()), Subject::Nodes, Subject::Node(name("me"))];
    for subject in &subjects {
        within(one.bus.subscribe(subject)).await.expect("Redis is there");
    }
    server.kill();
    server.begin();
    assert_eq!(within(one.bus.receive()).await, Inbound::Lost);
    for subject in &subjects {
        let heard = eventually("a message after the restart", async || {
            other.bus.publish(subject, Bytes::from_static(b"again"));
            tokio::time::timeout(Duration::from_millis(100), one.bus.receive()).await.ok()
        });
        assert_eq!(heard.await, Inbound::Message(subject.clone(), Bytes::from_static(b"again")));
        // Earlier attempts may have come through late.
        while tokio::time::timeout(Duration::from_millis(100), one.bus.receive()).await.is_ok() {}
    }
}

#[tokio::test]
async fn after_a_restart_the_log_begins_a_new_epoch() {
    let mut server = Server::start(&[]);
    let node = joined(&server.address());
    let room = room();
    let before = append(&node.log, draft(&room, "1")).await.expect("Redis is there").message.position();
    server.kill();
    let since = Instant::now();
    let refused = append(&node.log, draft(&room, "2")).await;
    assert!(matches!(refused, Err(LogError::Unavailable(_))), "{refused:?}");
    assert!(within(node.log.read(&room, Extent::Newest(1))).await.is_err());
    assert!(within(node.log.heads(vec![room.clone()])).await.is_err());
    assert!(since.elapsed() < Duration::from_secs(5), "refusals took {:?}", since.elapsed());
    server.begin();
    let again = eventually("an append after the restart", async || append(&node.log, draft(&room, "3")).await.ok());
    let after = again.await.message.position();
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(after.seq, Seq(1), "it kept nothing");
}

#[tokio::test]
async fn what_a_restart_brings_back_belongs_to_a_new_epoch_on_every_node() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (one, other) = (joined(&server.address()), joined(&server.address()));
    let room = room();
    let mut before = None;
    for payload in ["1", "2", "3"] {
        before = Some(append(&one.log, draft(&room, payload)).await.expect("Redis is there").message.position());
    }
    server.kill();
    server.begin();
    let page =
        eventually("a page after the restart", async || other.log.read(&room, Extent::Newest(9)).await.ok()).await;
    assert_ne!(Some(&page.epoch), before.as_ref().map(|before| &before.epoch));
    assert_eq!((page.head, page.messages.len()), (Seq(3), 3), "what the disk has kept is still there");
    let message = eventually("an append", async || append(&one.log, draft(&room, "4")).await.ok()).await.message;
    assert_eq!((&message.epoch, message.seq), (&page.epoch, Seq(4)), "the first node to look has begun it for all");
}

#[tokio::test]
async fn a_room_that_redis_let_go_of_begins_a_new_epoch() {
    let server = Server::start(&[]);
    let node = joined(&server.address());
    for half in ["h", "s"] {
        let room = room();
        let before = append(&node.log, draft(&room, "1")).await.expect("Redis is there").message.position();
        let keys = server.ask("KEYS denrei:l:*");
        let key = keys.lines().find(|line| line.ends_with(&format!(":{half}"))).expect("its key").to_owned();
        assert_eq!(server.ask(&format!("DEL {key}")).trim(), ":1");
        let page = within(node.log.read(&room, Extent::Newest(9))).await.expect("Redis is there");
        assert_ne!(page.epoch, before.epoch);
        assert_eq!((page.head, page.first, page.messages.len()), (Seq::ZERO, Seq(1), 0));
        server.ask("FLUSHALL");
    }
}

#[tokio::test]
async fn redis_may_be_down_when_a_node_joins() {
    let mut server = Server::start(&[]);
    server.kill();
    let node = joined(&server.address());
    let room = room();
    let since = Instant::now();
    assert!(append(&node.log, draft(&room, "1")).await.is_err());
    assert!(within(node.bus.subscribe(&Subject::Room(room.clone()))).await.is_err());
    assert!(within(node.channels.publish(&Channel::Plain("c".into()), Bytes::new())).await.is_err());
    assert!(within(node.leases.take(&name("thing"), Duration::from_secs(1))).await.is_err());
    assert!(within(node.shelf.get(&name("thing"))).await.is_err());
    assert!(since.elapsed() < Duration::from_secs(5), "refusals took {:?}", since.elapsed());
    server.begin();
    eventually("a subscription", async || node.bus.subscribe(&Subject::Room(room.clone())).await.ok()).await;
    eventually("an append", async || append(&node.log, draft(&room, "1")).await.ok()).await;
}

#[tokio::test]
async fn a_link_that_swallows_bytes_is_given_up() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let (near, far) = (joined(&format!("redis://127.0.0.1:{}", proxy.port)), joined(&server.address()));
    let (room, channel) = (room(), Channel::Plain("a channel".into()));
    let subject = Subject::Room(room.clone());
    within(near.bus.subscribe(&subject)).await.expect("Redis is there");
    let mut listening = within(near.channels.subscribe(Listen::To(channel.clone()))).await.expect("Redis is there");
    let epoch = append(&near.log, draft(&room, "1")).await.expect("Redis is there").message.epoch.clone();
    proxy.swallow(true);
    let since = Instant::now();
    let waiting: Vec<_> = (0..100).map(|_| submit(&near.log, draft(&room, "2"))).collect();
    for answer in waiting {
        assert!(within(answer).await.expect("every draft is answered").is_err());
    }
    assert!(within(near.log.heads(vec![room.clone()])).await.is_err());
    assert!(within(near.shelf.take(&name("thing"))).await.is_err());
    assert!(since.elapsed() < Duration::from_secs(9), "refusals took {:?}", since.elapsed());
    append(&far.log, draft(&room, "3")).await.expect("the others go on");
    proxy.swallow(false);
    let message = eventually("an append", async || append(&near.log, draft(&room, "4")).await.ok()).await.message;
    assert_eq!(message.epoch, epoch, "Redis was there all the time");
    assert_eq!(within(near.bus.receive()).await, Inbound::Lost);
    assert_eq!(within(listening.next()).await, Some(Heard::Lost));
    far.bus.publish(&subject, Bytes::from_static(b"again"));
    assert_eq!(within(near.bus.receive()).await, Inbound::Message(subject, Bytes::from_static(b"again")));
    within(far.channels.publish(&channel, Bytes::from_static(b"again"))).await.expect("Redis is there");
    assert_eq!(within(listening.next()).await, Some(Heard::Message(channel, Bytes::from_static(b"again"))));
}

#[tokio::test]
async fn a_room_whose_slot_moves_is_heard_where_it_went() {
    let cluster = Cluster::start();
    let (one, other) = (joined(&cluster.address()), joined(&cluster.address()));
    let subject = Subject::Room(name("x"));
    within(one.bus.subscribe(&subject)).await.expect("Redis is there");
    let slot = cluster.0[0].ask("CLUSTER KEYSLOT denrei:b:r:eA");
    let slot = slot.trim().trim_start_matches(':');
    let is_home = |server: &&Server| server.ask("PUBSUB SHARDNUMSUB denrei:b:r:eA").contains(":1");
    let home = cluster.0.iter().find(is_home).expect("somebody has it").port;
    let goal = cluster.0.iter().find(|server| server.port != home).expect("there are three");
    let id = goal.ask("CLUSTER MYID");
    let id = id.lines().nth(1).expect("an id");
    let mut servers: Vec<_> = cluster.0.iter().collect();
    servers.sort_by_key(|server| server.port != goal.port);
    for server in servers {
        assert_eq!(server.ask(&format!("CLUSTER SETSLOT {slot} NODE {id}")).trim(), "+OK");
    }
    assert_eq!(within(one.bus.receive()).await, Inbound::Lost);
    let heard = eventually("a message after the move", async || {
        other.bus.publish(&subject, Bytes::from_static(b"moved"));
        let heard = tokio::time::timeout(Duration::from_millis(200), one.bus.receive()).await.ok();
        heard.filter(|heard| *heard != Inbound::Lost)
    });
    assert_eq!(heard.await, Inbound::Message(subject, Bytes::from_static(b"moved")));
    assert!(is_home(&goal), "it is subscribed where its slot is");
}
