use std::collections::BTreeMap;

use denrei_hub::{Name, Outcome, Position, Record, Step};

use super::super::Line;
use super::{Part, merge};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn line(node: &str, number: u64, time: u64, step: Step, place: &str) -> Line {
    let place: Position = place.parse().unwrap();
    let record = Record::new(step, Outcome::Next).room(&name("live:x")).place(&place);
    Line::of(&name(node), &Record { number, time, ..record })
}

fn part(lines: Vec<Line>, more: bool) -> Part {
    Part { lines, dropped: 0, more }
}

#[test]
fn nothing_of_a_message_comes_before_its_number_however_clocks_differ() {
    let a = vec![line("a", 1, 5000, Step::Number, "e:1"), line("a", 2, 5001, Step::Number, "e:2")];
    // Four seconds behind.
    let b = vec![line("b", 1, 1000, Step::Deliver, "e:1"), line("b", 2, 1001, Step::Deliver, "e:2")];
    let merged = merge(vec![(name("b"), part(b, false)), (name("a"), part(a, false))], BTreeMap::new(), 10);
    let order: Vec<_> = merged.lines.iter().map(|line| (line.node.as_str(), line.number)).collect();
    assert_eq!(order, [("a", 1), ("b", 1), ("a", 2), ("b", 2)]);
    assert!(!merged.more);
}

#[test]
fn a_node_whose_page_has_ended_but_not_its_records_ends_the_account_for_now() {
    let a = vec![line("a", 1, 1, Step::Order, "e:1"), line("a", 2, 2, Step::Order, "e:2")];
    let b = vec![line("b", 7, 3, Step::Order, "e:1"), line("b", 8, 9, Step::Order, "e:2")];
    let merged = merge(vec![(name("a"), part(a, true)), (name("b"), part(b, false))], BTreeMap::new(), 10);
    assert_eq!(merged.lines.len(), 2, "what a has behind these may be earlier than what b has");
    assert_eq!(merged.after, BTreeMap::from([(name("a"), 2)]));
    assert!(merged.more);
}
