//! Answers, both ways.

use super::*;
use crate::socketio::{AckError, Answers};

#[tokio::test(start_paused = true)]
async fn a_handler_may_ask_its_own_client() {
    let world = World::new();
    world.io.on_connect(async |socket| {
        socket.on("order", async |socket, item: String, ack| {
            let sure: bool = socket.timeout(Duration::from_secs(5)).emit_with_ack("sure?", &item).await?;
            ack.send(&sure);
            Ok(())
        });
    });
    let mut client = world.client().joined().await;
    client.say(r#"27["order","tea"]"#);
    assert_eq!(client.heard().await, [r#"20["sure?","tea"]"#]);
    client.say("30[true]");
    assert_eq!(client.heard().await, ["37[true]"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_a_time_out() {
    let world = World::new();
    world.io.of("/").expect("a name");
    let mut client = world.client().joined().await;
    let answer = client.socket().timeout(Duration::from_secs(5)).emit_with_ack::<u8>("q", &());
    assert!(matches!(answer.await, Err(AckError::Timeout)));
    // One that comes after that is nothing.
    client.say("30[1]");
    let answer = client.socket().emit_with_ack::<u8>("q", &());
    client.say("31[2]");
    assert_eq!(answer.await.expect("an answer"), 2);
}

#[tokio::test(start_paused = true)]
async fn who_goes_does_not_answer() {
    let world = World::new();
    world.io.of("/").expect("a name");
    let mut client = world.client().joined().await;
    let socket = client.socket();
    let answer = socket.emit_with_ack::<u8>("q", &());
    client.say("1");
    assert!(matches!(answer.await, Err(AckError::Disconnected)));
    assert!(matches!(socket.emit_with_ack::<u8>("q", &()).await, Err(AckError::Disconnected)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_type_is_an_error_of_the_client() {
    let world = World::new();
    world.io.of("/").expect("a name");
    let mut client = world.client().joined().await;
    let one = client.socket().emit_with_ack::<u8>("q", &());
    let both = client.socket().emit_with_ack::<(u8, String)>("q", &());
    client.say(r#"30["x"]"#);
    client.say(r#"31[1,"x"]"#);
    assert!(matches!(one.await, Err(AckError::Invalid(_))));
    assert_eq!(both.await.expect("an answer"), (1, "x".into()));
}

#[tokio::test(start_paused = true)]
async fn answers_of_one_client_that_are_awaited_are_bounded() {
    let world = World::new();
    world.io.of("/").expect("a name");
    let mut client = world.client().joined().await;
    let socket = client.socket();
    let awaited: Vec<_> = (0..4).map(|_| socket.emit_with_ack::<u8>("q", &())).collect();
    assert!(matches!(socket.emit_with_ack::<u8>("q", &()).await, Err(AckError::TooMany { limit: 4 })));
    drop(awaited);
    assert_eq!(client.heard().await.len(), 4);
    let answer = socket.emit_with_ack::<u8>("q", &());
    client.say("35[9]");
    assert_eq!(answer.await.expect("an answer"), 9);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_answered_once() {
    let world = World::new();
    let root = world.io.of("/").expect("a name");
    root.on("q", async |_, (), ack| ack.send("first"));
    root.on("q", async |_, (), ack| ack.send("second"));
    root.on("quiet", async |_, (), ack| assert!(ack.is_expected()));
    root.on("unspeakable", async |_, (), ack| ack.send(&HashMap::from([(vec![1], 1)])));
    let mut client = world.client().joined().await;
    client.say(r#"21["q"]"#);
    client.say(r#"2["q"]"#);
    client.say(r#"22["quiet"]"#);
    client.say(r#"23["unspeakable"]"#);
    assert_eq!(
        client.heard().await,
        [r#"31["first"]"#, r#"33[{"message":"the answer could not be encoded","status":"error"}]"#]
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_to_many_is_one_packet_whose_number_all_answer() {
    let world = World::new();
    world.io.of("/").expect("a name");
    let (mut a, mut b) = (world.client().joined().await, world.client().joined().await);
    let answers = world.io.emit_with_ack::<String>("who?", &());
    assert_eq!(a.heard().await, [r#"20["who?"]"#]);
    assert_eq!(b.heard().await, [r#"20["who?"]"#]);
    b.say(r#"30["b"]"#);
    b.say(r#"30["twice"]"#);
    a.say(r#"30["a"]"#);
    let answers: Answers<String> = answers.await.expect("an event");
    assert!(answers.is_complete());
    assert_eq!(answers.received[0].0.as_str(), b.id());
    assert_eq!(answers.into_values(), ["b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_there_in_time_is_given_with_who_is_missing() {
    let world = World::new();
    world.io.of("/").expect("a name");
    let mut clients = Vec::new();
    for _ in 0..4 {
        let client = world.client().joined().await;
        clients.push(client);
    }
    let answers = world.io.timeout(Duration::from_secs(1)).emit_with_ack::<u8>("n", &());
    clients[0].say("30[7]");
    clients[1].say("1");
    clients[2].say(r#"30["seven"]"#);
    let answers = answers.await.expect("an event");
    assert_eq!(answers.received.len(), 1);
    assert_eq!(answers.invalid.len(), 1);
    let mut missing: Vec<String> = answers.missing.iter().map(ToString::to_string).collect();
    missing.sort();
    let mut expected = vec![clients[1].id(), clients[3].id()];
    expected.sort();
    assert_eq!(missing, expected);
}

#[tokio::test(start_paused = true)]
async fn nobody_to_answer_is_an_answer() {
    let world = World::new();
    world.io.of("/").expect("a name");
    let answers = world.io.to("nobody").emit_with_ack::<u8>("n", &()).await.expect("an event");
    assert!(answers.is_complete() && answers.received.is_empty());
}

#[tokio::test(start_paused = true)]
async fn when_all_others_have_gone_there_is_nothing_to_wait_for() {
    let world = World::new();
    world.io.of("/").expect("a name");
    let mut client = world.client().joined().await;
    let begun = tokio::time::Instant::now();
    let answers = world.io.timeout(Duration::from_secs(60)).emit_with_ack::<u8>("n", &());
    client.end(Reason::TransportClose);
    assert_eq!(answers.await.expect("an event").missing.len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(1));
}
