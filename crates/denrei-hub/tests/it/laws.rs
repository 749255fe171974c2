//! The hub's own forms of its seams obey the laws that it relies on.

use std::sync::Arc;

use denrei_hub::laws::{bus_laws, channel_laws, lease_laws, log_laws, shelf_laws};
use denrei_hub::{
    Bus, Channel, Channels, Classes, Heard, Leases, Listen, LocalBus, LocalChannels, LocalLeases, LocalShelf,
    MemoryLimits, MemoryLog, Shelf,
};

#[test]
fn the_memory_log_obeys_the_laws_of_logs() {
    log_laws(|| Arc::new(MemoryLog::new(Arc::new(Classes::default()), MemoryLimits::default())));
}

#[test]
fn the_local_bus_obeys_the_laws_of_buses() {
    bus_laws(|nodes| {
        let bus = LocalBus::default();
        (0..nodes).map(|_| Arc::new(bus.node()) as Arc<dyn Bus>).collect()
    });
}

#[test]
fn the_local_leases_obey_the_laws_of_leases() {
    lease_laws(|| {
        let leases: Arc<dyn Leases> = Arc::new(LocalLeases::default());
        [Arc::clone(&leases), leases]
    });
}

#[test]
fn the_local_shelf_obeys_the_laws_of_shelves() {
    shelf_laws(|| {
        let shelf: Arc<dyn Shelf> = Arc::new(LocalShelf::new(100));
        [Arc::clone(&shelf), shelf]
    });
}

#[test]
fn the_local_channels_obey_the_laws_of_channels() {
    let channels = LocalChannels::default();
    channel_laws(".*>? [a]{}#/:ä", move || {
        [channels.node(), channels.node()].map(|node| Arc::new(node) as Arc<dyn Channels>)
    });
}

#[tokio::test]
async fn absorbed_subscriptions_are_heard_in_one_order() {
    let channels = LocalChannels::default();
    let named = |name: &str| Channel::Plain(name.into());
    let mut all = channels.subscribe(Listen::To(named("a"))).await.expect("an answer");
    let below = channels.subscribe(Listen::Below("b".into())).await.expect("an answer");
    let say = async |name: &str, number: u8| {
        channels.publish(&named(name), vec![number].into()).await.expect("an answer");
    };
    say("b1", 0).await;
    let absorbed = all.absorb(below);
    for number in 1..20 {
        say(if number % 3 == 0 { "a" } else { "b2" }, number).await;
    }
    drop(absorbed);
    say("b1", 20).await;
    say("a", 21).await;
    for number in (0..20).chain([21]) {
        let Some(Heard::Message(_, bytes)) = all.next().await else { panic!("{number} is missing") };
        assert_eq!(bytes[..], [number]);
    }
}
