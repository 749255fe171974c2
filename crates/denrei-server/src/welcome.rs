//! What a developer sees first.

use std::net::SocketAddr;
use std::time::Duration;

use denrei::{NewToken, Secret};
use denrei_hub::Name;

use crate::cli::say;

/// Says loudly that this is development mode, and gives three lines to try.
pub(crate) fn developer(address: SocketAddr, secret: &Secret) {
    let url = format!("http://{address}");
    let user = Name::parse("developer").expect("a word is a name");
    let day = NewToken { ttl: Duration::from_secs(24 * 3600), ..NewToken::of(&user) };
    let token = secret.mint(&day).unwrap_or_default();
    say(&format!(
        "
denrei listens on {url}   (open it in a browser)

DEVELOPMENT MODE: everyone on this machine may connect and publish, without a token and without limits of rate.
To let others in, listen on another address and configure [auth]; `denrei config` prints the settings.

A token for the user `developer`, valid for a day (with it you are more than a guest on {url}/chat):
{token}

Three lines to try:
  curl -N '{url}/sse?room=feed:hello'
  curl {url}/api/rooms/feed:hello/events -d '{{\"payload\":\"hello\"}}'
  curl '{url}/api/rooms/feed:hello/events'
"
    ));
}
