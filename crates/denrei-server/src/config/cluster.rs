//! `bus` and `[cluster]`: this server among others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use denrei::Config;
use denrei_bus::Options as Joining;
use denrei_hub::{Name, Node};

use super::{Database, seconds, set};
use crate::cli::Options;
use crate::file;

/// The bus that the server is to join, and how.
pub(crate) struct Bus {
    pub(crate) address: String,
    pub(crate) joining: Joining,
}

/// `SERVER_ID`, as others call it.
pub(crate) fn server_id() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the crate that reads the environment")]
    std::env::var("SERVER_ID").ok().filter(|id| !id.is_empty())
}

/// Reads what was said of the cluster; none when the server is alone.
pub(super) fn resolve(
    options: &Options,
    bus: Option<String>,
    file: file::Cluster,
    (listen, database): (SocketAddr, &Database),
    config: &mut Config,
) -> Result<Option<Bus>, String> {
    set(&mut config.hub.lease, seconds("cluster.lease_ms", file.lease_ms)?);
    if config.hub.lease < Duration::from_secs(3) {
        return Err("cluster.lease_ms: is 3000 or more: servers say once a second that they are there".into());
    }
    let prefix = file.prefix.unwrap_or_else(|| "denrei".into());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if prefix.is_empty() || prefix.len() > 32 || !prefix.bytes().all(plain) {
        return Err("cluster.prefix: is 1 to 32 letters, digits, - and _".into());
    }
    let id = match options.node_id.as_ref().or(file.node_id.as_ref()) {
        Some(id) => Name::parse(id).map_err(|error| format!("cluster.node_id: {error}"))?,
        None => Node::default().id,
    };
    let Some(address) = options.bus.clone().or(bus) else {
        config.hub.node = Node::new(id, None);
        return Ok(None);
    };
    if let Database::Sqlite(path) = database {
        return Err(format!(
            "bus: it joins several servers, and only this one can see the store sqlite:{}. Give all of them one \
             PostgreSQL: --store postgres://USER:PASSWORD@HOST:PORT/DATABASE, or DENREI_STORE",
            path.display()
        ));
    }
    if config.access.secret.is_none() && !config.access.tokens.has_keys() {
        return Err("bus: servers that are joined need one secret, or they would not know one another's tokens: set \
                    DENREI_SECRET to the same at least 32 bytes for all of them"
            .into());
    }
    let advertise = options.advertise.clone().or(file.advertise);
    if let Some(advertise) = &advertise {
        let host = advertise.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@'])) {
            return Err("cluster.advertise: is http://HOST:PORT, as other servers reach this one".into());
        }
    }
    let reachable = (!listen.ip().is_unspecified()).then(|| format!("http://{listen}"));
    let advertise = advertise.map(|advertise| advertise.trim_end_matches('/').to_owned()).or(reachable);
    config.hub.node = Node::new(id.clone(), advertise.as_deref());
    let joining = Joining { node: id, prefix, classes: Arc::default() };
    Ok(Some(Bus { address, joining }))
}
