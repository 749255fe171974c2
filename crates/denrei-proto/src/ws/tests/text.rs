//! Autobahn group 6: UTF-8, and how early a breach of it is told.

use super::*;

#[test]
fn text_may_be_cut_anywhere_even_inside_a_code_point() {
    let sample = "Hello-µ@ßöäüàá-UTF-8!! κόσμε 𠜎 \u{10FFFF}\u{0}\u{FFFE}";
    for cut in 0..=sample.len() {
        let (head, tail) = sample.as_bytes().split_at(cut);
        accepted(&[from_client(TEXT_FIRST, head), from_client(LAST, tail)], &[text(sample)]);
    }
    let mut frames = vec![from_client(TEXT_FIRST, "")];
    frames.extend(sample.bytes().map(|byte| from_client(MORE, [byte])));
    frames.push(from_client(LAST, ""));
    accepted(&frames, &[text(sample)]);
}

/// Autobahn 6.3 and 6.6 to 6.20: sequences that are not text, and after how many bytes that is certain.
const WRONG: [(&[u8], usize); 22] = [
    (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", 13),
    (b"\x80", 1),
    (b"\xbf", 1),
    (b"\xc0\xaf", 1),
    (b"\xc1\xbf", 1),
    (b"\xe0\x80\xaf", 2),
    (b"\xe0\x9f\xbf", 2),
    (b"\xf0\x80\x80\xaf", 2),
    (b"\xf0\x8f\xbf\xbf", 2),
    (b"\xf8\x88\x80\x80\x80", 1),
    (b"\xfc\x84\x80\x80\x80\x80", 1),
    (b"\xf4\x90\x80\x80", 2),
    (b"\xf5\x80\x80\x80", 1),
    (b"\xed\xa0\x80", 2),
    (b"\xed\xbf\xbf", 2),
    (b"\xed\xa0\x80\xed\xb0\x80", 2),
    (b"\xfe", 1),
    (b"\xff", 1),
    (b"a\xc3b", 3),
    (b"a\xe2\x82b", 4),
    (b"a\xf0\x9f\x98b", 5),
    (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\xed", 13),
];

#[test]
fn wrong_text_is_refused_with_1007() {
    for (wrong, _) in WRONG {
        refused(&[from_client(TEXT, wrong)], &[], Violation::InvalidUtf8);
        refused(&[from_client(TEXT_FIRST, "ok"), from_client(LAST, wrong)], &[], Violation::InvalidUtf8);
        accepted(&[from_client(BINARY, wrong)], &[Got::Binary(wrong.into())]);
    }
    assert_eq!(Violation::InvalidUtf8.close_code(), 1007);
}

#[test]
fn wrong_text_is_told_with_the_byte_that_makes_it_wrong() {
    // Autobahn 6.4.1 to 6.4.4 ask for this between and inside frames; many servers are only NON-STRICT there.
    for (wrong, certain) in WRONG {
        let (before, from) = wrong.split_at(certain - 1);

        let mut between_frames = plain();
        assert_eq!(feed(&mut between_frames, [&from_client(TEXT_FIRST, before)[..]]), (vec![], None));
        let outcome = feed(&mut between_frames, [&from_client(MORE, &from[..1])[..]]);
        assert_eq!(outcome, (vec![], Some(Violation::InvalidUtf8)), "{wrong:x?}");

        let mut inside_a_frame = plain();
        let mut frame = from_client(TEXT, [wrong, b"never sent"].concat());
        frame.truncate(6 + certain);
        let last = frame.pop().unwrap();
        assert_eq!(feed(&mut inside_a_frame, [&frame[..]]), (vec![], None));
        assert_eq!(feed(&mut inside_a_frame, [&[last][..]]), (vec![], Some(Violation::InvalidUtf8)), "{wrong:x?}");
    }
}

#[test]
fn text_that_ends_inside_a_code_point_is_refused() {
    for cut in [&b"\xce"[..], b"\xe1\xbd", b"\xf0\x9f\x98", b"ok\xc3"] {
        refused(&[from_client(TEXT, cut)], &[], Violation::InvalidUtf8);
        refused(&[from_client(TEXT_FIRST, cut), from_client(LAST, "")], &[], Violation::InvalidUtf8);
    }
}

#[test]
fn a_ping_inside_a_cut_code_point_does_not_hurt() {
    let frames = [from_client(TEXT_FIRST, b"\xf0\x9f"), from_client(PING, b"\xff"), from_client(LAST, b"\x98\x80")];
    accepted(&frames, &[Got::Ping(vec![0xFF]), text("😀")]);
}
