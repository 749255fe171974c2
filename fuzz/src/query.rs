//! What a request's query says, and the names and positions in it.

use std::borrow::Cow;

use denrei_hub::{Name, Position, Seq};
use denrei_proto::engineio::{Ask, Method, Purpose, Rejection, Rules, Transport, Version, Wire};

/// The first line is a query, the second a position, the third a name.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    ask_holds(line());
    position_holds(line());
    name_holds(line());
}

fn ask_holds(query: &str) {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let last = |name: &str| pairs.clone().rfind(|(key, _)| *key == name).map(|(_, value)| value);
    let ask = Ask::read(pairs.clone().map(|(key, value)| (Cow::Borrowed(key), Cow::Borrowed(value))));
    assert_eq!(ask.version == Version::V4, last("EIO") == Some("4"));
    assert_eq!(ask.sid.as_deref(), last("sid").filter(|sid| !sid.is_empty()));
    assert_eq!(
        ask.transport.map(Transport::as_str),
        last("transport").filter(|name| ask.transport.is_some() || known(name))
    );
    assert_eq!(ask.wire().version(), ask.version);
    assert!(ask.wire() != Wire::V3Base64 || ask.base64);

    let all = [true, false];
    for method in [Method::Get, Method::Post, Method::Upgrade, Method::Other] {
        for (polling, websocket, allow_v3) in all.iter().flat_map(|&a| all.map(|b| (a, b, a != b))) {
            let rules = Rules { polling, websocket, allow_v3 };
            let allowed = |transport| if transport == Transport::Polling { polling } else { websocket };
            let session = (1, Version::V4, Transport::Polling);
            let verdict = ask.verify(method, &rules, |sid| (sid == "known").then_some(session));
            match verdict {
                Ok(Purpose::Open(transport)) => {
                    assert!(allowed(transport) && ask.sid.is_none() && ask.transport == Some(transport));
                    assert_eq!(method, if transport == Transport::Polling { Method::Get } else { Method::Upgrade });
                    assert!(allow_v3 || ask.version == Version::V4);
                }
                Ok(Purpose::Continue(session)) => {
                    assert_eq!((session, ask.sid.as_deref(), ask.version), (1, Some("known"), Version::V4));
                    let expected = if method == Method::Upgrade { Transport::WebSocket } else { Transport::Polling };
                    assert_eq!(ask.transport, Some(expected));
                }
                Err(rejection) => {
                    assert!(rejection != Rejection::Forbidden && rejection.status() == 400);
                    let body: serde_json::Value = serde_json::from_str(&rejection.body_saying(query)).expect("JSON");
                    assert_eq!((&body["code"], &body["message"]), (&rejection.code().into(), &query.into()));
                }
            }
        }
    }
}

fn known(transport: &str) -> bool {
    matches!(transport, "polling" | "websocket")
}

fn position_holds(text: &str) {
    let Ok(position) = text.parse::<Position>() else { return };
    assert!(position.seq <= Seq::LAST && position.seq.next() > position.seq);
    let written = position.to_string();
    assert_eq!(written.parse(), Ok(position), "a position is read back");
    assert!(written.len() <= text.len());
    // It stands in headers, event ids and JSON as it is.
    assert!(written.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_:".contains(&byte)));
}

fn name_holds(text: &str) {
    if let Ok(name) = Name::parse(text) {
        assert_eq!(name.as_str(), text);
        assert!((1..=Name::LONGEST).contains(&text.len()) && !text.contains(char::is_control));
    }
}
