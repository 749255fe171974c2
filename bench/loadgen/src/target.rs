//! Where connections go and what they ask for.

use std::net::SocketAddrV4;

use crate::{
    connection::{Connection, Place, Role},
    marker,
    options::{Kind, Options, Wire},
    socket::Closing,
    template::{Template, Values},
    websocket,
};

/// The server, and how to talk to it.
pub(crate) struct Target {
    pub(crate) address: SocketAddrV4,
    pub(crate) closing: Closing,
    pub(crate) rooms: usize,
    /// The response header that says where a long poll goes on.
    pub(crate) cursor_header: Option<String>,
    subscribers: Door,
    publishers: Door,
    /// Header lines of every request.
    headers: String,
    /// The header line that offers extensions, or nothing.
    extensions: String,
    content_type: String,
}

/// How connections of one role come in.
pub(crate) struct Door {
    pub(crate) wire: Wire,
    pub(crate) joins: Vec<Template>,
    pub(crate) join_acks: u32,
    path: Template,
    /// The path of a long poll that has no cursor yet.
    first_path: Template,
}

impl Target {
    pub(crate) fn new(options: &Options) -> Target {
        let subscribers = options.proto;
        let publishers = options.pub_proto.unwrap_or(match subscribers {
            Wire::Ws => Wire::Ws,
            Wire::Sio | Wire::SioPoll => Wire::Sio,
            Wire::Sse | Wire::Lp | Wire::Http => Wire::Http,
        });
        let path = options.path.as_deref().unwrap_or(subscribers.usual_path());
        let usual = if publishers == subscribers { path } else { publishers.usual_path() };
        let publisher_path = options.pub_path.as_deref().unwrap_or(usual);
        let payload = marker::payload(options.payload, options.size);
        let offer = &options.deflate_offer;
        Target {
            address: options.addr,
            closing: if options.scenario == Kind::Connect { Closing::ByReset } else { Closing::Politely },
            rooms: options.rooms.max(1),
            cursor_header: options.lp_cursor.clone(),
            subscribers: Door::new(subscribers, path, &options.join, options.join_acks, &payload),
            publishers: Door::new(publishers, publisher_path, &options.pub_join, options.pub_join_acks, &payload),
            headers: options.header.iter().map(|line| format!("{line}\r\n")).collect(),
            extensions: if options.deflate { format!("Sec-WebSocket-Extensions: {offer}\r\n") } else { String::new() },
            content_type: options.content_type.clone(),
        }
    }

    pub(crate) fn door(&self, role: Role) -> &Door {
        match role {
            Role::Subscriber => &self.subscribers,
            Role::Publisher => &self.publishers,
        }
    }

    /// The request that opens `connection`'s stream, or its next poll.
    pub(crate) fn get(&self, connection: &Connection) -> Vec<u8> {
        let door = self.door(connection.role);
        let own = match (door.wire, &connection.place) {
            (Wire::Ws, _) => upgrade(&self.extensions),
            (Wire::Sio, _) => upgrade(""),
            (Wire::Sse, _) => "Accept: text/event-stream\r\nCache-Control: no-cache\r\n".into(),
            (_, Place::Validators { modified, tag }) => {
                format!("If-Modified-Since: {modified}\r\nIf-None-Match: {tag}\r\n")
            }
            (_, Place::Start | Place::Cursor(_) | Place::Session(_)) => String::new(),
        };
        format!("GET {} HTTP/1.1\r\n{}{own}\r\n", door.path(connection), self.common_headers()).into_bytes()
    }

    /// The request that publishes `body` to `room`.
    pub(crate) fn publication(&self, room: usize, body: &[u8]) -> Vec<u8> {
        self.post(&self.publishers.path.text(Values { room, ..Values::default() }), body)
    }

    /// The request that sends `packets` to `connection`'s session.
    pub(crate) fn packets(&self, connection: &Connection, packets: &[u8]) -> Vec<u8> {
        self.post(&self.door(connection.role).path(connection), packets)
    }

    fn post(&self, path: &str, body: &[u8]) -> Vec<u8> {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\n{}Content-Type: {}\r\nContent-Length: {}\r\n\r\n",
            self.common_headers(),
            self.content_type,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }

    fn common_headers(&self) -> String {
        format!("Host: {}\r\n{}", self.address, self.headers)
    }
}

impl Door {
    fn new(wire: Wire, path: &str, joins: &[String], join_acks: u32, payload: &str) -> Door {
        let joins = joins.iter().filter(|text| !text.is_empty());
        Door {
            wire,
            joins: joins.map(|text| Template::parse(text, payload)).collect(),
            join_acks,
            path: Template::parse(path, ""),
            first_path: Template::parse(&without_cursor(path), ""),
        }
    }

    fn path(&self, connection: &Connection) -> String {
        let values = Values { room: connection.room, i: connection.number, ..Values::default() };
        match &connection.place {
            Place::Cursor(cursor) => self.path.text(Values { cursor, ..values }),
            Place::Session(sid) => format!("{}&sid={sid}", self.path.text(values)),
            Place::Start | Place::Validators { .. } => self.first_path.text(values),
        }
    }
}

/// The headers that ask for a WebSocket.
fn upgrade(extensions: &str) -> String {
    format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n{extensions}",
        websocket::KEY
    )
}

/// The path without the query parameter that holds the cursor.
fn without_cursor(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else { return path.into() };
    let kept: Vec<&str> = query.split('&').filter(|parameter| !parameter.contains("{cursor}")).collect();
    if kept.is_empty() { path.into() } else { format!("{path}?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests;
