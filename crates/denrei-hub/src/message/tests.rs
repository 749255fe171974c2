use super::*;

#[test]
fn a_message_holds_no_more_than_it_weighs_however_it_is_read() {
    let name = |text| Name::parse(text).unwrap();
    for length in [1, 10_000] {
        let message = Message::direct(Draft {
            room: name("r"),
            event: name("e"),
            payload: vec![b'1'; length].into(),
            from: None,
            user: None,
            id: None,
            origin: 0,
            timestamp: 0,
        });
        let encode =
            |extra| -> Encode { Box::new(move |message, _| [&*message.payload, &vec![b' '; extra]].concat().into()) };
        let encoders = Encoders::new((0..7).map(|wire| encode(100 + wire)).collect());
        for _ in 0..2 {
            for wire in 0..7 {
                let frame = message.frame(Wire(wire), Dialect::default(), &encoders);
                assert_eq!(frame.len(), length + 100 + usize::from(wire));
            }
        }
        let kept: usize = message.frames.0.lock().unwrap().iter().map(|(.., frame)| frame.len()).sum();
        assert!(kept > length && length + kept <= message.weight(), "{kept} bytes of frames of {length} bytes");
    }
}
