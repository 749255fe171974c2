use super::*;

#[test]
fn a_poll_without_a_place_leaves_its_parameter_out() {
    assert_eq!(without_cursor("/events?since={cursor}&wait=25"), "/events?wait=25");
    assert_eq!(without_cursor("/events?since={cursor}"), "/events");
    assert_eq!(without_cursor("/room?{room}"), "/room?{room}");
    assert_eq!(without_cursor("/ws"), "/ws");
}

#[test]
fn a_session_of_socket_io_follows_in_the_query() {
    let path = Wire::SioPoll.usual_path();
    let door = Door::new(Wire::SioPoll, path, &[], 0, "");
    let mut connection = Connection::new(0, Role::Subscriber, 0, 0, 0, None);
    assert_eq!(door.path(&connection), path);
    connection.place = Place::Session("lv_VI97HAXpY6yYWAAAC".into());
    assert_eq!(door.path(&connection), "/socket.io/?EIO=4&transport=polling&sid=lv_VI97HAXpY6yYWAAAC");
}
