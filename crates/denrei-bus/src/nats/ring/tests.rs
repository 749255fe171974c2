use std::time::Duration;

use super::*;

const LIFE: u64 = 1;

/// A ring that took in one message of the stream for each number of events.
fn ring(window: Window, messages: &[u64]) -> Ring {
    let mut ring = Ring::new(window);
    let mut first = 1;
    for (sequence, &count) in (10_u64..).step_by(10).zip(messages) {
        take(&mut ring, sequence, "e", first, count);
        first += count;
    }
    ring
}

fn take(ring: &mut Ring, sequence: u64, epoch: &str, first: u64, count: u64) {
    let epoch = Epoch::parse(epoch).expect("an epoch");
    let header = Header { token: sequence, at: sequence, epoch, first, count };
    let key = |number| Some((None, name(number)));
    ring.take_in(LIFE, sequence, &header, (first..first + count).map(|number| (1000, key(number))));
}

fn name(number: u64) -> Name {
    Name::parse(&format!("id-{number}")).expect("a name")
}

fn window() -> Window {
    Window { events: 1000, age: Duration::from_millis(1000), bytes: 1 << 30 }
}

fn parts(ring: &Ring, extent: Extent) -> Vec<(u64, u64, usize)> {
    ring.outline(LIFE, extent).expect("it is known").parts
}

#[test]
fn a_page_is_made_of_parts_of_messages() {
    let ring = ring(window(), &[0, 3, 1, 0, 4, 0]);
    assert_eq!(parts(&ring, Extent::After(Seq(0), 100)), [(20, 1, 3), (30, 4, 1), (50, 5, 4)]);
    assert_eq!(parts(&ring, Extent::After(Seq(2), 3)), [(20, 3, 1), (30, 4, 1), (50, 5, 1)]);
    assert_eq!(parts(&ring, Extent::Newest(2)), [(50, 7, 2)]);
    assert_eq!(parts(&ring, Extent::Newest(5)), [(30, 4, 1), (50, 5, 4)]);
    assert_eq!(parts(&ring, Extent::Newest(0)), []);
    assert_eq!(parts(&ring, Extent::After(Seq::LAST, 1)), []);
    assert_eq!(parts(&ring, Extent::After(Seq(u64::MAX), usize::MAX)), []);
    assert_eq!((ring.whereabouts(3), ring.whereabouts(5), ring.whereabouts(9)), (Some(20), Some(50), None));
}

#[test]
fn what_is_past_the_window_is_let_go() {
    let few = ring(Window { events: 3, ..window() }, &[2, 3, 1]);
    assert_eq!(parts(&few, Extent::After(Seq(0), 100)), [(20, 4, 2), (30, 6, 1)]);
    assert_eq!(few.first(6), 4);
    let light = ring(Window { bytes: 2500, ..window() }, &[2, 3, 1]);
    assert_eq!(parts(&light, Extent::After(Seq(0), 100)), [(20, 5, 1), (30, 6, 1)]);
    let one = ring(Window { bytes: 1, ..window() }, &[5]);
    assert_eq!(parts(&one, Extent::After(Seq(0), 100)), [(10, 5, 1)], "the newest is kept, however heavy");
    let mut old = ring(window(), &[2, 3, 1]);
    old.expire(1021);
    assert_eq!(parts(&old, Extent::After(Seq(0), 100)), [(30, 6, 1)]);
    old.expire(5000);
    let outline = old.outline(LIFE, Extent::Newest(9)).expect("it is known");
    assert_eq!((outline.parts, outline.page.head, outline.page.first), (vec![], Seq(6), Seq(7)));
    take(&mut old, 40, "e", 7, 1);
    assert_eq!(parts(&old, Extent::Newest(9)), [(40, 7, 1)], "and it goes on");
}

#[test]
fn an_id_is_free_when_its_message_was_let_go() {
    let mut ring = ring(Window { events: 3, ..window() }, &[2, 3]);
    let key = |number| (None, name(number));
    assert!((1..=2).all(|number| !ring.ids.contains_key(&key(number))));
    assert!((3..=5).all(|number| ring.ids.get(&key(number)) == Some(&number)));
    ring.gone(20);
    assert!(ring.ids.is_empty() && ring.events == 0 && ring.bytes == 0);
}

#[test]
fn what_does_not_follow_begins_anew() {
    let mut ring = ring(window(), &[2, 3]);
    take(&mut ring, 20, "e", 3, 3);
    assert_eq!(parts(&ring, Extent::Newest(9)), [(10, 1, 2), (20, 3, 3)], "known already");
    take(&mut ring, 40, "e", 8, 1);
    assert_eq!(parts(&ring, Extent::Newest(9)), [(40, 8, 1)], "some are gone");
    take(&mut ring, 50, "f", 1, 1);
    assert_eq!(parts(&ring, Extent::Newest(9)), [(50, 1, 1)], "another epoch");
    assert_eq!(ring.place(LIFE).map(|place| place.head), Some(1));
    assert!(ring.outline(LIFE + 1, Extent::Newest(9)).is_none(), "another life of the stream");
    assert_eq!(ring.resume(LIFE, 60), 51);
    assert_eq!(ring.resume(LIFE, 40), 1, "numbers of the stream went back");
    assert!(ring.place(LIFE).is_none());
}
