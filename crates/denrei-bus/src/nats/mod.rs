//! NATS between nodes. `docs/cluster.md` says what an operator needs to know of it.
//!
//! A node has two connections. One carries the [`bus`], and the server sends it nothing of its own ("no echo"); the other
//! carries everything else: the [`log`], the [`leases`] and the [`shelf`], which are JetStream streams, and the
//! [`channels`], on which a node does hear itself.
//!
//! All subjects of ours begin with the prefix, and names that others chose are written in them as base64url, so that no
//! name is a wildcard or another name:
//!
//! | subject | what |
//! |---|---|
//! | `PREFIX.b.r.ROOM`, `PREFIX.b.nodes`, `PREFIX.b.n.NODE` | the bus |
//! | `PREFIX.b.lost` | a node had to drop what it published |
//! | `PREFIX.l.ROOM` | the log, stream `PREFIX-log` |
//! | `PREFIX.w.ROOM` | a node waits to write to the log of a room |
//! | `PREFIX.g.THING` | leases, stream `PREFIX-leases` |
//! | `PREFIX.k.NAME` | the shelf, stream `PREFIX-shelf` |
//! | `PREFIX.s.CHANNEL` | sharded channels; plain ones have their own names |
//! | `PREFIX.c.CHANNEL` | asks who listens to a channel |
//! | `PREFIX.p.TOKEN` | a node asks itself whether the server has had what it sent before |

mod batch;
mod bus;
mod channels;
mod clock;
mod jetstream;
mod leases;
mod link;
mod log;
mod ring;
mod room;
mod shelf;

use std::sync::Arc;

use async_nats::{ConnectOptions, ServerAddr};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use denrei_hub::{BusError, Name, random_token};

use crate::{Broker, Joined, Options};
use link::{Echo, Link};

/// Joins the nodes at NATS servers.
pub(crate) async fn join(address: &str, options: Options) -> Result<Joined, BusError> {
    let prefix = checked(&options.prefix)?;
    let servers = Servers::parse(address)?;
    let ping = format!("{prefix}.p.{}", random_token(16));
    let quiet = Link::open(&servers, &options.node, &ping, Echo::Off).await?;
    let link = Link::open(&servers, &options.node, &ping, Echo::On).await?;
    let clock = clock::Clock::new(&link, prefix, &options.node);
    Ok(Joined {
        bus: Arc::new(bus::NatsBus::new(quiet, prefix)),
        log: Arc::new(log::NatsLog::new(&link, prefix, options.classes)),
        leases: Arc::new(leases::NatsLeases::new(Arc::clone(&clock), prefix)),
        shelf: Arc::new(shelf::NatsShelf::new(&link, clock, prefix)),
        channels: Arc::new(channels::NatsChannels::new(link, prefix)),
    })
}

/// Asks each server at these addresses.
pub(crate) async fn examine(address: &str) -> Result<Vec<Result<Broker, BusError>>, BusError> {
    let Servers { addresses, login } = Servers::parse(address)?;
    let mut found = Vec::new();
    for address in addresses {
        let one = Servers { addresses: vec![address], login: login.clone() };
        let options = one.log_in(ConnectOptions::new().name("denrei doctor").connection_timeout(Link::PATIENCE));
        found.push(match tokio::time::timeout(Link::PATIENCE, options.connect(one.addresses)).await {
            Ok(Ok(client)) => {
                let info = client.server_info();
                Ok(Broker::Nats { version: info.version, jetstream: info.jetstream, most_payload: info.max_payload })
            }
            Ok(Err(error)) => Err(BusError(format!("NATS: {error}").into())),
            Err(_) => Err(BusError("NATS does not answer in time".into())),
        });
    }
    Ok(found)
}

/// A prefix is a token of subjects and part of the names of streams, as it is.
fn checked(prefix: &str) -> Result<&str, BusError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if (1..=64).contains(&prefix.len()) && prefix.bytes().all(allowed) {
        return Ok(prefix);
    }
    Err(BusError(format!("the prefix {prefix:?} does not fit NATS: it has 1 to 64 letters, digits, - and _").into()))
}

/// Where the servers are, and how to log in; the same way at all of them, also at those that they tell of.
struct Servers {
    addresses: Vec<ServerAddr>,
    login: Login,
}

#[derive(Clone)]
enum Login {
    None,
    Token(String),
    Password(String, String),
}

impl Servers {
    fn parse(address: &str) -> Result<Self, BusError> {
        let mut servers = Self { addresses: Vec::new(), login: Login::None };
        for (at, text) in address.split(',').enumerate() {
            // The text may hold a password.
            let invalid = |why: &str| BusError(format!("NATS address {} cannot be understood: {why}", at + 1).into());
            let server: ServerAddr = text.trim().parse().map_err(|_| invalid("it is written nats://HOST:PORT"))?;
            if server.host().is_empty() || !matches!(server.scheme(), "nats" | "tls") {
                return Err(invalid("it is written nats://HOST:PORT, or tls://HOST:PORT"));
            }
            match (server.username().map(decoded), server.password().map(decoded)) {
                (Some(user), Some(password)) => servers.login = Login::Password(user, password),
                (Some(token), None) => servers.login = Login::Token(token),
                (None, _) => {}
            }
            // The client library names servers in its own log.
            let mut url = server.into_inner();
            let bare = url.set_username("").and_then(|()| url.set_password(None));
            let server = bare.ok().and_then(|()| ServerAddr::from_url(url).ok());
            servers.addresses.push(server.ok_or_else(|| invalid("it has no host"))?);
        }
        Ok(servers)
    }

    fn log_in(&self, options: ConnectOptions) -> ConnectOptions {
        match &self.login {
            Login::None => options,
            Login::Token(token) => options.token(token.clone()),
            Login::Password(user, password) => options.user_and_password(user.clone(), password.clone()),
        }
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The name in a token.
fn name_of(token: &str) -> Option<Name> {
    let name = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
    Name::parse(std::str::from_utf8(&name).ok()?).ok()
}

#[cfg(test)]
mod tests;
