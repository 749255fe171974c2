//! The laws of buses.

use std::sync::Arc;

use bytes::Bytes;

use super::{runtime, within};
use crate::{Bus, Inbound, Name, Subject, random_token};

/// Checks all laws, each on so many nodes of one bus, which `make` makes inside a tokio runtime (current thread, time
/// and IO enabled).
///
/// # Panics
/// At the first broken law, with its number.
pub fn bus_laws(make: impl Fn(usize) -> Vec<Arc<dyn Bus>>) {
    on_nodes(&make, one_publisher_is_heard_in_order);
    on_nodes(&make, a_node_does_not_hear_itself);
    on_nodes(&make, the_last_call_for_a_subject_counts);
    on_nodes(&make, subjects_are_apart);
    on_nodes(&make, a_loss_is_told);
}

fn on_nodes(make: &impl Fn(usize) -> Vec<Arc<dyn Bus>>, law: impl AsyncFnOnce(&[Arc<dyn Bus>])) {
    let runtime = runtime();
    let nodes = {
        let _runtime = runtime.enter();
        make(3)
    };
    runtime.block_on(law(&nodes));
}

async fn one_publisher_is_heard_in_order(nodes: &[Arc<dyn Bus>]) {
    let subject = subject();
    for listener in &nodes[1..] {
        subscribe(listener, &subject).await;
    }
    for number in 0..500 {
        nodes[0].publish(&subject, bytes(number));
    }
    for listener in &nodes[1..] {
        let (heard, lost) = hear_up_to(&nodes[0], listener, &subject, 500).await;
        assert!(heard.is_sorted_by(|a, b| a < b), "law 1: {heard:?}");
        assert!(lost || heard.len() == 500, "law 4: only {} of 500 arrived", heard.len());
    }
}

async fn a_node_does_not_hear_itself(nodes: &[Arc<dyn Bus>]) {
    let subject = subject();
    subscribe(&nodes[0], &subject).await;
    subscribe(&nodes[1], &subject).await;
    nodes[0].publish(&subject, bytes(1));
    // Once the other has heard it, the bus has had it.
    assert_eq!(hear(&nodes[1], "law 3").await, Inbound::Message(subject.clone(), bytes(1)), "law 3");
    nodes[1].publish(&subject, bytes(2));
    assert_eq!(hear(&nodes[0], "law 2").await, Inbound::Message(subject, bytes(2)), "law 2");
}

async fn the_last_call_for_a_subject_counts(nodes: &[Arc<dyn Bus>]) {
    let (left, joined, other) = (subject(), subject(), subject());
    let begun = nodes[0].subscribe(&left);
    nodes[0].unsubscribe(&left);
    within("law 3", begun).await.expect("the bus answers");
    let first = nodes[0].subscribe(&joined);
    nodes[0].unsubscribe(&joined);
    let second = nodes[0].subscribe(&joined);
    within("law 3", async { (first.await, second.await) }).await.1.expect("the bus answers");
    subscribe(&nodes[0], &other).await;
    for subject in [&left, &joined, &other] {
        nodes[1].publish(subject, bytes(1));
    }
    let mut heard = Vec::new();
    while heard.len() < 2 {
        match hear(&nodes[0], "law 3").await {
            Inbound::Message(subject, _) => heard.push(subject),
            Inbound::Lost => {}
        }
    }
    assert!(heard.contains(&joined) && heard.contains(&other), "law 3: {heard:?}");
}

async fn subjects_are_apart(nodes: &[Arc<dyn Bus>]) {
    // Characters that mean something in one bus or another.
    let token = random_token(12);
    let rooms = ["a.b", "a.*", "a.>", "a b", "a*", "a%2Eb", "A.B", "ä:b"];
    let subjects: Vec<_> = rooms.iter().map(|room| named(&format!("{room}{token}"))).collect();
    let nodes_of_the_name = rooms.iter().map(|room| match named(&format!("{room}{token}")) {
        Subject::Room(name) => Subject::Node(name),
        other => other,
    });
    let subjects: Vec<_> = subjects.into_iter().chain(nodes_of_the_name).collect();
    for (listens, hears) in subjects.iter().enumerate() {
        subscribe(&nodes[0], hears).await;
        for (number, subject) in subjects.iter().enumerate() {
            nodes[1].publish(subject, bytes(number as u64));
        }
        let expected = Inbound::Message(hears.clone(), bytes(listens as u64));
        assert_eq!(hear(&nodes[0], "law 3").await, expected, "one subject is not another");
        nodes[0].unsubscribe(hears);
    }
}

async fn a_loss_is_told(nodes: &[Arc<dyn Bus>]) {
    const MANY: u64 = 50_000;
    let subject = subject();
    subscribe(&nodes[0], &subject).await;
    for number in 0..MANY {
        nodes[1].publish(&subject, bytes(number));
    }
    let (heard, lost) = hear_up_to(&nodes[1], &nodes[0], &subject, MANY).await;
    assert!(heard.is_sorted_by(|a, b| a < b), "law 1 under load");
    assert!(lost || heard.len() as u64 == MANY, "law 4: only {} of {MANY} arrived, and no word of it", heard.len());
}

/// What a node hears of the numbers below `end`, and whether it was told of a loss: `end` is published until it comes
/// through.
async fn hear_up_to(speaker: &Arc<dyn Bus>, listener: &Arc<dyn Bus>, subject: &Subject, end: u64) -> (Vec<u64>, bool) {
    let (mut heard, mut lost) = (Vec::new(), false);
    loop {
        speaker.publish(subject, bytes(end));
        match hear(listener, "law 4").await {
            Inbound::Lost => lost = true,
            Inbound::Message(of, bytes) => {
                assert_eq!(of, *subject);
                let number = u64::from_le_bytes(bytes[..].try_into().expect("8 bytes, as published"));
                if number >= end {
                    return (heard, lost);
                }
                heard.push(number);
            }
        }
    }
}

async fn subscribe(node: &Arc<dyn Bus>, subject: &Subject) {
    within("law 3", node.subscribe(subject)).await.expect("the bus can be reached");
}

async fn hear(node: &Arc<dyn Bus>, law: &str) -> Inbound {
    within(law, node.receive()).await
}

fn bytes(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn subject() -> Subject {
    named(&format!("law-{}", random_token(12)))
}

fn named(room: &str) -> Subject {
    Subject::Room(Name::parse(room).expect("a name"))
}
