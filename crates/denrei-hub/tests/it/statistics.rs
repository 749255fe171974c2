//! What a hub counts of its own work.

use denrei_hub::{Draft, EventNames, HubConfig};

use crate::harness::{Connecting, Node, draft, name, until};

#[tokio::test]
async fn what_is_counted_is_what_readers_were_given() {
    let config = HubConfig { events: EventNames::new(["message"]), ..HubConfig::default() };
    let mut node = Node::start(config, None, None);
    let connections = ["sender", "a", "b"].map(|client| node.connect(Connecting::as_client(client)));
    let [sender, ..] = &connections;
    for connection in &connections {
        connection.join("r").await;
        until(|| connection.told.lines().len() == 1).await;
    }
    // On this one thread they are one turn. One of them the sender has sent itself, and one is of an event that is not
    // known.
    for number in 0..4 {
        node.hub.publish(draft("r", &number.to_string()), |_| {});
    }
    let from = Some(sender.outbox.client().clone());
    node.hub.publish(Draft { from, origin: sender.outbox.number(), ..draft("r", "4") }, |_| {});
    node.hub.publish(Draft { event: name("unknown"), ..draft("r", "5") }, |_| {});
    sender.outbox.shard().settled().await;
    // What a turn has counted is seen when it is over.
    sender.outbox.shard().settled().await;
    let statistics = node.hub.statistics();
    let [shard] = &statistics.shards[..] else { panic!("one shard") };
    assert_eq!(shard.delivered, [4 * 3 + 2, 3]);
    assert_eq!((shard.readers, shard.behind, shard.fallen, shard.dropped), (3, 0, 0, 0));
    for class in &statistics.classes {
        // A room without a class is none of a known one.
        let expected = if &*class.name == "other" { (1, [6, 0, 0, 0]) } else { (0, [0; 4]) };
        assert_eq!((class.rooms, class.publishes), expected, "{}", class.name);
    }
    assert_eq!(statistics.took.map(|took| took.counts.iter().sum::<u64>()), [0, 6, 0]);
    until(|| sender.told.lines().len() == 6 && connections[1..].iter().all(|other| other.told.lines().len() == 7))
        .await;
}
