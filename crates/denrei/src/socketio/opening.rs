//! What comes before a Socket.IO connection, whoever parsed its request.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;

use denrei_hub::ShardHandle;
use denrei_proto::engineio::{self, Ask, Method, Purpose, Rejection, Rules};
use denrei_proto::ws::{self, HandshakeError, Negotiated, UpgradeRequest};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::admission;
use crate::app::{App, Open};
use crate::facts::Facts;
use crate::identity::Identity;
use crate::proxies::{client_address, is_trusted};
use crate::refusal::Refusal;
use crate::socketio::Handshake;
use crate::socketio::channel::{Arrival, Channel};
use crate::socketio::connection::{self, Beginning};
use crate::socketio::desk::{Desk, Visit};

/// What a request is for, or why it is refused.
pub(crate) fn purpose(app: &App, ask: &Ask<'_>, method: Method) -> Result<Purpose<Arc<Desk>>, Rejection> {
    let config = &app.config.socketio;
    let rules = Rules { polling: config.polling, websocket: config.websocket, allow_v3: config.allow_v3 };
    ask.verify(method, &rules, |sid| {
        let desk = app.desks.find(sid)?;
        let (version, transport) = (desk.version(), desk.transport());
        Some((desk, version, transport))
    })
}

/// A WebSocket that was agreed on.
pub(crate) struct Agreed {
    key: String,
    extensions: Option<String>,
    deflate: Option<Negotiated>,
}

/// Agrees on a WebSocket.
fn agree(app: &App, facts: &Facts<'_>) -> Result<Agreed, HandshakeError> {
    let mut request = UpgradeRequest::new(facts.method, facts.minor_version);
    for (name, value) in &facts.headers {
        request.header(name, value);
    }
    let key = request.check()?.to_owned();
    let offers = facts.all("sec-websocket-extensions");
    let agreed = app.config.websocket.deflate.as_ref().and_then(|deflate| ws::negotiate(offers, deflate));
    let (deflate, extensions) = agreed.unzip();
    Ok(Agreed { key, extensions, deflate })
}

impl Agreed {
    /// The headers of the 101 that tell what was agreed on.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let agreed = [
            ("sec-websocket-accept", Some(ws::accept_key(&self.key))),
            ("sec-websocket-extensions", self.extensions.clone()),
        ];
        agreed.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// The whole 101.
    pub(crate) fn response(&self) -> Vec<u8> {
        let mut response = Vec::with_capacity(256);
        ws::write_response(&mut response, &self.key, None, self.extensions.as_deref());
        response
    }
}

/// A WebSocket that was agreed on, and what for.
pub(crate) struct Upgrade {
    pub(crate) agreed: Agreed,
    what: What,
}

enum What {
    /// It begins a session.
    Begin(engineio::Wire, Caller),
    /// It comes to a session as a probe.
    Probe(Arc<Desk>),
}

/// Agrees on a WebSocket where nobody has to be asked and nothing has to be refused.
pub(crate) fn upgrade(app: &App, facts: &Facts<'_>, address: IpAddr) -> Option<Upgrade> {
    let wants = facts.one("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    if !wants || app.asks_about_requests() {
        return None;
    }
    let ask = Ask::read(facts.pairs());
    let purpose = purpose(app, &ask, Method::Upgrade).ok()?;
    if let Purpose::Open(_) = purpose {
        // hyper's route says no.
        admission::pass(app, facts, address).ok()?;
    }
    Upgrade::new(app, facts, address, ask.wire(), purpose).ok()
}

impl Upgrade {
    pub(crate) fn new(
        app: &App,
        facts: &Facts<'_>,
        address: IpAddr,
        wire: engineio::Wire,
        purpose: Purpose<Arc<Desk>>,
    ) -> Result<Self, HandshakeError> {
        let agreed = agree(app, facts)?;
        let what = match purpose {
            Purpose::Open(_) => What::Begin(wire, caller(app, facts, address)),
            Purpose::Continue(desk) => What::Probe(desk),
        };
        Ok(Self { agreed, what })
    }

    /// The WebSocket is here; `before` goes out first.
    pub(crate) fn arrive(self, open: Open, before: Vec<u8>, arrival: Arrival, shard: &ShardHandle) {
        let channel = Channel::new(open.app(), arrival, self.agreed.deflate, before, shard);
        match self.what {
            What::Begin(wire, caller) => {
                connection::begin(Beginning { open, wire, caller, channel: Some(channel) }, shard);
            }
            What::Probe(desk) => desk.visit(Visit::WebSocket(Box::new(channel))),
        }
    }
}

/// Who begins a session, as the request says.
pub(crate) struct Caller {
    /// The request as handlers see it.
    pub(crate) handshake: Handshake,
    /// Why it does not say enough. That is told in the namespace: there the client can be answered, and can say more.
    pub(crate) refusal: Option<Box<Refusal>>,
}

pub(crate) fn caller(app: &App, facts: &Facts<'_>, peer: IpAddr) -> Caller {
    let access = app.access();
    let address = client_address(&access.trusted_proxies, facts, peer);
    // A proxy in front says how clients reach it.
    let behind = is_trusted(&access.trusted_proxies, peer) && facts.one("x-forwarded-proto") == Some("https");
    let stranger = Identity { address: Some(address), ..Identity::default() };
    let (identity, refusal) = match admission::identify(app, facts, peer) {
        Ok(identity) => (identity, None),
        // Where the house knows no tokens, what clients call one is the application's.
        Err(_) if access.anonymous && !app.auth.knows_tokens() => (stranger, None),
        Err(refusal) => (stranger, Some(refusal.into())),
    };
    let url = if facts.query.is_empty() { facts.path.to_owned() } else { format!("{}?{}", facts.path, facts.query) };
    let handshake = Handshake::new(facts.headers.iter().copied(), &url, address, facts.secure || behind, identity);
    Caller { handshake, refusal }
}

/// Compresses a body in a way that its reader accepts: gzip, deflate (zlib's form), or not at all.
pub(crate) fn compress(encodings: &str, body: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    if accepts(encodings, "gzip") {
        return Some(("gzip", gzip(body)));
    }
    accepts(encodings, "deflate").then(|| {
        let mut encoder = ZlibEncoder::new(Vec::new(), LEVEL);
        ("deflate", encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes what is written"))
    })
}

/// Whether a value of `Accept-Encoding` names a coding, and not only to refuse it.
pub(crate) fn accepts(encodings: &str, coding: &str) -> bool {
    encodings.split(',').any(|entry| {
        let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
        name.trim().eq_ignore_ascii_case(coding) && weight.trim() != "q=0"
    })
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), LEVEL);
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes what is written")
}

const LEVEL: Compression = Compression::new(6);
