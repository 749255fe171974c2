use super::*;

#[test]
fn rooms_without_a_known_class_are_kept_as_long_as_live_says() {
    let (month, day) = (Duration::from_secs(30 * 24 * 3600), Duration::from_secs(24 * 3600));
    let mut classes = Classes::default();
    let inbox = (Retained::Class("inbox".into()), month);
    assert_eq!(classes.retained(), std::slice::from_ref(&inbox), "nothing else is stored for a time");
    classes.set("live", Class { keep: Keep::Store(Some(day)) });
    let known = ["chat", "doc", "feed", "inbox", "live", "signal", "sio", "sys", "user"].map(Arc::from);
    let others = (Retained::Others(known.into()), day);
    assert_eq!(classes.retained(), [inbox, (Retained::Class("live".into()), day), others]);
}
