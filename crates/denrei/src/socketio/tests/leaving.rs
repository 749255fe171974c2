//! How clients go.

use super::*;

#[test]
fn reasons_are_nodes_words() {
    let all = [
        (Reason::TransportError, "transport error", true),
        (Reason::TransportClose, "transport close", true),
        (Reason::ForcedClose, "forced close", true),
        (Reason::PingTimeout, "ping timeout", true),
        (Reason::ParseError, "parse error", false),
        (Reason::ServerShuttingDown, "server shutting down", true),
        (Reason::ForcedServerClose, "forced server close", true),
        (Reason::ClientNamespaceDisconnect, "client namespace disconnect", false),
        (Reason::ServerNamespaceDisconnect, "server namespace disconnect", false),
    ];
    for (reason, text, recoverable) in all {
        assert_eq!((reason.to_string().as_str(), reason.is_recoverable()), (text, recoverable));
    }
}

/// Writes down who leaves how, and in which rooms it was.
fn watched(world: &World) -> Notes {
    let notes = Notes::default();
    let root = world.io.of("/").expect("a name");
    let (first, last) = (notes.clone(), notes.clone());
    root.on_disconnecting(move |socket, reason| {
        first.write(format!("disconnecting {reason} {:?}", &socket.rooms()[1..]));
        async move {
            socket.to("x").emit("left", &reason.as_str())?;
            Ok(())
        }
    });
    root.on_disconnect(move |socket, reason| {
        last.write(format!("disconnect {reason} {:?}", socket.rooms()));
        async {}
    });
    notes
}

#[tokio::test(start_paused = true)]
async fn rooms_can_be_read_until_the_socket_has_gone() {
    let world = World::new();
    let notes = watched(&world);
    let (mut a, mut b) = (world.client().joined().await, world.client().joined().await);
    for client in [&mut a, &mut b] {
        client.socket().join("x").expect("a room");
    }
    let socket = a.socket();
    a.end(Reason::PingTimeout);
    a.end(Reason::TransportClose);
    assert!(!socket.is_connected());
    assert_eq!(world.io.in_("x").fetch_sockets().await.len(), 1, "nobody reaches it from now on");
    assert_eq!(b.heard().await, [r#"2["left","ping timeout"]"#]);
    assert_eq!(notes.take(), [r#"disconnecting ping timeout ["x"]"#, "disconnect ping timeout []"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_said_before_it_left_is_still_done() {
    let world = World::new();
    let notes = watched(&world);
    let done = notes.clone();
    world.io.of("/").expect("a name").on("save", move |_, n: u8, _| {
        let notes = done.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            notes.write(format!("saved {n}"));
        }
    });
    let mut client = world.client().joined().await;
    client.say(r#"2["save",1]"#);
    client.say(r#"2["save",2]"#);
    client.say("1");
    client.say(r#"2["save",3]"#);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(
        notes.take(),
        [
            "saved 1",
            "saved 2",
            "disconnecting client namespace disconnect []",
            "disconnect client namespace disconnect []"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_waits_of_a_client_that_is_sent_away_is_not_done() {
    let world = World::new();
    let notes = watched(&world);
    let done = notes.clone();
    world.io.of("/").expect("a name").on("flood", move |socket, n: u8, ack| {
        done.write(format!("event {n}"));
        async move {
            socket.emit("bye", &()).expect("an event");
            socket.disconnect(false);
            ack.send("never");
        }
    });
    let mut client = world.client().joined().await;
    client.say(r#"21["flood",1]"#);
    client.say(r#"22["flood",2]"#);
    // What was emitted before comes before, and nothing after.
    assert_eq!(client.heard().await, [r#"2["bye"]"#, "1"]);
    assert!(matches!(&*client.orders, [Order::Left(_)]));
    assert_eq!(
        notes.take(),
        ["event 1", "disconnecting server namespace disconnect []", "disconnect server namespace disconnect []"]
    );
    world.io.emit("after", &()).expect("an event");
    assert!(client.heard().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_can_be_sent_away() {
    let world = World::new();
    let notes = watched(&world);
    let mut client = world.client().joined().await;
    let socket = client.socket();
    let much = "x".repeat(600_000);
    for _ in 0..4 {
        socket.emit("much", &much).expect("an event");
    }
    settle().await;
    assert!(client.lane.outbox.notices().contains(&denrei_hub::Notice::Overflow), "what is lost is told");
    socket.disconnect(true);
    settle().await;
    assert_eq!(world.io.of("/").expect("a name").socket_count(), 0);
    assert_eq!(notes.take().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_has_gone_is_in_nobodys_memory() {
    let world = World::new();
    let held = Arc::new(());
    let root = world.io.of("/").expect("a name");
    let mut client = world.client().joined().await;
    let socket = client.socket();
    let (own, kept) = (socket.clone(), Arc::clone(&held));
    // A circle: the socket holds a handler that holds the socket.
    socket.on("x", move |_, (), _| {
        let _ = (&own, &kept);
        async {}
    });
    socket.join("x").expect("a room");
    client.end(Reason::TransportClose);
    client.sockets.clear();
    drop(socket);
    settle().await;
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!((root.socket_count(), world.hub.rooms()), (0, 0));
}
