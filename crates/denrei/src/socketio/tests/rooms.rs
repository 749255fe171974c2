//! Whom an emit reaches.

use denrei_hub::{Dialect, Draft, RoomName};

use super::*;
use crate::socketio::{JoinError, Recovery, Share};

async fn three(world: &World) -> [Client; 3] {
    world.io.of("/").expect("a name");
    [world.client().joined().await, world.client().joined().await, world.client().joined().await]
}

#[tokio::test(start_paused = true)]
async fn each_socket_is_reached_once_however_many_rooms_match() {
    let world = World::new();
    let [mut a, mut b, mut c] = three(&world).await;
    a.socket().join(["x", "y"]).expect("rooms");
    b.socket().join("y").expect("a room");
    world.io.to(["x", "y"]).to(a.id()).emit("hello", &1).expect("an event");
    assert_eq!(a.heard().await, [r#"2["hello",1]"#]);
    assert_eq!(b.heard().await, [r#"2["hello",1]"#]);
    assert!(c.heard().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_excepted_do_not_hear_it() {
    let world = World::new();
    let [mut a, mut b, mut c] = three(&world).await;
    a.socket().join(["x", "banned"]).expect("rooms");
    b.socket().join("x").expect("a room");
    world.io.to("x").except("banned").emit("1", &()).expect("an event");
    world.io.except([b.id()]).emit("2", &()).expect("an event");
    assert_eq!(a.heard().await, [r#"2["2"]"#]);
    assert_eq!(b.heard().await, [r#"2["1"]"#]);
    assert_eq!(c.heard().await, [r#"2["2"]"#]);
}

#[tokio::test(start_paused = true)]
async fn the_sender_does_not_hear_what_it_sends_to_others() {
    let world = World::new();
    let [mut a, mut b, mut c] = three(&world).await;
    for client in [&mut a, &mut b] {
        client.socket().join("x").expect("a room");
    }
    a.socket().to("x").emit("room", &()).expect("an event");
    a.socket().broadcast().emit("all", &()).expect("an event");
    world.io.to("x").emit("both", &()).expect("an event");
    assert_eq!(a.heard().await, [r#"2["both"]"#]);
    assert_eq!(b.heard().await, [r#"2["room"]"#, r#"2["all"]"#, r#"2["both"]"#]);
    assert_eq!(c.heard().await, [r#"2["all"]"#]);
}

#[tokio::test(start_paused = true)]
async fn what_is_emitted_in_an_order_arrives_in_it() {
    let world = World::new();
    let [mut a, ..] = three(&world).await;
    let socket = a.socket();
    for n in 0..20 {
        world.io.emit("all", &n).expect("an event");
        socket.emit("one", &n).expect("an event");
        world.io.to(socket.id()).volatile().emit("own", &n).expect("an event");
    }
    let heard = a.heard().await;
    let expected: Vec<String> =
        (0..20).flat_map(|n| ["all", "one", "own"].map(|name| format!(r#"2["{name}",{n}]"#))).collect();
    assert_eq!(heard, expected);
}

#[tokio::test(start_paused = true)]
async fn to_no_room_at_all_is_to_nobody() {
    // Node takes it for everybody.
    let world = World::new();
    let [mut a, ..] = three(&world).await;
    let none: Vec<String> = Vec::new();
    world.io.to(none).emit("x", &()).expect("an event");
    world.io.to("").emit("x", &()).expect("an event");
    world.io.to("nobody here").emit("x", &()).expect("an event");
    assert!(a.heard().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn rooms_of_others_cannot_be_joined() {
    let world = World::new();
    let [mut a, mut b, _c] = three(&world).await;
    let (alice, bob) = (a.socket(), b.id());
    assert_eq!(alice.join(bob.as_str()), Err(JoinError::Foreign));
    assert_eq!(alice.join("user:bob"), Err(JoinError::Foreign));
    assert_eq!(alice.join(alice.id()), Ok(()));
    assert!(matches!(alice.join(""), Err(JoinError::Name(_))));
    assert!(matches!(alice.join("x".repeat(255)), Err(JoinError::Name(_))));
    assert_eq!(alice.rooms(), [alice.id().to_string()]);
}

#[tokio::test(start_paused = true)]
async fn a_socket_is_in_so_many_rooms_only() {
    let world = World::new();
    let [mut a, ..] = three(&world).await;
    let socket = a.socket();
    for n in 0..8 {
        socket.join(format!("room {n}")).expect("a room");
    }
    assert_eq!(socket.join("room 1"), Ok(()), "it is in it");
    assert_eq!(socket.join("room 8"), Err(JoinError::TooMany { limit: 8 }));
    socket.leave_room("room 1");
    assert_eq!(socket.join("room 8"), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_user_is_in_the_room_of_its_name_with_every_connection() {
    let world = World::new();
    world.io.of("/").expect("a name");
    let mut phone = world.client_of(Some("ada"), Version::V4).joined().await;
    let mut desk = world.client_of(Some("ada"), Version::V4).joined().await;
    let mut other = world.client_of(Some("bob"), Version::V4).joined().await;
    world.io.to("user:ada").emit("hello", &()).expect("an event");
    assert_eq!(phone.heard().await, [r#"2["hello"]"#]);
    assert_eq!(desk.heard().await, [r#"2["hello"]"#]);
    assert!(other.heard().await.is_empty());
    assert_eq!(phone.socket().data().to_json()["user"]["id"], "ada");
}

#[tokio::test(start_paused = true)]
async fn what_a_socket_has_left_it_does_not_hear() {
    let world = World::new();
    let [mut a, ..] = three(&world).await;
    let socket = a.socket();
    socket.join("x").expect("a room");
    socket.leave_room("x");
    world.io.to("x").emit("x", &()).expect("an event");
    assert!(a.heard().await.is_empty());
    assert_eq!(socket.rooms().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_volatile_event_does_not_wait_for_a_client() {
    let world = World::new();
    let [mut a, mut b, _c] = three(&world).await;
    // Between two polls nobody takes its bytes.
    a.lane.outbox.await_bytes(false);
    world.io.volatile().emit("v", &1).expect("an event");
    a.socket().volatile().emit("v", &2).expect("an event");
    world.io.emit("kept", &3).expect("an event");
    assert_eq!(a.heard().await, [r#"2["kept",3]"#]);
    assert_eq!(b.heard().await, [r#"2["v",1]"#, r#"2["kept",3]"#]);
}

#[tokio::test(start_paused = true)]
async fn readers_of_other_transports_hear_what_is_emitted_to_a_room() {
    let world = World::new();
    let room = RoomName::parse("sio:/:news").expect("a name");
    let native = world.hub.outbox("native".into(), wires::JSON, None, world.hub.shard());
    let _reader = world.hub.attach_now(&native, &room, Dialect::default());
    world.io.of("/").expect("a name").to("news").emit("headline", &("rain", 1)).expect("an event");
    settle().await;
    let bytes: Vec<u8> = native.take().iter().flatten().copied().collect();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(r#""event":"headline""#) && text.contains(r#""payload":["rain",1]"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn sockets_are_fetched_moved_and_sent_away() {
    let world = World::new();
    let [mut a, mut b, mut c] = three(&world).await;
    a.socket().data().set("name", "ada").expect("JSON");
    world.io.to([a.id(), b.id()]).sockets_join("team");
    let mut team = world.io.in_("team").fetch_sockets().await.sockets;
    team.sort_by_key(|socket| socket.id.to_string() != a.id());
    assert_eq!(team.len(), 2);
    assert_eq!(team[0].data["name"], "ada");
    assert_eq!(team[0].rooms, [a.id(), "team".into()]);
    assert_eq!(team[0].handshake["query"]["room"], "a b");
    assert_eq!(team[0].handshake["xdomain"], true);
    world.io.to(a.id()).sockets_leave("team");
    world.io.to("team").emit("hello", &()).expect("an event");
    assert!(a.heard().await.is_empty());
    assert_eq!(b.heard().await, [r#"2["hello"]"#]);
    team[1].emit("one", &()).expect("an event");
    team[1].disconnect(false);
    assert_eq!(b.heard().await, [r#"2["one"]"#, "1"]);
    assert_eq!(world.io.fetch_sockets().await.len(), 2);
    world.io.except(a.id()).disconnect_sockets(true);
    assert_eq!(c.heard().await, ["1"]);
    assert!(matches!(&*c.orders, [Order::Close(Reason::ServerNamespaceDisconnect)]));
    assert_eq!(world.io.of("/").expect("a name").socket_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_compressed_unless_it_is_not_to_be() {
    let world = World::new();
    let root = world.io.of("/").expect("a name");
    let speech = Speech { parser: Parser::Json, form: Form::Deflated };
    let outbox = world.hub.outbox("client".into(), speech.wire(), None, world.hub.shard());
    let mut client = world.client();
    client.lane = Lane::new(outbox, Version::V4, denrei_proto::ws::DeflateConfig::default());
    client.io.connect(&client.lane, &client.handshake, "/", None);
    settle().await;
    client.lane.outbox.take();
    let long = "x".repeat(2000);
    let sizes = async || -> usize {
        settle().await;
        client.lane.outbox.take().iter().map(Bytes::len).sum()
    };
    let socket = root.fetch_sockets().await.sockets[0].clone();
    let socket = root.socket(socket.id.as_str()).expect("it is here");
    root.emit("x", &long).expect("an event");
    assert!(sizes().await < 200);
    root.compress(false).emit("x", &long).expect("an event");
    assert!(sizes().await > 2000);
    socket.emit("x", &long).expect("an event");
    assert!(sizes().await < 200);
    socket.compress(false).emit("x", &long).expect("an event");
    assert!(sizes().await > 2000);
}

#[tokio::test(start_paused = true)]
async fn a_shared_room_takes_what_clients_of_other_protocols_publish() {
    let world = World::new();
    let shop = world.io.of("/").expect("a name");
    shop.recovery(Recovery::default());
    assert_eq!(world.io.share("/"), Share::Nothing);
    shop.share(Share::Publish);
    assert_eq!(world.io.share("/"), Share::Publish);
    let [mut a, mut b, _c] = three(&world).await;
    a.socket().join("news").expect("a room");
    let draft = |room: &str, payload: &'static str| Draft {
        from: Some("native".into()),
        user: Name::parse("ada").ok(),
        ..Draft::new(
            RoomName::parse(room).expect("a name"),
            Name::parse("headline").expect("a name"),
            Bytes::from_static(payload.as_bytes()),
            0,
        )
    };
    let native = world.hub.outbox("reader".into(), wires::JSON, None, world.hub.shard());
    let news = RoomName::parse("sio:/:news").expect("a name");
    let _reader = world.hub.attach_now(&native, &news, Dialect::default());
    world.io.publish(draft("sio:/:news", r#"{"sky":"clear"}"#));
    world.io.publish(draft("sio:/", "1"));
    // As what the application emits: with an offset, from which a client that missed it is given it.
    let heard = a.heard().await;
    assert!(heard[0].starts_with(r#"2["headline",{"sky":"clear"},""#), "{heard:?}");
    assert!(heard[1].starts_with(r#"2["headline",1,""#), "{heard:?}");
    let heard = b.heard().await;
    assert!(heard.len() == 1 && heard[0].starts_with(r#"2["headline",1,""#), "{heard:?}");
    settle().await;
    let bytes: Vec<u8> = native.take().iter().flatten().copied().collect();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(r#""userId":"ada""#) && text.contains(r#""payload":{"sky":"clear"}"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_a_pattern_shares_its_namespaces_share() {
    let world = World::new();
    world.io.of("/tenant-{id}").expect("a pattern").share(Share::Read);
    assert_eq!(world.io.share("/tenant-7"), Share::Read, "before anybody is in it");
    let seven = world.io.of("/tenant-7").expect("a name");
    assert_eq!(world.io.share("/tenant-7"), Share::Read);
    seven.share(Share::Nothing);
    assert_eq!(world.io.share("/tenant-7"), Share::Nothing);
    assert_eq!(world.io.share("/tenant-8"), Share::Read);
    assert_eq!(world.io.share("/other"), Share::Nothing);
}
