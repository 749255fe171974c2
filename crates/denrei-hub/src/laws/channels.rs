//! The laws of channels.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{runtime, within};
use crate::{Channel, Channels, Heard, Listen, Listening, random_token};

/// Checks all laws, on two nodes' ends of one broker, which `make` makes inside a tokio runtime (current thread, time and
/// IO enabled). `marks` are characters that a channel's name may have.
///
/// # Panics
/// At the first broken law, with its number.
pub fn channel_laws(marks: &str, make: impl Fn() -> [Arc<dyn Channels>; 2]) {
    let runtime = runtime();
    let [one, other] = {
        let _runtime = runtime.enter();
        make()
    };
    runtime.block_on(async {
        what_one_publishes_is_heard_in_order(&*one, &*other).await;
        names_mean_nothing(&*one, &*other, marks).await;
        nodes_are_counted_once(&*one, &*other).await;
        a_loss_is_told(&*one, &*other).await;
    });
}

async fn what_one_publishes_is_heard_in_order(one: &dyn Channels, other: &dyn Channels) {
    for kind in [Channel::Plain, Channel::Sharded] {
        let channel = kind(named("order"));
        let mut listening = [listen(one, &channel).await, listen(other, &channel).await];
        let sent: Vec<_> = (0..100_u64).map(|number| one.publish(&channel, bytes(number))).collect();
        for sending in sent {
            within("law 1", sending).await.expect("an answer");
        }
        for listening in &mut listening {
            for number in 0..100 {
                let expected = Heard::Message(channel.clone(), bytes(number));
                assert_eq!(hear(listening, "law 1").await, expected, "law 1: the publisher hears itself, too");
            }
        }
    }
}

async fn names_mean_nothing(one: &dyn Channels, other: &dyn Channels, marks: &str) {
    let token = random_token(12);
    let names: Vec<Arc<str>> = marks.chars().map(|mark| format!("{token}{mark}a").into()).collect();
    for mark in marks.chars() {
        let channel = Channel::Plain(format!("{token}{mark}a").into());
        let mut exact = listen(one, &channel).await;
        let below = Listen::Below(format!("{token}{mark}").into());
        let mut below = within("law 1", one.subscribe(below)).await.expect("an answer");
        for name in &names {
            publish(other, &Channel::Plain(name.clone()), 1).await;
        }
        publish(other, &Channel::Sharded(channel.name().into()), 2).await;
        publish(other, &channel, 3).await;
        for listening in [&mut exact, &mut below] {
            for number in [1, 3] {
                let heard = hear(listening, "law 1").await;
                assert_eq!(heard, Heard::Message(channel.clone(), bytes(number)), "law 2: {mark:?}");
            }
        }
    }
}

async fn nodes_are_counted_once(one: &dyn Channels, other: &dyn Channels) {
    for kind in [Channel::Plain, Channel::Sharded] {
        let channel = kind(named("count"));
        assert_eq!(count(one, &channel).await, 0, "law 3: nobody listens");
        let first = listen(one, &channel).await;
        let _second = listen(one, &channel).await;
        let mut far = listen(other, &channel).await;
        settle(one, &channel, 2).await;
        drop(first);
        publish(one, &channel, 7).await;
        assert_eq!(hear(&mut far, "law 4").await, Heard::Message(channel.clone(), bytes(7)));
        assert_eq!(count(other, &channel).await, 2, "law 4: one of its two has gone");
        drop(far);
        settle(one, &channel, 1).await;
    }
}

/// In one process both nodes may be one.
async fn settle(node: &dyn Channels, channel: &Channel, expected: u64) {
    for _ in 0..100 {
        if count(node, channel).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("law 4: {} of {expected} nodes are counted", count(node, channel).await);
}

async fn a_loss_is_told(one: &dyn Channels, other: &dyn Channels) {
    const MANY: u64 = 3 * Listening::QUEUE as u64;
    let channel = Channel::Plain(named("loss"));
    let mut listening = listen(one, &channel).await;
    for number in 0..MANY {
        publish(other, &channel, number).await;
    }
    let (mut heard, mut lost) = (Vec::new(), false);
    while heard.last().is_none_or(|last| *last < MANY) {
        publish(other, &channel, MANY).await;
        match hear(&mut listening, "law 1").await {
            Heard::Lost => lost = true,
            Heard::Message(_, bytes) => heard.push(u64::from_le_bytes(bytes[..].try_into().expect("8 bytes"))),
        }
    }
    heard.retain(|number| *number < MANY);
    assert!(heard.is_sorted_by(|a, b| a < b), "law 1 under load");
    assert!(lost || heard.len() as u64 == MANY, "law 1: only {} of {MANY} arrived, and no word of it", heard.len());
}

async fn listen(node: &dyn Channels, channel: &Channel) -> Listening {
    within("law 1", node.subscribe(Listen::To(channel.clone()))).await.expect("an answer")
}

async fn publish(node: &dyn Channels, channel: &Channel, number: u64) {
    within("law 1", node.publish(channel, bytes(number))).await.expect("an answer");
}

async fn count(node: &dyn Channels, channel: &Channel) -> u64 {
    within("law 3", node.count(channel)).await.expect("an answer")
}

async fn hear(listening: &mut Listening, law: &str) -> Heard {
    within(law, listening.next()).await.expect("it goes on")
}

fn bytes(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn named(text: &str) -> Arc<str> {
    format!("{text}#{}", random_token(12)).into()
}
