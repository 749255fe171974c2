//! Autobahn group 7: close frames and what comes after them.

use super::*;

fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    from_client(CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
}

#[test]
fn a_close_frame_may_be_empty() {
    accepted(&[from_client(CLOSE, "")], &[Got::Close(None)]);
}

#[test]
fn a_close_frame_of_one_byte_is_refused() {
    refused(&[from_client(CLOSE, [0x03])], &[], Violation::CloseOfOneByte);
}

#[test]
fn a_reason_of_up_to_123_bytes_of_text_arrives() {
    for reason in ["", "Hello World!", &"*".repeat(123), &"é".repeat(61)] {
        accepted(&[close(1000, reason)], &[Got::Close(Some((1000, reason.into())))]);
    }
    refused(&[close(1000, "*".repeat(124))], &[], Violation::ControlTooLong);
    refused(&[close(1000, b"\xed\xa0\x80")], &[], Violation::InvalidUtf8);
    refused(&[close(1000, b"cut \xc3")], &[], Violation::InvalidUtf8);
}

#[test]
fn every_close_code_is_judged_by_the_registry() {
    for code in 0..=u16::MAX {
        let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let expected = if valid {
            (vec![Got::Close(Some((code, String::new())))], None)
        } else {
            (vec![], Some(Violation::InvalidCloseCode(code)))
        };
        assert_eq!(feed(&mut plain(), [&close(code, "")[..]]), expected);
    }
}

#[test]
fn what_comes_after_a_close_frame_is_consumed_and_ignored() {
    // Even what would be refused before (Autobahn 7.1.3 to 7.1.6).
    let frames = [close(1000, ""), from_client(TEXT, "late"), from_client(PING, ""), vec![0xFF; 300_000]];
    accepted(&frames, &[Got::Close(Some((1000, String::new())))]);
    let mut decoder = plain();
    feed(&mut decoder, [&from_client(TEXT_FIRST, "open")[..], &close(1000, "")]);
    assert!(!decoder.is_mid_message());
    assert_eq!((decoder.reserved(), feed(&mut decoder, [&[0xFF; 9][..]])), (0, (vec![], None)));
}

#[test]
fn what_comes_after_a_violation_is_consumed_and_ignored() {
    let mut decoder = plain();
    feed(&mut decoder, [&from_client(TEXT_FIRST, "open")[..]]);
    let outcome = feed(&mut decoder, [&from_client(TEXT, "inside")[..]]);
    assert_eq!(outcome, (vec![], Some(Violation::UnfinishedMessage)));
    assert_eq!(feed(&mut decoder, [&from_client(TEXT, "late")[..]]), (vec![], None));
    assert_eq!(decoder.reserved(), 0);
}
