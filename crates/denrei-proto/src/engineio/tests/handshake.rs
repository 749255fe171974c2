//! What Node answers to requests that are not in order (engine.io 6.6.11, `verify`).

use std::borrow::Cow;
use std::time::Duration;

use crate::engineio::{Ask, Handshake, Method, Purpose, Rejection, Rules, Transport, Version, Wire};

fn ask(query: &'static str) -> Ask<'static> {
    Ask::read(query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (Cow::from(k), Cow::from(v))))
}

fn verify(query: &'static str, method: Method, rules: &Rules) -> Result<Purpose<u8>, Rejection> {
    ask(query).verify(method, rules, |sid| match sid {
        "polling" => Some((1, Version::V4, Transport::Polling)),
        "websocket" => Some((2, Version::V4, Transport::WebSocket)),
        "old" => Some((3, Version::V3, Transport::Polling)),
        _ => None,
    })
}

#[test]
fn requests_are_verified_in_nodes_order() {
    use Method::{Get, Other, Post, Upgrade};
    use Rejection::{BadHandshakeMethod, BadRequest, UnknownSession, UnknownTransport, UnsupportedVersion};
    let cases = [
        ("EIO=4&transport=polling", Get, Ok(Purpose::Open(Transport::Polling))),
        ("EIO=4&transport=websocket", Upgrade, Ok(Purpose::Open(Transport::WebSocket))),
        ("EIO=4&transport=polling&sid=", Get, Ok(Purpose::Open(Transport::Polling))),
        ("EIO=4", Get, Err(UnknownTransport)),
        ("EIO=4&transport=abc", Get, Err(UnknownTransport)),
        ("EIO=4&transport=webtransport", Get, Err(UnknownTransport)),
        ("EIO=4&transport=__proto__", Get, Err(UnknownTransport)),
        ("EIO=4&transport=constructor&sid=__proto__", Upgrade, Err(UnknownTransport)),
        ("EIO=4&transport=polling&sid=__proto__", Get, Err(UnknownSession)),
        ("EIO=4&transport=polling&sid=abc", Post, Err(UnknownSession)),
        ("EIO=4&transport=polling", Post, Err(BadHandshakeMethod)),
        ("EIO=4&transport=polling", Other, Err(BadHandshakeMethod)),
        ("EIO=4&transport=websocket", Get, Err(BadRequest)),
        ("EIO=4&transport=polling", Upgrade, Err(BadRequest)),
        ("transport=polling", Get, Err(UnsupportedVersion)),
        ("EIO=5&transport=polling", Get, Err(UnsupportedVersion)),
        ("EIO=abc&transport=websocket", Upgrade, Err(UnsupportedVersion)),
        ("EIO=4&transport=polling&sid=polling", Get, Ok(Purpose::Continue(1))),
        ("EIO=4&transport=polling&sid=polling", Post, Ok(Purpose::Continue(1))),
        ("EIO=4&transport=websocket&sid=polling", Upgrade, Ok(Purpose::Continue(1))),
        ("EIO=4&transport=websocket&sid=polling", Get, Err(BadRequest)),
        ("EIO=4&transport=polling&sid=websocket", Get, Err(BadRequest)),
        ("EIO=4&transport=websocket&sid=websocket", Upgrade, Ok(Purpose::Continue(2))),
        ("EIO=3&transport=polling&sid=polling", Get, Err(BadRequest)),
        ("EIO=4&transport=polling&sid=old", Get, Err(BadRequest)),
        ("EIO=3&transport=polling&sid=old", Get, Ok(Purpose::Continue(3))),
        ("EIO=3&EIO=4&sid=abc&sid=polling&transport=abc&transport=polling", Get, Ok(Purpose::Continue(1))),
    ];
    for (query, method, expected) in cases {
        assert_eq!(verify(query, method, &Rules::default()), expected, "{query} {method:?}");
    }
}

#[test]
fn what_is_not_enabled_is_unknown() {
    let rules = Rules { polling: false, websocket: true, allow_v3: true };
    assert_eq!(verify("EIO=4&transport=polling", Method::Get, &rules), Err(Rejection::UnknownTransport));
    let v3 = verify("EIO=3&transport=websocket", Method::Upgrade, &rules);
    assert_eq!(v3, Ok(Purpose::Open(Transport::WebSocket)));
}

#[test]
fn base64_is_a_matter_of_v3() {
    assert_eq!(ask("EIO=3&b64=1").wire(), Wire::V3Base64);
    assert_eq!(ask("EIO=3&b64=").wire(), Wire::V3);
    assert_eq!(ask("EIO=4&b64=1").wire(), Wire::V4);
    assert_eq!(ask("EIO=3&j=0").jsonp.as_deref(), Some("0"));
}

#[test]
fn rejections_are_nodes_bodies() {
    assert_eq!(Rejection::UnknownTransport.body(), r#"{"code":0,"message":"Transport unknown"}"#);
    assert_eq!(Rejection::UnknownSession.body(), r#"{"code":1,"message":"Session ID unknown"}"#);
    assert_eq!(Rejection::BadHandshakeMethod.body(), r#"{"code":2,"message":"Bad handshake method"}"#);
    assert_eq!(Rejection::BadRequest.body(), r#"{"code":3,"message":"Bad request"}"#);
    assert_eq!(Rejection::Forbidden.body_saying("no \"you\""), r#"{"code":4,"message":"no \"you\""}"#);
    assert_eq!(Rejection::UnsupportedVersion.body(), r#"{"code":5,"message":"Unsupported protocol version"}"#);
    assert_eq!((Rejection::Forbidden.status(), Rejection::BadRequest.status()), (403, 400));
}

#[test]
fn the_handshake_has_exactly_five_keys() {
    let handshake = Handshake {
        sid: "S",
        upgrades: true,
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        max_payload: 1_000_000,
    };
    let five = r#"{"sid":"S","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}"#;
    assert_eq!(handshake.to_json(), five);
    let alone = Handshake { upgrades: false, ..handshake };
    assert!(alone.to_json().contains(r#""upgrades":[],"#));
}
