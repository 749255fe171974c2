//! The facts of a request, whoever parsed it: the front door or hyper.

use std::borrow::Cow;

use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::front::Secure;

/// A request's head, borrowed.
pub(crate) struct Facts<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// The 1 of HTTP/1.1; 2 stands for HTTP/2.
    pub(crate) minor_version: u8,
    /// Whether it came by TLS.
    pub(crate) secure: bool,
    /// The host of HTTP/2's `:authority`, where there is one.
    authority: Option<&'a str>,
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Facts<'a> {
    /// From httparse.
    pub(crate) fn parsed(
        method: &'a str,
        target: &'a str,
        minor_version: u8,
        headers: &[httparse::Header<'a>],
    ) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = headers.iter().map(|header| (header.name, header.value)).collect();
        Self { method, path, query, minor_version, secure: false, authority: None, headers }
    }

    /// From hyper.
    pub(crate) fn of(parts: &'a Parts) -> Self {
        Self {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or(""),
            minor_version: match parts.version {
                http::Version::HTTP_09 | http::Version::HTTP_10 => 0,
                http::Version::HTTP_11 => 1,
                _ => 2,
            },
            secure: parts.extensions.get::<Secure>() == Some(&Secure::Yes),
            authority: parts.uri.authority().map(http::uri::Authority::as_str),
            headers: parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
        }
    }

    /// A header's values as text, in order; values that are not text are left out.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = move |(other, _): &&(&'a str, &'a [u8])| other.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// A header's value, if exactly one line of it is text.
    pub(crate) fn one(&self, name: &str) -> Option<&'a str> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// How many lines a header has, those that are not text included.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).count()
    }

    /// The host that the client asked for.
    pub(crate) fn host(&self) -> Option<&'a str> {
        self.authority.or_else(|| self.one("host"))
    }

    /// The pairs of the query, decoded, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        parameters(self.query)
    }

    /// A query parameter's values, decoded, in order.
    pub(crate) fn parameters(&self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        parameters(self.query).filter(move |(other, _)| other == name).map(|(_, value)| value)
    }

    /// A query parameter's first value, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        self.parameters(name).next()
    }
}

/// The parameters of a query (WHATWG URL, `application/x-www-form-urlencoded`). What is not UTF-8 is replaced, and
/// refused later where a name is expected.
fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent_decode_str(&spaced).decode_utf8_lossy().into_owned().into();
    }
    percent_decode_str(text).decode_utf8_lossy()
}
