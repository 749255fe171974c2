use super::*;
use crate::connection::State;

#[test]
fn answers_may_come_in_any_order_but_only_once_and_only_with_their_message() {
    let mut echoes = Echoes::new(Template::parse("42{id}[\"{payload}\"]", "~S{seq}"), 1, 2);
    let mut on = Connection::new(0, Role::Subscriber, 0, 0, 0, None);
    on.state = State::Ready;
    assert!(echoes.answer(&on).is_some());
    assert!(echoes.answer(&on).is_none());
    for payload in ["432[\"~S00000002\"]", "432[\"~S00000002\"]", "431[{\"code\":\"unknown\"}]", "431[\"~S00000001\"]"]
    {
        let bytes = [&[0x81, payload.len() as u8], payload.as_bytes()].concat();
        let (frame, _) = Frame::split(&bytes).expect("a whole frame");
        echoes.frame(&mut on, &frame, 0);
    }
    assert_eq!((echoes.count, echoes.other, echoes.lanes[0].owed), (2, 2, 2));
}
