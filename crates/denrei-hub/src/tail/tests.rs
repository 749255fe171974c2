use super::*;
use crate::ids::{Name, Position};
use crate::message::Draft;

fn message(seq: u64) -> Arc<Message> {
    let name = |text| Name::parse(text).unwrap();
    let (room, event) = (name("r"), name("e"));
    let draft = Draft::new(room, event, "1".into(), 0);
    Arc::new(Message::stored(draft, Position { epoch: crate::Epoch::none(), seq: Seq(seq) }))
}

fn has(tail: &Tail, after: u64) -> Option<usize> {
    tail.after(Seq(after), 100).map(|messages| messages.len())
}

#[test]
fn a_tail_begins_anew_when_all_of_them_hold_as_much_as_they_may() {
    let weight = message(1).weight();
    let all = Arc::new(Tails::new(5 * weight));
    let [mut one, mut two] = [(); 2].map(|()| Tail::new(Arc::clone(&all)));
    (1..=3).for_each(|seq| one.push(&message(seq)));
    (1..=2).for_each(|seq| two.push(&message(seq)));
    assert_eq!((has(&one, 0), has(&two, 0)), (Some(3), Some(2)));
    two.push(&message(3));
    assert_eq!((has(&one, 0), has(&two, 0)), (Some(3), None));
    two.push(&message(4));
    assert_eq!((has(&two, 2), has(&two, 3)), (None, Some(1)));
    drop((one, two));
    assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_tail_in_which_nothing_happens_makes_place_for_others() {
    let all = Arc::new(Tails::new(3 * message(1).weight()));
    let mut tail = Tail::new(Arc::clone(&all));
    (1..=2).for_each(|seq| tail.push(&message(seq)));
    assert!(all.are_tight());
    tail.sweep();
    assert_eq!(has(&tail, 0), Some(2));
    tail.sweep();
    assert!(has(&tail, 0).is_none() && !all.are_tight());
}
