//! The official client's files, for pages that load them from the server: `/socket.io/socket.io.js` and its like.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use denrei_hub::random_token;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Response, StatusCode};

use crate::socketio::opening::{accepts, gzip};

/// What the npm package `socket.io-client` has in its `dist`, and what the server of Node serves.
const NAMES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
];

/// The files, read once. Nothing else of their folder can be asked for.
#[derive(Default)]
pub(crate) struct Bundle {
    files: BTreeMap<&'static str, File>,
    /// New with each start: the files do not change in between.
    tag: String,
}

struct File {
    plain: Bytes,
    gzip: Bytes,
}

impl Bundle {
    /// Reads what a folder has of them.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        for name in NAMES {
            if let Ok(plain) = std::fs::read(folder.join(name)) {
                let gzip = gzip(&plain).into();
                files.insert(name, File { plain: plain.into(), gzip });
            }
        }
        if files.is_empty() {
            tracing::warn!(folder = %folder.display(), "there are no client files");
        }
        Self { files, tag: format!("\"{}\"", random_token(12)) }
    }

    /// Answers a request for a file; none where it has none of this name.
    pub(crate) fn answer(&self, name: &str, headers: &HeaderMap) -> Option<Response<axum::body::Body>> {
        let file = self.files.get(name)?;
        let said = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or("");
        let builder = Response::builder().header(CACHE_CONTROL, "public, max-age=0").header(ETAG, &self.tag);
        if said(IF_NONE_MATCH).contains(&self.tag) {
            return builder.status(StatusCode::NOT_MODIFIED).body(axum::body::Body::empty()).ok();
        }
        let kind = if name.ends_with(".map") { "application/json" } else { "application/javascript; charset=utf-8" };
        let builder = builder.header(CONTENT_TYPE, kind).header(VARY, "accept-encoding");
        if accepts(said(ACCEPT_ENCODING), "gzip") {
            return builder.header(CONTENT_ENCODING, "gzip").body(file.gzip.clone().into()).ok();
        }
        builder.body(file.plain.clone().into()).ok()
    }
}
