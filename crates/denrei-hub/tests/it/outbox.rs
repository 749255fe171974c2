//! What a connection's queue says of itself, and what it makes of bytes.

use denrei_hub::Outbox;

use crate::harness::{LINES, MARKED, Node};

fn outbox(node: &Node) -> std::sync::Arc<Outbox> {
    node.hub.outbox("a".into(), LINES, None, node.hub.shard())
}

/// Event streams of HTTP/2 were cut as stalled while their clients read all the time.
#[tokio::test]
async fn a_transport_that_takes_the_bytes_itself_is_seen_to_move() {
    let node = Node::alone(1);
    let outbox = outbox(&node);
    outbox.push("one".into());
    assert!(!outbox.has_moved(), "nothing was taken yet");
    outbox.take();
    outbox.push("two".into());
    assert!(outbox.has_moved() && outbox.is_blocked());
    assert!(!outbox.has_moved(), "nothing was taken since");
    outbox.take();
    outbox.has_moved();
    outbox.take();
    assert!(!outbox.has_moved(), "there was nothing to take");
}

#[tokio::test]
async fn what_was_encoded_before_an_upgrade_and_offered_after_it_is_rewritten() {
    let node = Node::alone(1);
    let outbox = outbox(&node);
    let wire = outbox.wire();
    outbox.upgrade(None, MARKED, |bytes| [b"new ", &*bytes].concat().into());
    assert!(outbox.offer(wire, &"one".into()) && outbox.offer(MARKED, &"two".into()));
    assert_eq!(outbox.take().make_contiguous().concat(), b"new onetwo");
}
