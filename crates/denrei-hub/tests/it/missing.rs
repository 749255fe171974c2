//! What a node misses it finds out, and reads from the log. Each test is the story of one way to miss something.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::order::Order;
use denrei_hub::{Bus, BusError, Draft, Extent, HubConfig, Inbound, LocalBus, LocalNode, Log, Position, Seq, Subject};

use crate::harness::{Connecting, Connection, Node, draft, name, until};
use crate::world::{NodeLog, Weather, World};

const ROOM: &str = "feed:r";

#[tokio::test(start_paused = true)]
async fn a_message_that_the_bus_never_carried_is_found_in_the_log() {
    let world = World::new(1, Weather::default());
    let mut node = in_cluster(&world);
    let reader = reader(&mut node).await;
    world.commit(draft(ROOM, "silent"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(payloads(&reader), ["silent"]);
}

#[tokio::test(start_paused = true)]
async fn a_hole_left_by_another_node_is_filled_from_the_log() {
    let world = World::new(1, Weather::default());
    let mut node = in_cluster(&world);
    let reader = reader(&mut node).await;
    world.commit(draft(ROOM, "1"));
    node.publish(draft(ROOM, "2")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(payloads(&reader), ["1", "2"]);
}

/// Was a defect: what is read back from a log does not know the connection it came by, and was sent to its sender.
#[tokio::test(start_paused = true)]
async fn an_own_message_is_left_out_when_it_was_read_from_the_log() {
    let world = World::new(1, Weather::default());
    let mut node = in_cluster(&world);
    let reader = reader(&mut node).await;
    world.commit(draft(ROOM, "theirs"));
    node.publish(own(&reader, "mine")).await;
    node.publish(draft(ROOM, "last")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(payloads(&reader), ["theirs", "last"]);
}

/// Was a defect: a page read between commit and answer held the message, without its connection.
#[tokio::test(start_paused = true)]
async fn an_own_message_is_left_out_when_the_log_shows_it_before_it_answers() {
    let world = World::new(1, Weather::default());
    let mut node = in_cluster(&world);
    let reader = reader(&mut node).await;
    // As its own node would see it: committed, and not answered for a long time.
    world.commit(Draft { origin: 0, ..own(&reader, "mine") });
    world.commit(draft(ROOM, "theirs"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(payloads(&reader), ["theirs"]);
}

/// Was a defect: with too much held the latest was dropped, and nothing remembered that it had been there.
#[tokio::test(start_paused = true)]
async fn what_was_dropped_while_a_room_started_is_read_from_the_log() {
    let world = World::new(1, Weather::default());
    let mut node = alone(&world);
    world.set_weather(Weather { reply: 20_000, ..Weather::default() });
    let connection = node.connect(Connecting::as_client("reader"));
    let mut many = 0;
    let place = {
        let mut joining = pin!(connection.join(ROOM));
        loop {
            // The head was read at once, and is on its way for a long time.
            tokio::select! {
                place = &mut joining => break place,
                () = tokio::time::sleep(Duration::from_millis(1)) => {
                    many += 1;
                    node.hub.publish(draft(ROOM, &many.to_string()), |_| {});
                }
            }
        }
    };
    assert!(many > Order::HELD as u64 + 100, "the answer took long enough");
    world.set_weather(Weather::default());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let expected: Vec<_> = (place.seq.0 + 1..=many).map(|number| number.to_string()).collect();
    let got = payloads(&connection);
    assert!(got == expected, "after {place}, {} of {} arrived", got.len(), expected.len());
}

/// Was a defect: a reader that learned of the new life from the log before its room did read in circles, for ever.
#[tokio::test(start_paused = true)]
async fn a_reader_that_finds_another_life_of_the_log_does_not_read_in_circles() {
    let world = World::new(1, Weather::default());
    let mut node = alone(&world);
    let first = reader(&mut node).await;
    let old = Position { seq: Seq::ZERO, ..node.publish(draft(ROOM, "old")).await };
    first.close().await;
    // Keeps the room known, in its old life, with nothing at hand to read from.
    let _keeper = node.hub.watch(&name(ROOM)).await.unwrap();
    world.begin_another_life();
    world.commit(draft(ROOM, "new"));
    let before = world.readings();
    let second = node.connect(Connecting::as_client("second"));
    second.attach(&name(ROOM), Some(old), false).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.readings() - before < 20, "{} readings", world.readings() - before);
    assert_eq!(payloads(&second), ["0", "new"], "the gap, and what there is");
    node.publish(draft(ROOM, "newer")).await;
    until(|| payloads(&second).len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn what_arrives_while_another_life_is_being_read_reaches_the_readers() {
    let world = World::new(1, Weather::default());
    let mut node = alone(&world);
    let reader = reader(&mut node).await;
    node.publish(draft(ROOM, "old")).await;
    world.begin_another_life();
    world.set_weather(Weather { reply: 10_000, ..Weather::default() });
    node.publish(draft(ROOM, "new")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    node.publish(draft(ROOM, "newer")).await;
    assert_eq!((world.readings(), payloads(&reader)), (1, vec!["old".into()]), "the log is being read");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(payloads(&reader), ["old", "0", "new", "newer"], "the gap, and all there is");
}

/// Was a defect: who waited for the next message was not told when the room went on elsewhere.
#[tokio::test(start_paused = true)]
async fn a_waiter_is_told_when_the_log_begins_another_life() {
    let world = World::new(1, Weather::default());
    let node = in_cluster(&world);
    let mut watch = node.hub.watch(&name(ROOM)).await.unwrap();
    world.begin_another_life();
    world.commit(draft(ROOM, "new"));
    let told = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
    assert!(told.expect("it is told").is_none(), "what comes next must be read from the log");
    let page = node.hub.read(&name(ROOM), Extent::After(Seq::ZERO, 10)).await.unwrap();
    assert_eq!(page.messages.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_told_of_the_next_message() {
    let node = Node::alone(1);
    let mut watch = node.hub.watch(&name("r")).await.unwrap();
    let place = node.publish(draft("r", "1")).await;
    assert_eq!(watch.next().await.unwrap().position(), place);
    drop(watch);
    assert_eq!(node.hub.rooms(), 0, "and leaves nothing behind");
}

#[tokio::test(start_paused = true)]
async fn a_log_out_of_reach_is_asked_again() {
    let world = World::new(1, Weather::default());
    let mut node = in_cluster(&world);
    let reader = reader(&mut node).await;
    world.commit(draft(ROOM, "1"));
    world.set_weather(Weather { fails: 100, ..Weather::default() });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(node.hub.publish_and_wait(draft(ROOM, "2")).await.is_err(), "what cannot be kept is refused");
    assert!(payloads(&reader).is_empty());
    world.set_weather(Weather::default());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(payloads(&reader), ["1"]);
}

/// A bus that can be taken down: nothing is subscribed to then.
struct Fragile {
    bus: LocalNode,
    down: AtomicBool,
}

impl Bus for Fragile {
    fn publish(&self, subject: &Subject, bytes: Bytes) {
        self.bus.publish(subject, bytes);
    }

    fn subscribe(&self, subject: &Subject) -> Pin<Box<dyn Future<Output = Result<(), BusError>> + Send>> {
        if self.down.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err(BusError("it is down".into()))));
        }
        self.bus.subscribe(subject)
    }

    fn unsubscribe(&self, subject: &Subject) {
        self.bus.unsubscribe(subject);
    }

    fn receive(&self) -> Pin<Box<dyn Future<Output = Inbound> + Send + '_>> {
        self.bus.receive()
    }
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_is_down_keeps_nobody_out_and_is_heard_when_it_is_back() {
    const ROOM: &str = "signal:r";
    let bus = LocalBus::default();
    let fragile = Arc::new(Fragile { bus: bus.node(), down: AtomicBool::new(true) });
    let mut node = Node::start(HubConfig::default(), None, Some(fragile.clone()));
    let other = Node::start(HubConfig::default(), None, Some(Arc::new(bus.node())));
    let reader = node.connect(Connecting::as_client("reader"));
    reader.join(ROOM).await;
    node.publish(draft(ROOM, "own")).await;
    other.publish(draft(ROOM, "unheard")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(payloads(&reader), ["own"]);
    fragile.down.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    other.publish(draft(ROOM, "heard")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(payloads(&reader), ["own", "heard"]);
    reader.leave(ROOM).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.hub.rooms(), 0, "and nothing is left behind");
}

fn in_cluster(world: &World) -> Node {
    start(world, Some(world.bus()))
}

fn alone(world: &World) -> Node {
    start(world, None)
}

fn start(world: &World, bus: Option<Arc<crate::world::NodeBus>>) -> Node {
    let (log, work): (Arc<NodeLog>, _) = world.log();
    let bus = bus.map(|bus| bus as Arc<dyn Bus>);
    let mut node = Node::start(HubConfig::default(), Some(log as Arc<dyn Log>), bus);
    node.tasks.spawn(work);
    node
}

async fn reader(node: &mut Node) -> Connection {
    let connection = node.connect(Connecting::as_client("reader"));
    connection.join(ROOM).await;
    connection
}

fn own(connection: &Connection, payload: &str) -> Draft {
    let from = Some(Arc::clone(connection.outbox.client()));
    Draft { from, origin: connection.outbox.number(), ..draft(ROOM, payload) }
}

/// The last field of each line after the join's.
fn payloads(connection: &Connection) -> Vec<String> {
    let lines = connection.told.lines();
    lines[1..].iter().map(|line| line.rsplit('|').next().unwrap().into()).collect()
}
