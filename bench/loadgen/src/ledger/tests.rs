use super::*;
use crate::connection::Role;

fn reader(id: usize, room: usize) -> Connection {
    Connection::new(id, Role::Subscriber, id, room, 0, None)
}

fn text(payload: &[u8]) -> Vec<u8> {
    [&[0x81, payload.len() as u8], payload].concat()
}

fn deliver(ledger: &mut Ledger, on: &mut Connection, payload: &[u8], at: Nanos) {
    let bytes = text(payload);
    let (frame, _) = Frame::split(&bytes).expect("a whole frame");
    ledger.frame(on, &frame, at);
}

#[test]
fn a_message_is_done_when_its_last_reader_has_it() {
    let mut ledger = Ledger::new(1);
    let mut readers = [reader(0, 0), reader(1, 0)];
    readers.iter().for_each(|reader| ledger.expect_reader(reader.room));
    ledger.publish(100);
    deliver(&mut ledger, &mut readers[0], b"{\"x\":\"~S00000000\"}", 150);
    assert_eq!((ledger.done, ledger.counts.deliveries), (0, 1));
    deliver(&mut ledger, &mut readers[1], b"~S00000000", 180);
    assert_eq!((ledger.done, ledger.counts.deliveries, ledger.latency.quantile(1.0)), (1, 2, 80));
}

#[test]
fn what_is_missing_is_counted_and_a_late_delivery_does_not_complete_it_again() {
    let mut ledger = Ledger::new(1);
    let mut readers = [reader(0, 0), reader(1, 0)];
    readers.iter().for_each(|reader| ledger.expect_reader(reader.room));
    ledger.publish(0);
    deliver(&mut ledger, &mut readers[0], b"~S00000000", 1);
    assert_eq!(ledger.write_off(0), 1);
    assert_eq!((ledger.done, ledger.write_off(0)), (1, 0));
    deliver(&mut ledger, &mut readers[1], b"~S00000000", 2);
    assert_eq!(ledger.done, 1);
}

#[test]
fn reordering_is_seen_and_rooms_are_numbered_apart() {
    let mut ledger = Ledger::new(2);
    let mut odd = reader(1, 1);
    ledger.expect_reader(1);
    (0..6).for_each(|at| ledger.publish(at));
    deliver(&mut ledger, &mut odd, b"~S00000001", 9);
    deliver(&mut ledger, &mut odd, b"~S00000003", 9);
    assert_eq!(ledger.gaps, 0);
    deliver(&mut ledger, &mut odd, b"~S00000001", 9);
    assert_eq!(ledger.gaps, 1);
}

#[test]
fn frames_without_a_message_are_not_deliveries() {
    let mut ledger = Ledger::new(1);
    let mut on = reader(0, 0);
    ledger.publish(0);
    deliver(&mut ledger, &mut on, b"{\"type\":\"position\"}", 1);
    deliver(&mut ledger, &mut on, b"~S00000009", 1);
    assert_eq!((ledger.other, ledger.counts.deliveries), (2, 0));
}

#[test]
fn compressed_frames_are_numbered_by_their_order() {
    let mut ledger = Ledger::new(1);
    let mut on = reader(0, 0);
    ledger.expect_reader(0);
    (0..2).for_each(|at| ledger.publish(at));
    let bytes = [0xc1, 2, 7, 7];
    let (frame, _) = Frame::split(&bytes).expect("a whole frame");
    ledger.frame(&mut on, &frame, 5);
    ledger.frame(&mut on, &frame, 5);
    assert_eq!((ledger.done, ledger.gaps, ledger.counts.deflated), (2, 0, 2));
}
