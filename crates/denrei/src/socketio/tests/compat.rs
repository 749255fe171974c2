//! Nodes that meet as servers of Node do, on channels within the process.

use denrei_hub::{Channel, Channels, Heard, Listen, LocalChannels};

use super::*;
use crate::socketio::{Compat, Namespace, Subscriptions};

struct Pair {
    channels: LocalChannels,
    _worlds: [World; 2],
    here: Namespace,
    there: Namespace,
    a: Client,
    b: Client,
}

async fn pair(compat: Compat) -> Pair {
    let channels = LocalChannels::default();
    let worlds = [World::new(), World::new()];
    for world in &worlds {
        world.io.reach_by(Arc::new(channels.node()));
        world.io.of("/").expect("a name").compat(compat.clone());
    }
    let [here, there] = worlds.each_ref().map(|world| world.io.of("/").expect("a name"));
    settle().await;
    let (a, b) = (worlds[0].client().joined().await, worlds[1].client().joined().await);
    Pair { channels, _worlds: worlds, here, there, a, b }
}

fn dialects() -> [Compat; 3] {
    let classic = Compat::node().key("mine").publish_on_specific_response_channel(true);
    [classic, Compat::node().sharded(Subscriptions::Dynamic), Compat::node().sharded(Subscriptions::Static)]
}

#[tokio::test(start_paused = true)]
async fn what_is_emitted_reaches_clients_of_the_other() {
    for compat in dialects() {
        let Pair { here, mut a, mut b, .. } = pair(compat).await;
        b.socket().join(["x", "y"]).expect("joined");
        settle().await;
        here.broadcast().emit("all", &(1, Bytes::from_static(&[7]))).expect("an event");
        here.to("x").emit("room", &"ä").expect("an event");
        here.to("elsewhere").emit("nobody", &()).expect("an event");
        here.to(["x", "y"]).except(b.id()).emit("not you", &()).expect("an event");
        here.to(b.id()).volatile().emit("you", &()).expect("an event");
        here.local().emit("here", &()).expect("an event");
        here.broadcast().to([""; 0]).emit("none", &()).expect("an event");
        let binary = r#"51-["all",1,{"_placeholder":true,"num":0}]"#;
        assert_eq!(b.heard().await, [binary, r#"binary [7]"#, r#"2["room","ä"]"#, r#"2["you"]"#]);
        assert_eq!(a.heard().await, [binary, r#"binary [7]"#, r#"2["here"]"#]);
    }
}

#[tokio::test(start_paused = true)]
async fn sockets_of_the_other_are_moved_and_fetched_in_order() {
    for compat in dialects() {
        let Pair { here, mut a, mut b, .. } = pair(compat).await;
        b.socket().data().set("name", &"ada").expect("a value");
        here.broadcast().sockets_join("x");
        settle().await;
        here.to("x").emit("joined", &()).expect("an event");
        here.to("x").sockets_leave("x");
        here.to("x").emit("left", &()).expect("an event");
        let fetched = here.broadcast().fetch_sockets().await;
        assert_eq!((fetched.len(), fetched.missing_nodes.len()), (2, 0));
        let far = fetched.iter().find(|socket| socket.id.as_str() == b.id()).expect("it is there");
        assert_eq!((&far.rooms[..], &far.data["name"]), (&[b.id()][..], &Value::from("ada")));
        assert_eq!(far.handshake["address"], "127.0.0.1");
        here.broadcast().emit("bye", &()).expect("an event");
        far.disconnect(false);
        assert_eq!(b.heard().await, [r#"2["joined"]"#, r#"2["bye"]"#, "1"]);
        assert_eq!(a.heard().await, [r#"2["joined"]"#, r#"2["bye"]"#]);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_of_the_other_answer_and_those_that_do_not_are_counted() {
    for compat in dialects() {
        let Pair { here, mut a, mut b, .. } = pair(compat).await;
        let answers = here.broadcast().timeout(Duration::from_secs(1)).emit_with_ack::<u8>("n", &());
        for (client, n) in [(&mut a, 1), (&mut b, 2)] {
            assert_eq!(client.heard().await, [r#"20["n"]"#]);
            client.say(&format!("30[{n}]"));
        }
        let answers = answers.await.expect("an event");
        assert!(answers.is_complete());
        let mut values = answers.into_values();
        values.sort_unstable();
        assert_eq!(values, [1, 2]);

        let begun = tokio::time::Instant::now();
        let answers = here.except(a.id()).timeout(Duration::from_secs(1)).emit_with_ack::<u8>("n", &());
        let answers = answers.await.expect("an event");
        assert_eq!((answers.missing.len(), answers.missing_elsewhere, answers.missing_nodes.len()), (0, 1, 0));
        assert_eq!(begun.elapsed().as_secs(), 1);
        let nobody = here.to("nobody").emit_with_ack::<u8>("n", &()).await.expect("an event");
        assert!(nobody.is_complete() && begun.elapsed().as_secs() == 1, "nobody is waited for");
    }
}

#[tokio::test(start_paused = true)]
async fn applications_tell_and_ask_one_another() {
    for compat in dialects() {
        let Pair { here, there, .. } = pair(compat).await;
        let notes = Notes::default();
        let heard = notes.clone();
        there.on_server_side("hello", move |(name, n): (String, u8)| {
            heard.write(format!("{name} {n}"));
            async {}
        });
        there.on_server_side("count", async |(): ()| 7);
        here.on_server_side("count", async |(): ()| 1);
        here.server_side_emit("hello", &("ada", 1)).expect("an event");
        settle().await;
        assert_eq!(notes.take(), ["ada 1"]);
        let answers = here.server_side_emit_with_ack::<u8>("count", &()).await.expect("an event");
        assert_eq!((answers.received, answers.missing_nodes.len()), (vec![7], 0));
        let answers = here.server_side_emit_with_ack::<u8>("unknown", &()).await.expect("an event");
        assert_eq!(answers.missing_nodes, ["unnamed"], "as in Node, who has no handler does not answer");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_before_it_could_be_heard_what_is_answered() {
    let channels = LocalChannels::default();
    let mut listening = channels.subscribe(Listen::Below("socket.io".into())).await.expect("an answer");
    let world = World::new();
    world.io.reach_by(Arc::new(channels.node()));
    let namespace = world.io.of("/n").expect("a name");
    namespace.compat(Compat::node());
    namespace.broadcast().emit("early", &()).expect("an event");
    let requests = Channel::Plain("socket.io-request#/n#".into());
    assert_eq!(channels.count(&requests).await.expect("a count"), 0);
    let Some(Heard::Message(channel, _)) = listening.next().await else { panic!("it ended") };
    assert_eq!(channel.name(), "socket.io#/n#");
    assert_eq!(channels.count(&requests).await.expect("a count"), 1);
}

#[tokio::test(start_paused = true)]
async fn each_namespace_of_a_pattern_is_shared_and_ends_with_its_last_socket() {
    let channels = LocalChannels::default();
    let worlds = [World::new(), World::new()];
    for world in &worlds {
        world.io.reach_by(Arc::new(channels.node()));
        world.io.of("/tenant-{id}").expect("a name").compat(Compat::node());
    }
    let mut clients = worlds.each_ref().map(World::client);
    for client in &mut clients {
        client.say("0/tenant-7,");
        client.heard().await;
    }
    worlds[0].io.of("/tenant-{id}").expect("a name").broadcast().emit("all", &()).expect("an event");
    for client in &mut clients {
        assert_eq!(client.heard().await, [r#"2/tenant-7,["all"]"#]);
    }
    let requests = Channel::Plain("socket.io-request#/tenant-7#".into());
    assert_eq!(channels.count(&requests).await.expect("a count"), 2);
    clients[0].say("1/tenant-7,");
    drop(std::mem::take(&mut clients[0].sockets));
    settle().await;
    assert_eq!(channels.count(&requests).await.expect("a count"), 1, "its task has ended");
}

#[tokio::test(start_paused = true)]
async fn servers_that_speak_the_protocol_of_old_are_answered() {
    let Pair { channels, mut b, .. } = pair(Compat::node().key("mine")).await;
    let mut responses = {
        let what = Listen::To(Channel::Plain("mine-response#/#".into()));
        channels.subscribe(what).await.expect("an answer")
    };
    let mut ask = async |text: String, servers: usize| {
        let requests = Channel::Plain("mine-request#/#".into());
        channels.publish(&requests, text.into()).await.expect("published");
        let mut answers = Vec::new();
        while answers.len() < servers {
            let Some(Heard::Message(_, bytes)) = responses.next().await else { panic!("it ended") };
            answers.push(String::from_utf8(bytes.to_vec()).expect("JSON"));
        }
        answers
    };
    let id = b.id();
    let answers = ask(format!(r#"{{"uid":"u","requestId":"r1","type":2,"sid":"{id}","room":"x"}}"#), 1).await;
    assert_eq!(answers, [r#"{"requestId":"r1"}"#]);
    assert_eq!(b.socket().rooms(), [&*id, "x"]);
    let answers = ask(r#"{"uid":"u","requestId":"r2","type":0,"rooms":["x"]}"#.into(), 2).await;
    assert!(answers.contains(&format!(r#"{{"requestId":"r2","sockets":["{id}"]}}"#)), "{answers:?}");
    assert!(answers.contains(&r#"{"requestId":"r2","sockets":[]}"#.to_owned()), "{answers:?}");
    let answers = ask(r#"{"uid":"u","requestId":"r3","type":1}"#.into(), 2).await;
    assert!(answers.contains(&format!(r#"{{"requestId":"r3","rooms":["{id}","x"]}}"#)), "{answers:?}");
}
