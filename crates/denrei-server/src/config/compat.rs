//! `[socketio.compat]`: namespaces that are shared with servers of Node.

use std::collections::BTreeMap;

use denrei::socketio::{Compat, Subscriptions};

use super::{millis, set};
use crate::file::{self, Adapter};

/// A namespace, and how it is shared.
pub(crate) type Shared = (String, Compat);

/// Reads which namespaces there are; `bus` says whether there is a broker by which to share them.
pub(super) fn resolve(said: BTreeMap<String, file::Compat>, bus: bool) -> Result<Vec<Shared>, String> {
    if !said.is_empty() && !bus {
        return Err("socketio.compat: servers of Node are met at a bus: set bus = \"redis://HOST:PORT\"".into());
    }
    said.into_iter().map(|(namespace, said)| Ok((parse_namespace(&namespace)?, one(&namespace, said)?))).collect()
}

fn parse_namespace(namespace: &str) -> Result<String, String> {
    let ours = ["/chat", "/admin"];
    if !namespace.starts_with('/') || namespace.contains([':', '{', '}']) || ours.contains(&namespace) {
        return Err(format!(
            "socketio.compat.{namespace:?}: is the name of a namespace, such as \"/\" or \"/shop\", but not /chat or /admin"
        ));
    }
    Ok(namespace.into())
}

fn one(namespace: &str, said: file::Compat) -> Result<Compat, String> {
    let wrong = |setting: &str, why: &str| Err(format!("socketio.compat.{namespace:?}.{setting}: {why}"));
    let mut compat = Compat::node();
    if said.adapter == Adapter::Sharded {
        if said.publish_on_specific_response_channel.is_some() {
            return wrong("publish_on_specific_response_channel", "goes with adapter = \"classic\"");
        }
        compat = compat.sharded(match said.subscriptions {
            Some(file::Subscriptions::Static) => Subscriptions::Static,
            Some(file::Subscriptions::Dynamic) | None => Subscriptions::Dynamic,
        });
    } else if said.subscriptions.is_some() {
        return wrong("subscriptions", "goes with adapter = \"sharded\"");
    }
    let mut key = "socket.io".to_owned();
    set(&mut key, said.key);
    if key.is_empty() || key.contains('#') {
        return wrong("key", "is not empty and has no #");
    }
    if let Some(timeout) = millis("socketio.compat.requests_timeout_ms", said.requests_timeout_ms)? {
        compat = compat.requests_timeout(timeout);
    }
    let specific = said.publish_on_specific_response_channel.unwrap_or(false);
    Ok(compat.key(key).publish_on_specific_response_channel(specific))
}
