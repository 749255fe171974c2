//! The opening handshake.

use crate::ws::{HandshakeError, UpgradeRequest, accept_key, choose_subprotocol, write_response};

const HEADERS: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

fn check(method: &str, minor: u8, headers: &[(&str, &'static str)]) -> Result<&'static str, HandshakeError> {
    let mut request = UpgradeRequest::new(method, minor);
    for (name, value) in headers {
        request.header(name, value.as_bytes());
    }
    request.check()
}

/// The good request with one header's values replaced by others.
fn with(name: &str, values: &[&'static str]) -> Result<&'static str, HandshakeError> {
    let mut headers = HEADERS.to_vec();
    headers.retain(|header| header.0 != name);
    headers.extend(values.iter().map(|value| (name, *value)));
    check("GET", 1, &headers)
}

fn status(result: Result<&str, HandshakeError>) -> u16 {
    result.map_or_else(|error| error.status, |_| 101)
}

#[test]
fn the_rfc_s_request_is_answered_with_the_rfc_s_key() {
    let key = check("GET", 1, &HEADERS).unwrap();
    assert_eq!(accept_key(key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let mut out = Vec::new();
    write_response(&mut out, key, Some("chat"), Some("permessage-deflate"));
    let expected = "HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: chat\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut out = Vec::new();
    write_response(&mut out, key, None, None);
    assert!(out.ends_with(b"xOo=\r\n\r\n"));
}

#[test]
fn names_and_tokens_are_found_in_any_case_and_in_lists() {
    assert_eq!(status(with("Upgrade", &["h2c, WebSocket"])), 101);
    assert_eq!(status(with("Connection", &["keep-alive", "foo , upgrade"])), 101);
    assert_eq!(status(with("Sec-WebSocket-Version", &[" 13 "])), 101);
    let shouted = HEADERS.map(|(name, value)| (name.to_uppercase(), value));
    let shouted: Vec<_> = shouted.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(status(check("GET", 1, &shouted)), 101);
}

#[test]
fn requests_that_open_no_websocket_are_told_why() {
    assert_eq!(status(check("POST", 1, &HEADERS)), 405);
    assert_eq!(status(check("get", 1, &HEADERS)), 405);
    assert_eq!(status(check("GET", 0, &HEADERS)), 400);
    assert_eq!(status(with("Upgrade", &[])), 426);
    assert_eq!(status(with("Upgrade", &["websockets"])), 426);
    assert_eq!(status(with("Connection", &[])), 400);
    assert_eq!(status(with("Connection", &["keep-alive"])), 400);
    assert_eq!(status(with("Sec-WebSocket-Key", &[])), 400);
    for version in [&[][..], &["8"], &["13, 8"], &["013"], &["13", "13"]] {
        let error = with("Sec-WebSocket-Version", version).unwrap_err();
        assert_eq!((error.status, error.header), (426, Some(("Sec-WebSocket-Version", "13"))));
    }
}

#[test]
fn a_key_is_sixteen_bytes_of_base64() {
    for wrong in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZWE=",
        "dGhlIHNhbXBsZSBub25jZWEh",
        "dGhlIHNhbXBsZSBub2_jZQ==",
        "dGhlIHNhbX\rBsZSBub25jZ==",
        "dGhlIHNhbXBsZSBub25éZ==",
    ] {
        assert_eq!(status(with("Sec-WebSocket-Key", &[wrong])), 400, "{wrong}");
    }
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    assert_eq!(status(with("Sec-WebSocket-Key", &[key, key])), 400);
}

#[test]
fn the_first_offered_subprotocol_that_is_supported_is_chosen() {
    let supported = ["denrei.v1.json", "denrei.v1.protobuf"];
    assert_eq!(choose_subprotocol(["denrei.v1.protobuf, denrei.v1.json"], &supported), Some("denrei.v1.protobuf"));
    assert_eq!(choose_subprotocol(["graphql-ws", "chat ,\tdenrei.v1.json"], &supported), Some("denrei.v1.json"));
    for unknown in [&[][..], &["chat"], &["DENREI.V1.JSON"], &[""], &["denrei.v1.json;q=1"]] {
        assert_eq!(choose_subprotocol(unknown.iter().copied(), &supported), None);
    }
}
