use super::*;

#[test]
fn a_message_holds_no_more_than_it_weighs_however_it_is_read() {
    let name = |text| Name::parse(text).unwrap();
    for length in [1, 10_000] {
        let message = Message::direct(Draft::new(name("r"), name("e"), vec![b'1'; length].into(), 0));
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

#[test]
fn a_message_that_nobody_follows_is_to_other_nodes_what_it_was() {
    let name = |text| Name::parse(text).unwrap();
    let mut draft = Draft::new(name("r"), name("e"), "1".into(), 7);
    let told = |draft: &Draft| rmp_serde::to_vec(&Message::direct(draft.clone())).unwrap();
    let plain = told(&draft);
    // Nine fields, as before there were trails.
    assert_eq!(plain[0], 0x99);
    let heard: Message = rmp_serde::from_slice(&plain).unwrap();
    assert!(heard.trail.is_none() && heard.timestamp == 7);
    let context = crate::span::SpanContext::root().child();
    draft.trail = Some(Trail::new(context));
    let heard: Message = rmp_serde::from_slice(&told(&draft)).unwrap();
    assert_eq!(heard.trail.map(|trail| trail.context), Some(context));
}
