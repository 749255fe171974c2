use std::sync::{Arc, Mutex};

use denrei_hub::{Backends, Encoders, Extent, HubConfig, LocalChannels, RoomName};
use serde_json::{Value, json};

use super::*;

fn events(channels: &LocalChannels, rooms: &[&str]) -> (Events, Hub) {
    let (hub, _) = Hub::new(HubConfig::default(), Encoders::new(Vec::new()), Backends::default());
    let config = EventsConfig { rooms: rooms.iter().map(|room| (*room).into()).collect(), hooks: Vec::new() };
    (Events::new(Arc::new(channels.node()), hub.clone(), config), hub)
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it comes to hold");
}

#[tokio::test]
async fn every_handler_of_a_channel_gets_every_event_in_order() {
    let channels = LocalChannels::default();
    let ((here, _), (there, _)) = (events(&channels, &[]), events(&channels, &[]));
    let heard: [Arc<Mutex<Vec<u32>>>; 3] = Default::default();
    for (listener, heard) in [(&here, &heard[0]), (&here, &heard[1]), (&there, &heard[2])] {
        let heard = Arc::clone(heard);
        let handler = move |number: u32| {
            let heard = Arc::clone(&heard);
            async move {
                heard.lock().unwrap().push(number);
                if number == 3 { Err(Failure::new("a handler that fails goes on")) } else { Ok(()) }
            }
        };
        listener.subscribe("orders", handler).await.unwrap();
    }
    there.publish("others", &7).await.unwrap();
    there.publish("orders", &"no number").await.unwrap();
    for number in 0..10 {
        there.publish("orders", &number).await.unwrap();
    }
    until(async || heard.iter().all(|heard| heard.lock().unwrap().len() == 10)).await;
    assert!(heard.iter().all(|heard| *heard.lock().unwrap() == (0..10).collect::<Vec<_>>()));
    assert!(matches!(here.publish("", &1).await, Err(EventError::Channel(_))));
}

#[tokio::test]
async fn other_programs_publish_in_rooms_and_hear_them() {
    let channels = LocalChannels::default();
    let (events, hub) = events(&channels, &["live:*"]);
    let running = tokio::spawn({
        let events = events.clone();
        async move { events.run().await }
    });
    let other = channels.node();
    let mut hears = other.subscribe(Listen::Below("ws.broadcast.".into())).await.unwrap();
    let say = async |room: &str, said: Value| {
        let channel = Channel::Plain(format!("ws.broadcast.{room}").into());
        other.publish(&channel, said.to_string().into()).await.unwrap();
    };
    let room = RoomName::parse("live:prices.eur").unwrap();
    // Until the node has taken the duty.
    until(async || {
        say("live:prices.eur", json!({ "serverId": "other", "event": "price", "payload": { "eur": 1.5 } })).await;
        hub.read(&room, Extent::Newest(1)).await.unwrap().head.0 > 0
    })
    .await;
    let page = hub.read(&room, Extent::Newest(1)).await.unwrap();
    assert_eq!((page.messages[0].event.as_str(), &*page.messages[0].payload), ("price", &br#"{"eur":1.5}"#[..]));
    // What is not for them is not theirs to say.
    for (room, said) in [
        ("feed:x", json!({ "serverId": "other", "payload": 1 })),
        ("chat:x", json!({ "serverId": "other", "payload": 1 })),
        ("live:x", json!({ "serverId": "other", "event": "server:shutdown", "payload": 1 })),
        ("live:x", json!({ "serverId": hub.node().id.as_str(), "payload": 1 })),
        ("live:x", json!({ "serverId": "other" })),
        ("live:x", json!(null)),
    ] {
        say(room, said).await;
    }
    say("live:end", json!({ "payload": 1 })).await;
    let end = RoomName::parse("live:end").unwrap();
    until(async || hub.read(&end, Extent::Newest(1)).await.unwrap().head.0 > 0).await;
    assert_eq!(hub.read(&RoomName::parse("live:x").unwrap(), Extent::Newest(1)).await.unwrap().head.0, 0);
    // And what clients say they hear.
    let draft = Draft::new(room.clone(), denrei_hub::Name::parse("said").unwrap(), "[1]".into(), 0);
    assert!(
        events.gives(&draft) && !events.gives(&Draft { room: RoomName::parse("chat:x").unwrap(), ..draft.clone() })
    );
    events.published(&draft);
    let told = loop {
        let (_, bytes) = next(&mut hears).await.unwrap();
        let told: Value = serde_json::from_slice(&bytes).unwrap();
        if told["event"] == "said" {
            break told;
        }
    };
    assert_eq!(told, json!({ "serverId": hub.node().id.as_str(), "event": "said", "payload": [1] }));
    running.abort();
}

#[test]
fn a_signature_is_that_of_the_specification() {
    // The example of the Standard Webhooks specification.
    let secret = HookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    for bad in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_c2hvcnQ=", "whsec_!!"] {
        assert!(HookSecret::parse(bad).is_err(), "{bad}");
    }
}
