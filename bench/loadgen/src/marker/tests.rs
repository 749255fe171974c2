use super::*;
use crate::template::{Template, Values};

#[test]
fn a_marker_is_found_behind_lookalikes() {
    assert_eq!(find(b"~ ~S0000x ~S00000042..."), Some((10, 42)));
    assert_eq!(find(b"~S0000004"), None);
    assert_eq!(find(b""), None);
}

#[test]
fn a_scan_counts_all_and_keeps_an_unfinished_tail() {
    let mut numbers = Vec::new();
    let bytes = b"data: ~S00000001x\n\ndata: ~S00000002\n\ndata: ~S000";
    let rest = scan(bytes, |number| numbers.push(number));
    assert_eq!(numbers, [1, 2]);
    assert_eq!(&bytes[rest..], b"~S000");
}

#[test]
fn a_payload_has_the_size_that_was_asked_for() {
    for (kind, size) in [(Payload::Text, 128), (Payload::Json, 2048)] {
        let text = Template::parse("{payload}", &payload(kind, size)).text(Values { seq: 7, ..Values::default() });
        assert_eq!(text.len(), size, "{kind:?}");
        assert_eq!(find(text.as_bytes()).map(|(_, number)| number), Some(7));
    }
}
