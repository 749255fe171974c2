//! What a request asks for, and whether it may.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use super::Version;

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Requests: a GET that waits for packets, POSTs that bring some.
    Polling,
    /// One packet per message.
    WebSocket,
}

impl Transport {
    /// As in the query.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Polling => "polling",
            Transport::WebSocket => "websocket",
        }
    }
}

/// What the query of a request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// `EIO`: anything but `4` is 3, nothing too.
    pub version: Version,
    /// `transport`, if it is one that this server knows.
    pub transport: Option<Transport>,
    /// `sid`; an empty one is none. It is a credential: not to be logged.
    pub sid: Option<Cow<'a, str>>,
    /// `b64`, which is a matter of v3: the client cannot read binary.
    pub base64: bool,
    /// `j`: a script wants to be answered with a script (JSONP).
    ///
    /// For v4 that must not be served: it would show a session id to any page that includes the address as a script.
    pub jsonp: Option<Cow<'a, str>>,
}

impl<'a> Ask<'a> {
    /// Reads the decoded pairs of a query. Of a key that comes twice the last counts, as with Node's `URLSearchParams`.
    pub fn read(pairs: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Self {
        let mut ask = Ask { version: Version::V3, transport: None, sid: None, base64: false, jsonp: None };
        for (key, value) in pairs {
            match &*key {
                "EIO" => ask.version = if value == "4" { Version::V4 } else { Version::V3 },
                "transport" => {
                    ask.transport = match &*value {
                        "polling" => Some(Transport::Polling),
                        "websocket" => Some(Transport::WebSocket),
                        _ => None,
                    };
                }
                "sid" => ask.sid = (!value.is_empty()).then_some(value),
                "b64" => ask.base64 = !value.is_empty(),
                "j" => ask.jsonp = Some(value),
                _ => {}
            }
        }
        ask
    }

    /// The session that the request names.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }

    /// How packets are written for this client.
    pub fn wire(&self) -> super::Wire {
        match (self.version, self.base64) {
            (Version::V4, _) => super::Wire::V4,
            (Version::V3, false) => super::Wire::V3,
            (Version::V3, true) => super::Wire::V3Base64,
        }
    }

    /// Says what the request is for, or what Node would refuse it with, in Node's order.
    ///
    /// `session` looks up what is known of a session id; its map must take `__proto__` for a name like any other.
    /// Whether a WebSocket may become the probe of its session is asked there
    /// ([`Session::probe`](super::Session::probe)): Node closes one that may not instead of refusing the request, and
    /// clients rely on it. Other methods than GET and POST with a known session are answered 500 by Node.
    ///
    /// # Errors
    ///
    /// The answer to give. [`Rejection::Forbidden`] never comes from here: policies decide that, after this.
    pub fn verify<S>(
        &self,
        method: Method,
        rules: &Rules,
        session: impl FnOnce(&str) -> Option<(S, Version, Transport)>,
    ) -> Result<Purpose<S>, Rejection> {
        let transport = self.transport.filter(|&transport| rules.allows(transport));
        let transport = transport.ok_or(Rejection::UnknownTransport)?;
        let upgrade = method == Method::Upgrade;
        if upgrade && transport == Transport::Polling {
            return Err(Rejection::BadRequest);
        }
        if let Some(sid) = &self.sid {
            let (session, version, current) = session(sid).ok_or(Rejection::UnknownSession)?;
            if (!upgrade && current != transport) || version != self.version {
                return Err(Rejection::BadRequest);
            }
            return Ok(Purpose::Continue(session));
        }
        match method {
            Method::Post | Method::Other => return Err(Rejection::BadHandshakeMethod),
            Method::Get if transport == Transport::WebSocket => return Err(Rejection::BadRequest),
            Method::Get | Method::Upgrade => {}
        }
        if self.version == Version::V3 && !rules.allow_v3 {
            return Err(Rejection::UnsupportedVersion);
        }
        Ok(Purpose::Open(transport))
    }
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET without an upgrade.
    Get,
    /// POST.
    Post,
    /// GET that asks for a WebSocket.
    Upgrade,
    /// Any other method.
    Other,
}

/// What the server allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Default true.
    pub polling: bool,
    /// Default true.
    pub websocket: bool,
    /// Serve `EIO=3`, that is Socket.IO 2 clients. Default false.
    pub allow_v3: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { polling: true, websocket: true, allow_v3: false }
    }
}

impl Rules {
    fn allows(&self, transport: Transport) -> bool {
        match transport {
            Transport::Polling => self.polling,
            Transport::WebSocket => self.websocket,
        }
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose<S> {
    /// A new session that begins on this transport.
    Open(Transport),
    /// A known session: a poll, packets, or a WebSocket to upgrade to.
    Continue(S),
}

/// A no to a request, with Node's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Rejection {
    /// No such transport, or not enabled.
    UnknownTransport = 0,
    /// No such session. The client begins anew.
    UnknownSession = 1,
    /// Something else than GET without a session.
    BadHandshakeMethod = 2,
    /// The request does not fit its session.
    BadRequest = 3,
    /// A policy said no.
    Forbidden = 4,
    /// `EIO` is not 4.
    UnsupportedVersion = 5,
}

impl Rejection {
    /// The number in the body.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The HTTP status. A WebSocket that is refused gets 400 whatever it is.
    pub fn status(self) -> u16 {
        if self == Rejection::Forbidden { 403 } else { 400 }
    }

    /// What Node says, and the whole body where a WebSocket is refused.
    pub fn message(self) -> &'static str {
        match self {
            Rejection::UnknownTransport => "Transport unknown",
            Rejection::UnknownSession => "Session ID unknown",
            Rejection::BadHandshakeMethod => "Bad handshake method",
            Rejection::BadRequest => "Bad request",
            Rejection::Forbidden => "Forbidden",
            Rejection::UnsupportedVersion => "Unsupported protocol version",
        }
    }

    /// The JSON body: `{"code":3,"message":"Bad request"}`.
    pub fn body(self) -> String {
        self.body_saying(self.message())
    }

    /// The JSON body with another message, for a policy that gives its reason.
    pub fn body_saying(self, message: &str) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            code: u8,
            message: &'a str,
        }
        // Numbers and strings always serialize.
        serde_json::to_string(&Body { code: self.code(), message }).unwrap_or_default()
    }
}

/// What the first packet of a session tells its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// The session's secret name. Not the id that Socket.IO shows to others.
    pub sid: &'a str,
    /// Whether the client may try a WebSocket: it is polling, and upgrades are allowed.
    pub upgrades: bool,
    /// How often the server pings, in whole milliseconds on the wire.
    pub ping_interval: Duration,
    /// How long a pong may take, in whole milliseconds on the wire.
    pub ping_timeout: Duration,
    /// Bytes of the largest body and message that are taken. A polling client splits what it has by it.
    pub max_payload: usize,
}

impl Handshake<'_> {
    /// The data of the open packet: exactly these five keys, in this order.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Open<'a> {
            sid: &'a str,
            upgrades: &'a [&'a str],
            ping_interval: u64,
            ping_timeout: u64,
            max_payload: usize,
        }
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let open = Open {
            sid: self.sid,
            upgrades: if self.upgrades { &["websocket"] } else { &[] },
            ping_interval: millis(self.ping_interval),
            ping_timeout: millis(self.ping_timeout),
            max_payload: self.max_payload,
        };
        // Numbers and strings always serialize.
        serde_json::to_string(&open).unwrap_or_default()
    }
}
