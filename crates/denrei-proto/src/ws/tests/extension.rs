//! Offers of permessage-deflate and their answers.

use super::*;
use crate::ws::{DeflateConfig, negotiate};

const DEFAULT: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const SERVER: &str = "permessage-deflate; server_no_context_takeover";

fn answer(offers: &[&str], config: &DeflateConfig) -> Option<String> {
    negotiate(offers.iter().copied(), config).map(|(_, answer)| answer)
}

fn with_context() -> DeflateConfig {
    DeflateConfig { client_no_context_takeover: false, ..DeflateConfig::default() }
}

#[test]
fn offers_that_are_in_order_are_accepted() {
    for (offer, answer_by_default, answer_with_context) in [
        ("permessage-deflate", DEFAULT, SERVER),
        ("permessage-deflate; client_max_window_bits", DEFAULT, SERVER),
        ("permessage-deflate;client_max_window_bits=9", DEFAULT, SERVER),
        (" \t permessage-deflate\t;\tserver_no_context_takeover\t", DEFAULT, SERVER),
        ("permessage-deflate; client_no_context_takeover", DEFAULT, DEFAULT),
        (
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=15",
        ),
        (
            "permessage-deflate; server_max_window_bits = \"10\"",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
        ),
    ] {
        assert_eq!(answer(&[offer], &DeflateConfig::default()).as_deref(), Some(answer_by_default), "{offer}");
        assert_eq!(answer(&[offer], &with_context()).as_deref(), Some(answer_with_context), "{offer}");
    }
}

#[test]
fn the_answer_and_what_is_remembered_agree() {
    let (negotiated, _) = negotiate(["permessage-deflate"], &DeflateConfig::default()).unwrap();
    assert_eq!(negotiated, NO_CONTEXT);
    let (negotiated, _) = negotiate(["permessage-deflate"], &with_context()).unwrap();
    assert_eq!(negotiated, CONTEXT);
    let offer = "permessage-deflate; client_no_context_takeover; server_max_window_bits=11";
    let (negotiated, _) = negotiate([offer], &with_context()).unwrap();
    let expected = Negotiated { server_max_window_bits: 11, ..NO_CONTEXT };
    assert_eq!(negotiated, expected);
}

#[test]
fn smaller_windows_are_told_and_asked_for() {
    let small = DeflateConfig { server_max_window_bits: 12, client_max_window_bits: 11, ..with_context() };
    for (offer, expected) in [
        ("permessage-deflate", "server_max_window_bits=12"),
        ("permessage-deflate; server_max_window_bits=10", "server_max_window_bits=10"),
        ("permessage-deflate; server_max_window_bits=14", "server_max_window_bits=12"),
        ("permessage-deflate; client_max_window_bits", "server_max_window_bits=12; client_max_window_bits=11"),
        ("permessage-deflate; client_max_window_bits=9", "server_max_window_bits=12; client_max_window_bits=9"),
    ] {
        assert_eq!(answer(&[offer], &small), Some(format!("{SERVER}; {expected}")));
    }
}

#[test]
fn a_window_of_8_bits_is_accepted() {
    // zlib makes a window of 9 when asked for 8, which the client could not read.
    let (negotiated, answer) = negotiate(["permessage-deflate; server_max_window_bits=8"], &with_context()).unwrap();
    assert_eq!(answer, "permessage-deflate; server_no_context_takeover; server_max_window_bits=8");
    assert!(negotiated.accepts_shared(15, 256));
    assert!(!negotiated.accepts_shared(15, 257));
}

#[test]
fn offers_with_wrong_parameters_are_declined_and_the_next_one_is_tried() {
    for wrong in [
        "permessage-deflate; unknown",
        "permessage-deflate; unknown=1",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=\"1\\0\"",
        "permessage-deflate; client_max_window_bits=99999999999999999999",
        "permessage-deflate; client_max_window_bits=\"\"",
        "Permessage-Deflate",
        "x-webkit-deflate-frame",
        "permessage-bzip2; level=\"a, b; \\\" c\"",
        "",
        " , ,",
    ] {
        assert_eq!(answer(&[wrong], &DeflateConfig::default()), None, "{wrong}");
        let next = format!("{wrong}, permessage-deflate");
        assert_eq!(answer(&[&next], &DeflateConfig::default()).as_deref(), Some(DEFAULT), "{wrong}");
        assert_eq!(answer(&[wrong, "permessage-deflate"], &DeflateConfig::default()).as_deref(), Some(DEFAULT));
    }
}

#[test]
fn the_client_s_order_decides() {
    let offers = "permessage-deflate; server_max_window_bits=10, permessage-deflate";
    let (negotiated, _) = negotiate([offers], &DeflateConfig::default()).unwrap();
    assert_eq!(negotiated.server_max_window_bits, 10);
}

#[test]
fn a_breach_of_the_grammar_declines_everything_behind_it() {
    for broken in [
        "permessage-deflate server_no_context_takeover",
        "permessage-deflate;",
        "permessage-deflate; =1",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=\"10",
        "permessage-deflate; server_max_window_bits=10 10",
        "permessage-deflate\u{0}",
        "pérmessage-deflate",
        "\"permessage-deflate\"",
        "=",
    ] {
        assert_eq!(answer(&[broken, "permessage-deflate"], &DeflateConfig::default()), None, "{broken}");
    }
}

#[test]
fn of_thousands_of_offers_only_the_first_are_looked_at() {
    let late = "permessage-deflate; x, ".repeat(8000) + "permessage-deflate";
    assert_eq!(answer(&[&late], &DeflateConfig::default()), None);
    let lines = [vec!["unknown"; 8000], vec!["permessage-deflate"]].concat();
    assert_eq!(answer(&lines, &DeflateConfig::default()), None);
}

#[test]
fn a_shared_frame_is_for_those_whose_window_it_fits() {
    let window = |server_max_window_bits| Negotiated { server_max_window_bits, ..NO_CONTEXT };
    assert!(window(15).accepts_shared(15, 1 << 20));
    assert!(window(9).accepts_shared(15, 512));
    assert!(!window(9).accepts_shared(15, 513));
    assert!(window(9).accepts_shared(9, 1 << 20));
    assert!(!window(12).accepts_shared(13, 4097));
}
