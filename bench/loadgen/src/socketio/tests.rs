use super::*;

#[test]
fn the_session_is_taken_from_the_handshake() {
    let open = br#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000}"#;
    assert_eq!(Packet::of(open), Packet::Open { sid: "lv_VI97HAXpY6yYWAAAC" });
    assert_eq!(Packet::of(b"0{}"), Packet::Other);
}

#[test]
fn packets_are_told_apart() {
    assert_eq!(Packet::of(br#"40{"sid":"wZX3oN0bSVIhsaknAAAI"}"#), Packet::Connected);
    assert_eq!(Packet::of(br#"42["message","2"]"#), Packet::Message);
    assert_eq!(Packet::of(b"430[]"), Packet::Message);
    assert_eq!(Packet::of(b"2"), Packet::Ping);
    assert_eq!(Packet::of(b"6"), Packet::Noop);
    for end in [&b"1"[..], b"41", br#"44{"message":"Invalid namespace"}"#, b"2probe", b""] {
        assert_eq!(Packet::of(end), Packet::Other, "{}", String::from_utf8_lossy(end));
    }
}

#[test]
fn a_body_is_taken_apart_as_it_was_put_together() {
    let mut body = Vec::new();
    append(&mut body, b"3");
    append(&mut body, br#"420["join","live:r0000"]"#);
    assert_eq!(body, b"3\x1e420[\"join\",\"live:r0000\"]");
    assert_eq!(packets(&body).collect::<Vec<_>>(), [&b"3"[..], br#"420["join","live:r0000"]"#]);
    assert_eq!(packets(b"").count(), 0);
}
