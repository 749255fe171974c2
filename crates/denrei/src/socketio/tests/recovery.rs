//! Who was cut off comes back to what it missed (reference §2.7 and §6.1).

use super::*;
use crate::socketio::{Namespace, Recovery};

/// A namespace `/` whose clients may come back.
fn recoverable(world: &World) -> Namespace {
    let root = world.io.of("/").expect("a name");
    root.recovery(Recovery::default()).clone()
}

#[tokio::test(start_paused = true)]
async fn missed_packets_come_before_the_connect_with_the_same_ids() {
    let world = World::new();
    let root = recoverable(&world);
    root.on("data", async |socket, (), ack| ack.send(&(socket.recovered(), socket.rooms(), socket.data().to_json())));
    let mut client = world.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    let pid = pid.expect("a pid");
    let socket = client.socket();
    socket.join("x").expect("a room");
    socket.data().set("name", "ada").expect("JSON");
    root.emit("foo", &1).expect("an event");
    let heard = client.heard().await;
    let seen = offset(&heard[0]);
    assert_eq!(heard, [format!(r#"2["foo",1,"{seen}"]"#)]);

    client.end(Reason::TransportClose);
    root.emit("all", &2).expect("an event");
    root.to("x").emit("room", &3).expect("an event");
    root.to("y").emit("other room", &()).expect("an event");
    root.to("x").except(&sid).emit("not me", &()).expect("an event");
    root.to(&sid).emit("own", &4).expect("an event");
    root.volatile().emit("volatile", &()).expect("an event");

    let mut again = world.client();
    again.say(&claim(&pid, Some(&seen)));
    let heard = again.heard().await;
    let names: Vec<&str> = heard.iter().map(|packet| packet.split(",\"").next().unwrap_or_default()).collect();
    assert_eq!(names[..3], [r#"2["all",2"#, r#"2["room",3"#, r#"2["own",4"#]);
    assert_eq!(heard[3..], [format!(r#"0{{"sid":"{sid}","pid":"{pid}"}}"#)]);
    again.say(r#"21["data"]"#);
    let data = format!(r#"31[true,["{sid}","x"],{{"name":"ada"}}]"#);
    assert_eq!(again.heard().await, [data]);
    // And it is live: in all and its room, each once.
    root.to("x").emit("live", &5).expect("an event");
    assert_eq!(again.heard().await.len(), 1);
    assert_eq!(root.socket_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_offset_holds_for_all_and_goes_up() {
    let world = World::new();
    let root = recoverable(&world);
    let (mut a, mut b) = (world.client().joined().await, world.client().joined().await);
    root.emit("x", &()).expect("an event");
    a.socket().emit("y", &()).expect("an event");
    root.emit("z", &()).expect("an event");
    let (a, b) = (a.heard().await, b.heard().await);
    assert_eq!((offset(&a[0]), offset(&a[2])), (offset(&b[0]), offset(&b[1])));
    let numbers: Vec<u64> = a
        .iter()
        .map(|packet| offset(packet).rsplit(':').next().expect("a number").parse().expect("a number"))
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_received_an_event_comes_back_too() {
    let world = World::new();
    let root = recoverable(&world);
    root.emit("before it came", &()).expect("an event");
    let mut client = world.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    client.end(Reason::PingTimeout);
    root.emit("missed", &()).expect("an event");
    let mut again = world.client();
    again.say(&claim(&pid.expect("a pid"), None));
    let heard = again.heard().await;
    assert_eq!(heard.len(), 2);
    assert!(heard[0].starts_with(r#"2["missed","#) && heard[1].contains(&sid), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_volatile_event_carries_the_offset_before_it_and_loses_nothing() {
    let world = World::new();
    let root = recoverable(&world);
    let mut client = world.client();
    client.say("0");
    let (_, pid) = client.connected().await;
    root.emit("kept", &"text").expect("an event");
    root.volatile().emit("volatile", &"text").expect("an event");
    let heard = client.heard().await;
    assert_eq!(offset(&heard[0]), offset(&heard[1]));
    client.end(Reason::TransportClose);
    root.emit("missed", &()).expect("an event");
    let mut again = world.client();
    again.say(&claim(&pid.expect("a pid"), Some(&offset(&heard[1]))));
    assert_eq!(again.heard().await.len(), 2);
    assert!(again.socket().recovered());
}

#[tokio::test(start_paused = true)]
async fn a_session_is_recovered_once() {
    let world = World::new();
    let root = recoverable(&world);
    let mut client = world.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    let pid = pid.expect("a pid");
    client.end(Reason::TransportClose);
    let mut again = world.client();
    again.say(&claim(&pid, None));
    assert_eq!(again.connected().await.0, sid);
    // It goes on: cut off once more, back once more (#4880).
    again.end(Reason::TransportClose);
    root.emit("missed", &()).expect("an event");
    let mut third = world.client();
    third.say(&claim(&pid, None));
    let heard = third.heard().await;
    assert!(heard.len() == 2 && heard[1].contains(&sid), "{heard:?}");
    // And who comes with the pid of a session that has ended begins anew.
    third.say("1");
    let mut fourth = world.client();
    fourth.say(&claim(&pid, None));
    let (other, other_pid) = fourth.connected().await;
    assert!(other != sid && other_pid.expect("a pid") != pid);
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_still_has_the_session_is_ended_and_no_zombie_is_left() {
    let world = World::new();
    let root = recoverable(&world);
    let notes = Notes::default();
    let gone = notes.clone();
    root.on_disconnect(move |_, reason| {
        gone.write(reason.as_str());
        async {}
    });
    let mut half_open = world.client();
    half_open.say("0");
    let (sid, pid) = half_open.connected().await;
    half_open.socket().join("x").expect("a room");
    let mut again = world.client();
    again.say(&claim(&pid.expect("a pid"), None));
    assert_eq!(again.connected().await.0, sid);
    settle().await;
    assert_eq!(notes.take(), ["transport close"]);
    half_open.heard().await;
    assert!(matches!(&*half_open.orders, [Order::Close(Reason::TransportClose)]));
    // The late end of the old connection takes nothing from the new one.
    half_open.end(Reason::PingTimeout);
    root.to("x").emit("room", &()).expect("an event");
    root.to(&sid).emit("own", &()).expect("an event");
    root.emit("all", &()).expect("an event");
    assert_eq!(again.heard().await.len(), 3);
    assert!(half_open.heard().await.is_empty());
    assert_eq!(root.socket_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_waits_so_long_and_its_end_is_told() {
    let world = World::new();
    let root = recoverable(&world);
    let notes = Notes::default();
    let expired = notes.clone();
    root.on_session_expired(move |session| {
        expired.write(format!("{} {:?} {:?}", session.id, session.rooms, session.data.get("n")));
        async {}
    });
    let mut client = world.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    client.socket().join("x").expect("a room");
    client.socket().data().set("n", &1).expect("JSON");
    client.end(Reason::TransportClose);
    tokio::time::sleep(Duration::from_secs(119)).await;
    assert!(notes.take().is_empty());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(notes.take(), [format!(r#"{sid} ["x"] Some(Number(1))"#)]);
    let mut again = world.client();
    again.say(&claim(&pid.expect("a pid"), None));
    assert_ne!(again.connected().await.0, sid);
}

#[tokio::test(start_paused = true)]
async fn who_left_or_was_sent_away_does_not_come_back() {
    let world = World::new();
    let root = recoverable(&world);
    for reason in [Reason::ClientNamespaceDisconnect, Reason::ServerNamespaceDisconnect, Reason::ParseError] {
        let mut client = world.client();
        client.say("0");
        let (sid, pid) = client.connected().await;
        client.end(reason);
        let mut again = world.client();
        again.say(&claim(&pid.expect("a pid"), None));
        assert_ne!(again.connected().await.0, sid, "{reason}");
        again.end(Reason::ClientNamespaceDisconnect);
    }
    assert_eq!(root.socket_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_wait_are_bounded() {
    let world = World::new();
    let root = world.io.of("/").expect("a name");
    root.recovery(Recovery { sessions: 2, ..Recovery::default() });
    let notes = Notes::default();
    let expired = notes.clone();
    root.on_session_expired(move |session| {
        expired.write(session.id.as_str());
        async {}
    });
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut client = world.client().joined().await;
        ids.push(client.id());
        client.end(Reason::TransportClose);
    }
    settle().await;
    assert_eq!(notes.take(), ids[..1]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_any_more_begins_anew() {
    let world = World::new();
    let root = world.io.of("/").expect("a name");
    root.recovery(Recovery { events: 3, ..Recovery::default() });
    let notes = Notes::default();
    let expired = notes.clone();
    root.on_session_expired(move |_| {
        expired.write("expired");
        async {}
    });
    let mut client = world.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    client.end(Reason::TransportClose);
    for n in 0..4 {
        root.emit("n", &n).expect("an event");
    }
    let mut again = world.client();
    again.say(&claim(&pid.expect("a pid"), None));
    assert_ne!(again.connected().await.0, sid, "a whole answer or none");
    assert!(!again.socket().recovered());
    assert_eq!(notes.take(), ["expired"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_too_big_to_keep_is_no_silent_hole() {
    let world = World::new();
    let root = world.io.of("/").expect("a name");
    root.recovery(Recovery { bytes: 10_000, ..Recovery::default() });
    let mut client = world.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    client.end(Reason::TransportClose);
    root.emit("big", &"x".repeat(20_000)).expect("an event");
    root.emit("small", &()).expect("an event");
    let mut again = world.client();
    again.say(&claim(&pid.expect("a pid"), None));
    assert_ne!(again.connected().await.0, sid);
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_the_sessions_own_users() {
    let world = World::new();
    recoverable(&world);
    let mut client = world.client_of(Some("ada"), Version::V4);
    client.say("0");
    let (sid, pid) = client.connected().await;
    let pid = pid.expect("a pid");
    let mut thief = world.client_of(Some("bob"), Version::V4);
    thief.say(&claim(&pid, None));
    assert_ne!(thief.connected().await.0, sid);
    assert!(client.socket().is_connected(), "a live socket is not ended for somebody else");
    client.end(Reason::TransportClose);
    let mut again = world.client_of(Some("ada"), Version::V4);
    again.say(&claim(&pid, None));
    assert_eq!(again.connected().await.0, sid);
    assert_eq!(again.socket().rooms()[1..], ["user:ada"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_what_was_before_it_came() {
    let world = World::new();
    let root = recoverable(&world);
    root.emit("secret", &()).expect("an event");
    let mut client = world.client();
    client.say("0");
    let (_, pid) = client.connected().await;
    root.emit("x", &()).expect("an event");
    let seen = offset(&client.heard().await[0]);
    client.end(Reason::TransportClose);
    let epoch = seen.split(':').next().expect("an epoch");
    let mut again = world.client();
    again.say(&claim(&pid.expect("a pid"), Some(&format!("{epoch}:0"))));
    let heard = again.heard().await;
    assert!(heard.len() == 2 && heard[0].starts_with(r#"2["x","#), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn claims_of_nonsense_begin_anew() {
    let world = World::new();
    recoverable(&world);
    let mut client = world.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    let pid = pid.expect("a pid");
    client.end(Reason::TransportClose);
    for nonsense in
        [r#"{"pid":5}"#, r#"{"pid":null}"#, r#"{"pid":"x","offset":{}}"#, r#"{"offset":"a:1"}"#, r#"{"pid":["x"]}"#]
    {
        let mut other = world.client();
        other.say(&format!("0{nonsense}"));
        assert_ne!(other.connected().await.0, sid, "{nonsense}");
    }
    let mut again = world.client();
    again.say(&claim(&pid, Some("elsewhere:7")));
    assert_ne!(again.connected().await.0, sid);
}

#[tokio::test(start_paused = true)]
async fn middlewares_are_passed_unless_they_are_not_to_be() {
    let world = World::new();
    for (name, skip) in [("/skip", true), ("/ask", false)] {
        let namespace = world.io.of(name).expect("a name");
        namespace.recovery(Recovery { skip_middlewares: skip, ..Recovery::default() });
        let notes = Notes::default();
        let asked = notes.clone();
        namespace.use_fn(move |socket| {
            asked.write(socket.recovered().to_string());
            async move {
                let auth: Value = socket.auth()?;
                if auth["bad"] == true { Err("bad".into()) } else { Ok(()) }
            }
        });
        let mut client = world.client();
        client.say(&format!("0{name},"));
        let (sid, pid) = client.connected().await;
        let pid = pid.expect("a pid");
        client.end(Reason::TransportClose);
        namespace.emit("missed", &()).expect("an event");
        assert_eq!(notes.take(), ["false"]);
        if !skip {
            // Who is refused has still its session.
            let mut refused = world.client();
            refused.say(&format!(r#"0{name},{{"pid":"{pid}","bad":true}}"#));
            assert_eq!(refused.heard().await, [r#"4/ask,{"message":"bad"}"#]);
            assert_eq!(notes.take(), ["true"]);
        }
        let mut again = world.client();
        again.say(&format!(r#"0{name},{{"pid":"{pid}"}}"#));
        let heard = again.heard().await;
        assert!(heard.len() == 2 && heard[1].contains(&sid), "{heard:?}");
        assert_eq!(notes.take(), if skip { vec![] } else { vec!["true".to_owned()] });
    }
}

#[tokio::test(start_paused = true)]
async fn acks_and_other_clients_events_go_without_an_offset() {
    let world = World::new();
    let root = recoverable(&world);
    root.on("q", async |_, (), ack| ack.send("text"));
    let mut client = world.client().joined().await;
    client.say(r#"21["q"]"#);
    let answer = client.socket().emit_with_ack::<u8>("ask", &"text");
    assert_eq!(client.heard().await, [r#"31["text"]"#, r#"20["ask","text"]"#]);
    drop(answer);
    // Clients of version 3 know nothing of it.
    let mut old = world.client_of(None, Version::V3);
    old.say("0");
    assert_eq!(old.heard().await, ["0"]);
}

#[tokio::test(start_paused = true)]
async fn a_passing_namespace_stays_while_somebody_may_come_back() {
    let world = World::new();
    let rooms = world.io.of("/room-{id}").expect("a pattern");
    rooms.recovery(Recovery::default());
    let mut client = world.client();
    client.say("0/room-1,");
    let (sid, pid) = client.connected().await;
    client.end(Reason::TransportClose);
    assert!(world.io.has("/room-1"));
    let mut again = world.client();
    again.say(&format!(r#"0/room-1,{{"pid":"{}"}}"#, pid.expect("a pid")));
    assert_eq!(again.connected().await.0, sid);
    again.end(Reason::TransportClose);
    tokio::time::sleep(Duration::from_secs(130)).await;
    assert!(!world.io.has("/room-1"));
}

#[tokio::test(start_paused = true)]
async fn binary_is_recovered_too() {
    let world = World::new();
    let root = recoverable(&world);
    let mut client = world.client();
    client.say("0");
    let (_, pid) = client.connected().await;
    client.end(Reason::TransportClose);
    root.emit("data", &(1, Bytes::from_static(&[1, 2]))).expect("an event");
    let mut again = world.client();
    again.say(&claim(&pid.expect("a pid"), None));
    let heard = again.heard().await;
    assert!(heard[0].starts_with(r#"51-["data",1,{"_placeholder":true,"num":0},""#), "{heard:?}");
    assert_eq!(heard[1], "binary [1, 2]");
}

/// Comers, goers and emits on several threads at once: no deadlock, and nobody is left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_comes_and_goes_at_once_leaves_nothing_behind() {
    let world = World::new();
    let root = world.io.of("/").expect("a name");
    root.recovery(Recovery { max_disconnection: Duration::from_millis(50), events: 50, ..Recovery::default() });
    root.use_event(async |_, _, _| {});
    root.on_disconnecting(async |socket, reason| {
        socket.to("x").emit("left", &reason.as_str())?;
        Ok(())
    });
    let pids: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8_usize {
        let (pids, root) = (Arc::clone(&pids), root.clone());
        let mut clients: Vec<Client> = (0..40).map(|_| world.client()).collect();
        tasks.spawn(async move {
            for (m, client) in clients.iter_mut().enumerate() {
                // Somebody else's, as often as not one that is live or just being claimed.
                let pid = pids.lock().expect("no panic").get((n * 7 + m * 3) % 50).cloned();
                client.say(&pid.map_or_else(|| "0".into(), |pid| claim(&pid, None)));
                client.orders();
                let Some(socket) = client.sockets.values().next().cloned() else { continue };
                if let Some(pid) = socket.pid() {
                    pids.lock().expect("no panic").push(pid.as_str().to_owned());
                }
                // It may have been ended by another claim already.
                let _ = socket.join("x");
                root.to("x").emit("hello", &m).expect("an event");
                socket.emit("you", &m).expect("an event");
                client.say(r#"2["said"]"#);
                if m % 5 == 0 {
                    root.to("x").except(socket.id()).disconnect_sockets(false);
                }
                if m % 2 == 0 {
                    client.end(Reason::TransportClose);
                }
                tokio::task::yield_now().await;
            }
            for client in &mut clients {
                client.end(Reason::TransportClose);
            }
        });
    }
    let all = async {
        while let Some(task) = tasks.join_next().await {
            task.expect("no panic");
        }
        while root.socket_count() > 0 || world.hub.rooms() > 0 || root.sessions().expect("recovery").is_waiting() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_while_its_middleware_runs_holds_up_nobody() {
    let world = World::new();
    let root = recoverable(&world);
    root.use_fn(async |_| tokio::time::sleep(Duration::from_millis(50)).await);
    let mut client = world.client();
    client.say("0");
    settle().await;
    client.end(Reason::TransportClose);
    tokio::time::sleep(Duration::from_millis(100)).await;
    root.emit("still", &()).expect("an event");
    assert_eq!(root.socket_count(), 0);
    assert_eq!(world.hub.rooms(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_handlers_do_after_the_cut_waits_for_the_client_too() {
    let world = World::new();
    let root = recoverable(&world);
    root.on("work", async |socket, (), _| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        socket.join("late")?;
        socket.leave_room("early");
        socket.data().set("done", &true)?;
        socket.emit("result", &7)?;
        Ok(())
    });
    let mut client = world.client();
    client.say("0");
    let (_, pid) = client.connected().await;
    client.socket().join("early").expect("a room");
    client.say(r#"2["work"]"#);
    settle().await;
    client.end(Reason::TransportClose);
    tokio::time::sleep(Duration::from_millis(100)).await;
    root.to("late").emit("to the room", &()).expect("an event");
    root.to("early").emit("to the other", &()).expect("an event");
    let mut again = world.client();
    again.say(&claim(&pid.expect("a pid"), None));
    let heard = again.heard().await;
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert!(heard[0].starts_with(r#"2["result",7,"#) && heard[1].starts_with(r#"2["to the room","#), "{heard:?}");
    let socket = again.socket();
    assert!(socket.recovered());
    assert_eq!(socket.rooms(), [again.id(), "late".into()]);
    assert_eq!(socket.data().get::<bool>("done"), Some(true));
}

#[tokio::test(start_paused = true)]
async fn who_missed_more_than_a_connection_may_hold_begins_anew() {
    let world = World::new();
    let root = recoverable(&world);
    let mut client = world.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    let pid = pid.expect("a pid");
    client.end(Reason::TransportClose);
    let long = "x".repeat(100_000);
    for _ in 0..client.lane.outbox.capacity() / long.len() + 1 {
        root.emit("missed", &long).expect("an event");
    }
    let mut again = world.client();
    again.say(&claim(&pid, None));
    let (other, _) = again.connected().await;
    assert_ne!(sid, other);
    assert!(again.lane.outbox.ended().is_none());
}

#[tokio::test(start_paused = true)]
async fn sessions_are_bounded_by_what_they_hold_and_over_all_namespaces_of_a_pattern() {
    let world = World::new();
    let rooms = world.io.of("/room-{id}").expect("a pattern");
    rooms.recovery(Recovery { sessions: 2, bytes: 4000, ..Recovery::default() });
    let gone = async |number: u32, room: &str| {
        let mut client = world.client();
        client.say(&format!("0/room-{number},"));
        client.heard().await;
        let socket = client.sockets.values().next().expect("it has joined").clone();
        let pid = socket.pid().expect("a pid").as_str().to_owned();
        socket.join(room).expect("a room");
        client.end(Reason::TransportClose);
        pid
    };
    let back = async |number: u32, pid: &str| {
        let mut client = world.client();
        client.say(&format!("0/room-{number},{}", &claim(pid, None)[1..]));
        client.heard().await;
        client.sockets.values().next().expect("it has joined").recovered()
    };
    let one = gone(1, "a").await;
    let two = gone(2, "a").await;
    let three = gone(3, "a").await;
    assert!(!back(3, &three).await, "two others wait, in other namespaces");
    assert!(back(1, &one).await && back(2, &two).await);
    let heavy = gone(4, &"x".repeat(100)).await;
    assert!(back(4, &heavy).await);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_holds_too_much_is_not_kept() {
    let world = World::new();
    let root = world.io.of("/").expect("a name");
    root.recovery(Recovery { bytes: 4000, ..Recovery::default() });
    for (size, recovered) in [(3000, true), (5000, false)] {
        let mut client = world.client();
        client.say("0");
        let (_, pid) = client.connected().await;
        client.socket().data().set("much", &"x".repeat(size)).expect("JSON");
        client.end(Reason::TransportClose);
        let mut again = world.client();
        again.say(&claim(&pid.expect("a pid"), None));
        assert_eq!(again.socket().recovered(), recovered, "{size}");
    }
}
