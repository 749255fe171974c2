//! The request that opens a WebSocket.

use denrei_proto::ws::{DeflateConfig, UpgradeRequest, accept_key, choose_subprotocol, negotiate, write_response};

/// The first line is the method, a space, `0` for HTTP/1.0 and `8` to `15` for the windows that the server wants. Then a
/// header per line.
pub fn run(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let head = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let mut head = head.split(' ');
    let mut request = UpgradeRequest::new(head.next().unwrap_or_default(), u8::from(head.next() != Some("0")));
    let bits = head.next().and_then(|bits| bits.parse().ok()).unwrap_or(15);
    let (mut extensions, mut protocols) = (Vec::new(), Vec::new());
    for line in lines {
        let at = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let Ok(name) = std::str::from_utf8(&line[..at]) else { continue };
        let value = line.get(at + 1..).unwrap_or_default();
        request.header(name, value);
        if let Ok(value) = std::str::from_utf8(value) {
            if name.eq_ignore_ascii_case("sec-websocket-extensions") {
                extensions.push(value);
            } else if name.eq_ignore_ascii_case("sec-websocket-protocol") {
                protocols.push(value);
            }
        }
    }

    let config =
        DeflateConfig { server_max_window_bits: bits, client_max_window_bits: bits, ..DeflateConfig::default() };
    let answer = extensions_hold(&extensions, &config);
    let supported = ["denrei", "other"];
    let protocol = choose_subprotocol(protocols.iter().copied(), &supported);
    if let Some(chosen) = protocol {
        assert!(supported.contains(&chosen) && protocols.iter().any(|value| value.contains(chosen)), "not offered");
    }
    match request.check() {
        Ok(key) => {
            assert!(key.len() == 24 && key.ends_with("=="), "16 bytes in base64");
            assert_eq!(accept_key(key).len(), 28);
            let mut response = Vec::new();
            write_response(&mut response, key, protocol, answer.as_deref());
            let response = String::from_utf8(response).expect("an answer is text");
            let lines = 4 + usize::from(protocol.is_some()) + usize::from(answer.is_some());
            assert!(response.ends_with("\r\n\r\n"));
            assert_eq!(response.trim_end().split("\r\n").count(), lines, "a header was forged");
        }
        Err(no) => assert!(matches!(no.status, 400 | 405 | 426)),
    }
}

/// What is agreed on was offered, and would be agreed on again.
fn extensions_hold(offers: &[&str], config: &DeflateConfig) -> Option<String> {
    let (agreed, answer) = negotiate(offers.iter().copied(), config)?;
    let mut parameters = answer.split("; ");
    assert_eq!(parameters.next(), Some("permessage-deflate"));
    let mut names = Vec::new();
    for parameter in parameters {
        let (name, bits) = match parameter.split_once('=') {
            Some((name, bits)) => (name, Some(bits.parse::<u8>().expect("a number"))),
            None => (parameter, None),
        };
        assert!(!names.contains(&name), "{name} comes twice");
        names.push(name);
        let offered = offers.iter().any(|offer| offer.contains(name));
        match name {
            "server_no_context_takeover" | "client_no_context_takeover" => assert_eq!(bits, None),
            "server_max_window_bits" => assert_eq!(bits, Some(agreed.server_max_window_bits)),
            // RFC 7692 §7.1.2.2.
            "client_max_window_bits" => assert!(offered && matches!(bits, Some(8..=15)), "the client cannot be asked"),
            _ => panic!("{name} is no parameter"),
        }
    }
    assert!((8..=15).contains(&agreed.server_max_window_bits));
    assert!(agreed.server_max_window_bits <= config.server_max_window_bits.clamp(8, 15));
    assert_eq!(agreed.client_no_context_takeover, names.contains(&"client_no_context_takeover"));
    let again = negotiate([&*answer], config).expect("the answer is an offer too");
    assert_eq!(again.0, agreed);
    Some(answer)
}
