use super::*;

#[test]
fn rooms_without_a_known_class_are_kept_as_long_as_live_says() {
    let (month, day) = (Duration::from_secs(30 * 24 * 3600), Duration::from_secs(24 * 3600));
    let mut classes = Classes::default();
    let inbox = (Retained::Class("inbox".into()), month);
    assert_eq!(classes.retained(), std::slice::from_ref(&inbox), "nothing else is stored for a time");
    classes.set("live", Class { keep: Keep::Store(Some(day)) });
    let known = ["chat", "doc", "emits", "feed", "inbox", "live", "signal", "sio", "sys", "user"].map(Arc::from);
    let others = (Retained::Others(known.into()), day);
    assert_eq!(classes.retained(), [inbox, (Retained::Class("live".into()), day), others]);
}

#[test]
fn the_widest_window_holds_every_memory_room() {
    let window = |events, age, bytes| Window { events, age: Duration::from_secs(age), bytes };
    let mut classes = Classes::default();
    let Keep::Memory(emits) = classes.of(&RoomName::parse("emits:/").expect("a name")).keep else {
        panic!("in memory")
    };
    assert_eq!(classes.widest(), Window { events: emits.events, ..Window::default() });
    classes.set("emits", Class { keep: Keep::None });
    classes.set("live", Class { keep: Keep::Memory(window(5, 60, 100)) });
    classes.set("game", Class { keep: Keep::Memory(window(50, 6, 10)) });
    assert_eq!(classes.widest(), window(50, 60, 100), "stored rooms have no window");
}
