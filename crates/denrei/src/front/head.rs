//! What the first request of a connection wants.

use denrei_proto::codes::Code;

use super::{Peer, Secure};
use crate::admission::{admit, cors, identify, pass};
use crate::app::App;
use crate::facts::Facts;
use crate::refusal::Refusal;
use crate::socketio::opening;
use crate::transport::{sse, websocket};

/// What to do with a connection.
pub(super) enum First {
    /// A WebSocket, and the bytes behind its request.
    WebSocket(Box<websocket::Opening>, Vec<u8>),
    /// An event stream, and headers for its page.
    Sse(Box<sse::Opening>, Vec<(&'static str, String)>),
    /// A WebSocket of a Socket.IO client, and the bytes behind its request.
    SocketIo(Box<opening::Upgrade>, Vec<u8>),
    /// A no: the whole answer.
    Refused(Vec<u8>),
    /// Anything else: hyper reads it, from its first byte.
    Other(Vec<u8>),
}

/// The longest head, and the most headers.
pub(super) const LONGEST: usize = 16 * 1024;
const HEADERS: usize = 100;
/// How HTTP/2 with prior knowledge begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Looks at what has arrived; none until it can be told.
pub(super) fn decide(app: &App, arrived: &[u8], peer: Peer) -> Option<First> {
    if arrived.starts_with(PREFACE) || PREFACE.starts_with(arrived) {
        return (arrived.len() >= PREFACE.len()).then(|| First::Other(arrived.to_vec()));
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(arrived) {
        Ok(httparse::Status::Complete(length)) if length <= LONGEST => length,
        Ok(httparse::Status::Partial) if arrived.len() <= LONGEST => return None,
        Ok(_) => return Some(too_long("the request's head exceeds the limit of 16384 bytes")),
        Err(httparse::Error::TooManyHeaders) => return Some(too_long("the request has more than 100 headers")),
        // hyper says what is wrong with it.
        Err(_) => return Some(First::Other(arrived.to_vec())),
    };
    let native = natively(app, &request, &arrived[length..], peer);
    Some(native.unwrap_or_else(|| First::Other(arrived.to_vec())))
}

/// Serves what is a plain request for a WebSocket or a stream. Whatever is unusual about one (a body, `Expect`, another
/// version) is left to hyper, whose routes do the same.
fn natively(app: &App, request: &httparse::Request<'_, '_>, behind: &[u8], peer: Peer) -> Option<First> {
    let (method, target, version) = (request.method?, request.path?, request.version?);
    let mut facts = Facts::parsed(method, target, version, request.headers);
    facts.secure = peer.secure == Secure::Yes;
    let from = peer.address.ip();
    let unusual = ["content-length", "transfer-encoding", "expect"];
    let plain = method == "GET" && version == 1 && !unusual.iter().any(|name| facts.all(name).next().is_some());
    let socket_io = app.config.socketio.enabled && facts.path.starts_with(&app.config.socketio.path);
    let wanted = plain && (socket_io || matches!(facts.path, "/ws" | "/sse"));
    if !wanted || facts.one("host").is_none() {
        return None;
    }
    let refused = |refusal: &Refusal, cors: &[(&'static str, String)]| First::Refused(response(refusal, cors));
    if let Err(refusal) = admit(&app.access(), &facts) {
        app.metrics.admission.count(refusal.code);
        return Some(refused(&refusal, &[]));
    }
    if socket_io {
        // What is not simply agreed on, hyper's route answers.
        let upgrade = opening::upgrade(app, &facts, from).filter(|_| !app.is_stopping())?;
        return Some(First::SocketIo(Box::new(upgrade), behind.to_vec()));
    }
    let cors = cors(&facts);
    let identity = match pass(app, &facts, from).and_then(|()| identify(app, &facts, from)) {
        Ok(_) if app.is_stopping() => {
            let stopping = Refusal::later(Code::ShuttingDown, "the server is about to stop");
            return Some(refused(&stopping, &cors));
        }
        Ok(identity) => identity,
        Err(refusal) => return Some(refused(&refusal, &cors)),
    };
    Some(match facts.path {
        "/ws" => match websocket::open(app, &facts, identity) {
            Ok(opening) => First::WebSocket(Box::new(opening), behind.to_vec()),
            // hyper's route answers with the right headers.
            Err(_) => return None,
        },
        _ => match sse::open(app, &facts, identity) {
            Ok(opening) => First::Sse(Box::new(opening), cors),
            Err(refusal) => refused(&refusal, &cors),
        },
    })
}

/// To a client that speaks HTTP where TLS is spoken.
pub(super) fn not_tls() -> Vec<u8> {
    response(
        &Refusal::new(Code::InvalidMessage, "this port speaks TLS: the address begins with https:// or wss://"),
        &[],
    )
}

fn too_long(sentence: &str) -> First {
    let body = Refusal::new(Code::TooLarge, sentence).body();
    First::Refused(written(431, "Request Header Fields Too Large", &body, &[]))
}

/// An answer that closes the connection.
pub(super) fn response(refusal: &Refusal, headers: &[(&'static str, String)]) -> Vec<u8> {
    let status = refusal.status();
    written(status.as_u16(), status.canonical_reason().unwrap_or(""), &refusal.body(), headers)
}

fn written(status: u16, reason: &str, body: &str, headers: &[(&'static str, String)]) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.push_str(body);
    head.into_bytes()
}
