//! Whatever order messages arrive in, they pass in the order of their numbers.

use std::sync::Arc;

use denrei_hub::order::{Order, Verdict};
use denrei_hub::{Epoch, Message, Position, Seq};
use proptest::prelude::*;

use crate::harness::draft;

#[derive(Clone, Debug)]
enum Arrival {
    /// From an append or the bus.
    Message(u64),
    /// So many messages after the place, read from the log.
    Fill(usize),
}

proptest! {
    #[test]
    fn each_number_passes_once_and_in_order(start in 0_u64..5, arrivals in arrivals(60)) {
        let mut node = Node::at(start);
        for arrival in arrivals {
            match arrival {
                Arrival::Message(seq) => node.arrive(seq),
                Arrival::Fill(many) => node.fill(many, 60),
            }
        }
        node.fill(60, 60);
        prop_assert_eq!(node.passed, (start + 1..=60).collect::<Vec<_>>());
        prop_assert!(!node.order.is_waiting(), "nothing is held once all has passed");
    }

    #[test]
    fn a_permutation_without_losses_needs_no_log(arrivals in Just((1_u64..=40).collect::<Vec<_>>()).prop_shuffle()) {
        let mut node = Node::at(0);
        for seq in arrivals {
            node.arrive(seq);
        }
        prop_assert_eq!(node.passed, (1..=40).collect::<Vec<_>>());
    }

    #[test]
    fn what_comes_before_the_place_is_known_passes_after_it(
        arrivals in Just((1_u64..=40).collect::<Vec<_>>()).prop_shuffle(),
        place in 0_u64..=40,
    ) {
        let mut node = Node { order: Order::default(), passed: Vec::new() };
        for seq in arrivals {
            node.arrive(seq);
        }
        prop_assert!(node.passed.is_empty(), "nothing passes while the place is unknown");
        node.order.jump(position("a", place));
        node.release();
        prop_assert_eq!(node.passed, (place + 1..=40).collect::<Vec<_>>());
    }
}

fn arrivals(up_to: u64) -> impl Strategy<Value = Vec<Arrival>> {
    let arrival = prop_oneof![
        9 => (1..=up_to).prop_map(Arrival::Message),
        1 => (1_usize..10).prop_map(Arrival::Fill),
    ];
    // Random numbers with repetition: some come twice, some never.
    proptest::collection::vec(arrival, 0..120)
}

#[test]
fn past_the_bound_the_latest_are_dropped_and_said_to_be() {
    let mut order = Order::default();
    order.jump(position("a", 0));
    let many = Order::HELD as u64;
    for seq in 2..2 + many {
        assert_eq!(order.accept(&message("a", seq)), Verdict::Held);
    }
    assert_eq!(order.accept(&message("a", 2 + many)), Verdict::Dropped, "the newest has no place");
    assert_eq!(order.accept(&message("a", 1)), Verdict::Deliver);
    let released = std::iter::from_fn(|| order.release()).map(|message| message.seq.0).collect::<Vec<_>>();
    assert_eq!(released, (2..2 + many).collect::<Vec<_>>());
}

#[test]
fn an_earlier_message_takes_the_place_of_the_latest_held() {
    let mut order = Order::default();
    order.jump(position("a", 0));
    let many = Order::HELD as u64;
    for seq in 3..3 + many {
        order.accept(&message("a", seq));
    }
    assert_eq!(order.accept(&message("a", 2)), Verdict::Dropped, "something was dropped, though not this one");
    assert_eq!(order.accept(&message("a", 1)), Verdict::Deliver);
    let released = std::iter::from_fn(|| order.release()).map(|message| message.seq.0).collect::<Vec<_>>();
    assert_eq!(released, (2..2 + many).collect::<Vec<_>>());
}

#[test]
fn a_message_of_another_life_of_the_log_does_not_pass() {
    let mut order = Order::default();
    order.jump(position("a", 4));
    assert_eq!(order.accept(&message("b", 5)), Verdict::Stranger);
    assert_eq!(order.accept(&message("b", 1)), Verdict::Stranger);
    assert_eq!(order.accept(&message("a", 5)), Verdict::Deliver);
}

#[test]
fn a_jump_to_another_life_forgets_what_was_held() {
    let mut order = Order::default();
    order.jump(position("a", 4));
    assert_eq!(order.accept(&message("a", 6)), Verdict::Held);
    order.jump(position("b", 5));
    assert!(order.release().is_none(), "number 6 of the old life does not follow on number 5 of the new one");
    assert!(!order.is_waiting());
}

#[test]
fn a_jump_ahead_keeps_what_lies_beyond() {
    let mut order = Order::default();
    order.jump(position("a", 4));
    for seq in [6, 8, 9, 11] {
        assert_eq!(order.accept(&message("a", seq)), Verdict::Held);
    }
    order.jump(position("a", 7));
    let released = std::iter::from_fn(|| order.release()).map(|message| message.seq.0).collect::<Vec<_>>();
    assert_eq!(released, [8, 9]);
    assert!(order.is_waiting(), "number 11 waits for number 10");
}

/// An order and what it let pass.
struct Node {
    order: Order,
    passed: Vec<u64>,
}

impl Node {
    fn at(start: u64) -> Self {
        let mut order = Order::default();
        order.jump(position("a", start));
        Self { order, passed: Vec::new() }
    }

    fn arrive(&mut self, seq: u64) {
        if self.order.accept(&message("a", seq)) == Verdict::Deliver {
            self.passed.push(seq);
            self.release();
        }
    }

    fn release(&mut self) {
        self.passed.extend(std::iter::from_fn(|| self.order.release()).map(|message| message.seq.0));
    }

    fn fill(&mut self, many: usize, head: u64) {
        let place = self.order.place().expect("a place").seq.0;
        for seq in (place + 1..=head).take(many) {
            self.arrive(seq);
        }
    }
}

fn message(epoch: &str, seq: u64) -> Arc<Message> {
    Arc::new(draft("feed:a", "null").assigned(position(epoch, seq)))
}

fn position(epoch: &str, seq: u64) -> Position {
    Position { epoch: Epoch::parse(epoch).expect("an epoch"), seq: Seq(seq) }
}
