//! Who may come in: the host they asked for, the page they come from, the token they bring.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use denrei_proto::codes::Code;

use crate::app::App;
use crate::auth::Auth;
use crate::config::Access;
use crate::facts::Facts;
use crate::identity::Identity;
use crate::proxies::client_address;
use crate::rates::Asking;
use crate::refusal::Refusal;

/// The application's word on the origins of pages, such as `https://app.example`.
#[derive(Clone)]
pub struct AllowOrigin(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl AllowOrigin {
    /// Lets in the origins that a function says yes to. It must be quick: the request waits for it, and others do.
    pub fn new(allow: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(allow))
    }
}

impl fmt::Debug for AllowOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllowOrigin(…)")
    }
}

/// Whether the request may be looked at, whoever sent it.
///
/// A missing `Origin` is allowed: it is no browser, or a page of the same origin, and what it may do is decided by its
/// token. In development mode everybody is allowed to do much, so the host must be a loopback one: else a foreign name
/// that resolves to 127.0.0.1 would give its pages the server (DNS rebinding).
pub(crate) fn admit(access: &Access, facts: &Facts<'_>) -> Result<(), Refusal> {
    // RFC 9112 §3.2: of two hosts a proxy in front may have looked at the other one.
    let hosts = facts.count("host");
    if hosts > 1 || hosts == 0 && facts.minor_version == 1 {
        return Err(Refusal::new(Code::InvalidMessage, "a request has one Host header"));
    }
    let host = facts.host();
    if access.development && !host.is_some_and(|host| is_loopback(name_of(host))) {
        let sentence = "in development mode the server answers to loopback hosts only";
        return Err(Refusal::new(Code::OriginRefused, sentence));
    }
    match (facts.count("origin"), facts.one("origin")) {
        (0, _) => Ok(()),
        (1, Some(origin)) if may_connect(access, origin, host) => Ok(()),
        _ => Err(Refusal::new(Code::OriginRefused, "Not allowed by CORS")),
    }
}

/// Who sent it.
///
/// # Errors
/// 401 in the words of the seed (§10.1).
pub(crate) fn identify(app: &App, facts: &Facts<'_>, peer: IpAddr) -> Result<Identity, Refusal> {
    let access = app.access();
    let address = Some(client_address(&access.trusted_proxies, facts, peer));
    let stranger = Identity { address, ..Identity::default() };
    match token(&app.auth, facts) {
        Some(token) => Ok(Identity { address, ..app.auth.verify(&token)? }),
        None if access.anonymous => Ok(stranger),
        None => Err(app.auth.missing()),
    }
}

/// Whether a request may be made now from where it comes. Asked before any cryptography: strangers who bring tokens that
/// are none pay for it.
///
/// # Errors
/// 429.
pub(crate) fn pass(app: &App, facts: &Facts<'_>, peer: IpAddr) -> Result<(), Refusal> {
    let address = Some(client_address(&app.access().trusted_proxies, facts, peer));
    app.limiter.pass(&Identity { address, ..Identity::default() }, Asking::Request)
}

/// How a token begins that stands among the subprotocols of a WebSocket, where browsers let pages say something.
const SUBPROTOCOL: &str = "denrei.token.";

/// What a request brings as its token: what is said on purpose comes before what a browser sends by itself.
fn token<'a>(auth: &Auth, facts: &Facts<'a>) -> Option<Cow<'a, str>> {
    let bearer = || {
        let (scheme, token) = facts.one("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
    };
    let offered = || {
        let mut offers = facts.all("sec-websocket-protocol").flat_map(|offers| offers.split(','));
        offers.find_map(|offer| offer.trim().strip_prefix(SUBPROTOCOL)).map(Cow::Borrowed)
    };
    let kept = || {
        let known = auth.known();
        let name = known.cookie()?;
        let mut cookies = facts.all("cookie").flat_map(|cookies| cookies.split(';'));
        cookies.find_map(|cookie| cookie.trim().strip_prefix(name)?.strip_prefix('=')).map(Cow::Borrowed)
    };
    bearer().or_else(offered).or_else(|| facts.parameter("token")).or_else(kept)
}

/// What tells a browser that an admitted page may read the answer; nothing where no page asks.
pub(crate) fn cors(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let Some(origin) = facts.one("origin") else { return Vec::new() };
    vec![
        ("access-control-allow-origin", origin.to_owned()),
        ("access-control-allow-credentials", "true".to_owned()),
        ("access-control-expose-headers", "denrei-position, etag, retry-after, x-request-id".to_owned()),
        ("vary", "origin".to_owned()),
    ]
}

fn may_connect(access: &Access, origin: &str, host: Option<&str>) -> bool {
    let listed = access.origins.iter().any(|allowed| fits(allowed, origin))
        || access.allow_origin.as_ref().is_some_and(|AllowOrigin(allow)| allow(origin));
    // Browsers write an origin without a path, in lower case; `null` is a page that is nobody's.
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let Some(authority) = authority.filter(|authority| !authority.contains(['/', '@', '?', '#'])) else {
        return listed;
    };
    listed
        || host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
        || (access.development && is_loopback(name_of(authority)))
}

/// Whether an origin is one that is allowed: the same, or below `*.` of the same scheme and port.
fn fits(allowed: &str, origin: &str) -> bool {
    let Some((scheme, domain)) = allowed.split_once("://*") else { return allowed == origin };
    let Some(authority) = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) else { return false };
    // The domain begins with its dot: `https://evil-app.example` is not below `*.app.example`.
    let label = domain.starts_with('.').then(|| authority.strip_suffix(domain)).flatten();
    label.is_some_and(|label| !label.is_empty() && !label.contains(['/', '@', '?', '#', ':']))
}

/// The host without its port.
fn name_of(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.find(']').map_or(authority, |end| &authority[..=end]);
    }
    authority.split(':').next().unwrap_or(authority)
}

fn is_loopback(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost"
        || name.strip_suffix(".localhost").is_some_and(|label| !label.is_empty())
        || name == "[::1]"
        || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
