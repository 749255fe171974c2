//! What is known of a client since its first request.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::app::now_ms;
use crate::identity::Identity;

/// The request that began a connection. All sockets of the client share it.
#[derive(Debug)]
pub struct Handshake {
    /// One text, because an idle connection keeps it: `name: value` lines.
    headers: Box<str>,
    url: Box<str>,
    address: IpAddr,
    secure: bool,
    issued: u64,
    identity: Identity,
}

impl Handshake {
    /// Keeps of a request what sockets show. `url` is its path with the query.
    pub(crate) fn new<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        url: &str,
        address: IpAddr,
        secure: bool,
        identity: Identity,
    ) -> Self {
        let mut lines = String::with_capacity(256);
        for (name, value) in headers {
            lines.extend(name.bytes().map(|byte| char::from(byte.to_ascii_lowercase())));
            lines.push_str(": ");
            // A header's value has no line breaks; other bytes than ASCII are Latin-1, as in Node.
            lines.extend(value.iter().copied().map(char::from));
            lines.push('\n');
        }
        Self { headers: lines.into(), url: url.into(), address, secure, issued: now_ms(), identity }
    }

    /// The same client, who has shown in a namespace who it is.
    pub(crate) fn identified(&self, identity: Identity) -> Self {
        Self { identity, headers: self.headers.clone(), url: self.url.clone(), ..*self }
    }

    /// A header's value; its name in lower case. Of several the first.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All headers, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.lines().filter_map(|line| line.split_once(": "))
    }

    /// A parameter of the query, decoded; of several the last, as in Node.
    pub fn query(&self, name: &str) -> Option<String> {
        self.queries().filter(|(known, _)| known == name).map(|(_, value)| value).last()
    }

    /// All parameters of the query, decoded.
    pub fn queries(&self) -> impl Iterator<Item = (String, String)> {
        let query = self.url.split_once('?').map_or("", |(_, query)| query);
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(value))
        })
    }

    /// The path and query of the request.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn path_without_token(&self) -> String {
        let Some((path, query)) = self.url.split_once('?') else { return self.url.to_string() };
        // As it is written, or with escapes.
        let is_token = |pair: &&str| unescape(pair.split('=').next().unwrap_or_default()) == "token";
        let rest: Vec<_> = query.split('&').filter(|pair| !is_token(pair)).collect();
        format!("{path}?{}", rest.join("&"))
    }

    /// Where the client is.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether it came over TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether a page sent it: it has an origin.
    pub fn is_cross_domain(&self) -> bool {
        self.header("origin").is_some()
    }

    /// When it began, in ms since 1970.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// Who the client is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The handshake as Node's nodes and the Admin UI read it, without what the client showed who it is with.
    pub fn to_json(&self, auth: &Value) -> Value {
        let text = |pairs: &mut dyn Iterator<Item = (String, String)>| -> Map<String, Value> {
            pairs.map(|(name, value)| (name, value.into())).collect()
        };
        json!({
            "headers": text(&mut self.headers().filter(|(name, _)| !SECRET_HEADERS.contains(name)).map(owned)),
            "time": date(self.issued),
            "address": self.address.to_string(),
            "xdomain": self.is_cross_domain(),
            "secure": self.secure,
            "issued": self.issued,
            "url": self.path_without_token(),
            "query": text(&mut self.queries().filter(|(name, _)| name != "token")),
            "auth": without_token(auth),
        })
    }
}

/// What tells of a client who it is.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "sec-websocket-protocol"];

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn without_token(auth: &Value) -> Value {
    let mut auth = auth.clone();
    if let Some(auth) = auth.as_object_mut() {
        auth.remove("token");
    }
    auth
}

fn unescape(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// A time as JavaScript writes it: `Fri Jun 26 2026 12:00:00 GMT+0000 (Coordinated Universal Time)`.
fn date(ms: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    // Years that begin in March have their leap day at the end: "days from civil", H. Hinnant.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = (march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let weekday = DAYS[(days % 7) as usize];
    let month = MONTHS[month as usize];
    format!("{weekday} {month} {day:02} {year} {hour:02}:{minute:02}:{second:02} GMT+0000 (Coordinated Universal Time)")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_written_as_javascript_writes_them() {
        assert_eq!(date(0), "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)");
        assert_eq!(date(1_709_210_096_000), "Thu Feb 29 2024 12:34:56 GMT+0000 (Coordinated Universal Time)");
        assert_eq!(date(1_782_475_200_000), "Fri Jun 26 2026 12:00:00 GMT+0000 (Coordinated Universal Time)");
    }
}
