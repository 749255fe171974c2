use super::*;

#[test]
fn a_poll_without_a_place_leaves_its_parameter_out() {
    assert_eq!(without_cursor("/events?since={cursor}&wait=25"), "/events?wait=25");
    assert_eq!(without_cursor("/events?since={cursor}"), "/events");
    assert_eq!(without_cursor("/room?{room}"), "/room?{room}");
    assert_eq!(without_cursor("/ws"), "/ws");
}
