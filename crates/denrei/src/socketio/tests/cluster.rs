//! What is done on one node reaches the others.

use super::*;
use crate::socketio::cluster::together;

async fn two() -> (World, World, Client, Client) {
    let (one, two) = (World::new(), World::new());
    together::join(&[&one.io, &two.io]);
    for world in [&one, &two] {
        world.io.of("/").expect("a name");
    }
    let (a, b) = (one.client().joined().await, two.client().joined().await);
    (one, two, a, b)
}

#[tokio::test(start_paused = true)]
async fn an_emit_reaches_sockets_of_other_nodes() {
    let (one, _two, mut a, mut b) = two().await;
    one.io.emit("all", &1).expect("an event");
    one.io.local().emit("here", &2).expect("an event");
    one.io.to(b.id()).emit("there", &3).expect("an event");
    a.socket().broadcast().emit("others", &4).expect("an event");
    assert_eq!(a.heard().await, [r#"2["all",1]"#, r#"2["here",2]"#]);
    assert_eq!(b.heard().await, [r#"2["all",1]"#, r#"2["there",3]"#, r#"2["others",4]"#]);
}

#[tokio::test(start_paused = true)]
async fn sockets_of_other_nodes_are_fetched_and_moved() {
    let (one, _two, mut a, mut b) = two().await;
    one.io.sockets_join("x");
    let fetched = one.io.in_("x").fetch_sockets().await;
    assert_eq!((fetched.len(), fetched.missing_nodes.len()), (2, 0));
    let far = fetched.iter().find(|socket| socket.id.as_str() == b.id()).expect("it is there");
    far.emit("you", &()).expect("an event");
    far.leave("x");
    one.io.to("x").emit("room", &()).expect("an event");
    assert_eq!(b.heard().await, [r#"2["you"]"#]);
    assert_eq!(a.heard().await, [r#"2["room"]"#]);
    far.disconnect(false);
    assert_eq!(b.heard().await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn clients_of_all_nodes_answer() {
    let (one, _two, mut a, mut b) = two().await;
    let answers = one.io.timeout(Duration::from_secs(1)).emit_with_ack::<u8>("n", &());
    for (client, n) in [(&mut a, 1), (&mut b, 2)] {
        assert_eq!(client.heard().await, [r#"20["n"]"#]);
        client.say(&format!("30[{n}]"));
    }
    let mut values = answers.await.expect("an event").into_values();
    values.sort_unstable();
    assert_eq!(values, [1, 2]);
    let answers = one.io.timeout(Duration::from_secs(1)).emit_with_ack::<u8>("n", &()).await.expect("an event");
    assert_eq!((answers.missing.len(), answers.missing_nodes.len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn applications_tell_and_ask_one_another() {
    let (one, two, ..) = two().await;
    let notes = Notes::default();
    let heard = notes.clone();
    let there = two.io.of("/").expect("a name");
    there.on_server_side("hello", move |(name, n): (String, u8)| {
        heard.write(format!("{name} {n}"));
        async {}
    });
    there.on_server_side("count", async |(): ()| 7);
    one.io.of("/").expect("a name").on_server_side("count", async |(): ()| 1);
    let here = one.io.of("/").expect("a name");
    here.server_side_emit("hello", &("ada", 1)).expect("an event");
    settle().await;
    assert_eq!(notes.take(), ["ada 1"]);
    let answers = here.server_side_emit_with_ack::<u8>("count", &()).await.expect("an event");
    assert_eq!((answers.received, answers.missing_nodes.len()), (vec![7], 0), "a node does not ask itself");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_named() {
    let (one, two, ..) = two().await;
    two.io.of("/").expect("a name").on_server_side("count", async |(): ()| std::future::pending::<u8>().await);
    let here = one.io.of("/").expect("a name");
    let answers = here.server_side_emit_with_ack::<u8>("count", &()).await.expect("an event");
    assert_eq!((answers.received.len(), answers.missing_nodes), (0, vec!["node 1".to_owned()]));
}
