//! The bytes of a file. What a stranger has uploaded is shown by a browser only where it draws or plays; everything else
//! is saved, and nothing of it runs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use denrei_proto::codes::Code;
use denrei_store::files::File;
use denrei_store::objects::ObjectError;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::may_read;
use super::range::{Sent, asked};
use crate::admission;
use crate::app::{App, now_ms};
use crate::facts::Facts;
use crate::files::{Files, Part, kind, no_file, thumbnail_key, unavailable};
use crate::refusal::Refusal;

/// How long a bucket's own address is good.
const REDIRECTED: Duration = Duration::from_secs(300);

/// `GET /api/files/{id}/content`
pub(super) async fn content(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    serve(&app, id, request, Part::Content).await
}

/// `GET /api/files/{id}/thumbnail`
pub(super) async fn thumbnail(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    serve(&app, id, request, Part::Thumbnail).await
}

/// How somebody came to a file.
#[derive(Clone, Copy)]
enum By {
    /// A link that is good until then, in ms since 1970: whoever has it may follow it, and pages anywhere may show it.
    Link(u64),
    Identity,
}

async fn serve(
    app: &Arc<App>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
    part: Part,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let files = app.files()?;
    let Path(id) = id.map_err(|_| no_file())?;
    let (file, by) = admitted(app, files, &parts, &id, part, super::super::peer(&parts)).await?;
    let (key, kind, bytes) = match part {
        Part::Content => (file.id.to_string(), &*file.kind, Some(file.bytes)),
        Part::Thumbnail => (thumbnail_key(&file.id), file.thumbnail.as_deref().ok_or_else(no_file)?, None),
    };
    let headers = headers(&file, kind, part, by);
    if files.config.redirect {
        let permitted = files.objects.permit_get(&key, kind, &disposition(&file, kind), REDIRECTED).await;
        if let Some(url) = permitted {
            let url = url.map_err(unavailable)?;
            return Ok((StatusCode::FOUND, [(LOCATION, url), (CACHE_CONTROL, "no-store".to_owned())]).into_response());
        }
    }
    let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    let known = parts.headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    if known
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.trim_start_matches("W/") == tag)
    {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let bytes = match bytes {
        Some(bytes) => bytes,
        None => files.objects.size(&key).await.map_err(gone)?,
    };
    // What was read before may be of another file (RFC 9110 §13.1.5); here that cannot be, but the tag has to be known.
    let is_same = parts.headers.get(IF_RANGE).is_none_or(|known| known.as_bytes() == tag.as_bytes());
    let range = parts.headers.get(RANGE).and_then(|range| range.to_str().ok()).filter(|_| is_same);
    let (status, range, headers) = match asked(range, bytes) {
        Sent::All => (StatusCode::OK, 0..bytes, headers),
        Sent::Nothing => {
            let length = [(CONTENT_RANGE, format!("bytes */{bytes}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, length, headers).into_response());
        }
        Sent::Part(range) => {
            let said = format!("bytes {}-{}/{bytes}", range.start, range.end - 1);
            let mut headers = headers;
            headers.insert(CONTENT_RANGE, HeaderValue::from_str(&said).map_err(|_| no_file())?);
            (StatusCode::PARTIAL_CONTENT, range, headers)
        }
    };
    let length = [(CONTENT_LENGTH, (range.end - range.start).to_string())];
    if parts.method == Method::HEAD {
        return Ok((status, length, headers).into_response());
    }
    let pieces = files.objects.read(&key, range).await.map_err(gone)?;
    Ok((status, length, headers, Body::from_stream(pieces)).into_response())
}

/// Finds the file, if who asks has a link to it or may read it.
async fn admitted(
    app: &Arc<App>,
    files: &Files,
    parts: &Parts,
    id: &str,
    part: Part,
    from: IpAddr,
) -> Result<(File, By), Refusal> {
    let facts = Facts::of(parts);
    admission::pass(app, &facts, from)?;
    let stored = async || files.find(id).await?.filter(|file| file.is_stored).ok_or_else(no_file);
    if let Some(signature) = facts.parameter("signature") {
        let expires = facts.parameter("expires").unwrap_or_default();
        if !files.is_good(id, part, &expires, &signature) {
            return Err(Refusal::new(Code::Forbidden, "the link has ended, or was never one: ask for the file again"));
        }
        return Ok((stored().await?, By::Link(expires.parse().unwrap_or_default())));
    }
    let identity = admission::identify(app, &facts, from)?;
    let file = stored().await?;
    may_read(app, &identity, &file).await?;
    Ok((file, By::Identity))
}

fn headers(file: &File, kind: &str, part: Part, by: By) -> HeaderMap {
    // A browser that has a link may keep what it found until the link ends; who came by name asks again each time, and
    // may have been shown out.
    let (cache, sharing) = match by {
        By::Link(expires) => {
            let left = expires.saturating_sub(now_ms()) / 1000;
            (format!("private, max-age={left}, immutable"), "cross-origin")
        }
        By::Identity => ("private, no-cache".to_owned(), "same-origin"),
    };
    let tag = match part {
        Part::Content => format!("\"{}\"", file.id),
        Part::Thumbnail => format!("\"{}-thumbnail\"", file.id),
    };
    let said = [
        (CONTENT_TYPE, kind.to_owned()),
        (CONTENT_DISPOSITION, disposition(file, kind)),
        (CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".to_owned()),
        (HeaderName::from_static("x-content-type-options"), "nosniff".to_owned()),
        (HeaderName::from_static("cross-origin-resource-policy"), sharing.to_owned()),
        (HeaderName::from_static("referrer-policy"), "no-referrer".to_owned()),
        (CACHE_CONTROL, cache),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (ETAG, tag),
    ];
    // What stands in none of them cannot be a header; but for the name all of it is ours, and the name is escaped.
    said.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(&value).ok()?))).collect()
}

/// RFC 6266, with the name as RFC 8187 writes it, and something for who does not read that.
fn disposition(file: &File, kind: &str) -> String {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let how = if kind::is_inline(kind) { "inline" } else { "attachment" };
    let plain = |sign: char| if sign.is_ascii_alphanumeric() || " -._()".contains(sign) { sign } else { '_' };
    let simple: String = file.name.chars().map(plain).collect();
    let whole = utf8_percent_encode(&file.name, PLAIN);
    format!("{how}; filename=\"{simple}\"; filename*=UTF-8''{whole}")
}

fn gone(error: ObjectError) -> Refusal {
    if let ObjectError::Missing = error {
        tracing::error!("a file's row has no object: was it removed by hand, or another folder or bucket set?");
        return no_file();
    }
    unavailable(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> File {
        File {
            id: "id".into(),
            name: name.into(),
            kind: "image/png".into(),
            bytes: 1,
            sha256: None,
            width: None,
            height: None,
            room: None,
            user: None,
            created_at: 0,
            thumbnail: None,
            is_stored: true,
        }
    }

    #[test]
    fn a_name_cannot_leave_its_header() {
        let said = disposition(&file("a\"; filename=x.html\r\nSet-Cookie: a=b"), "text/html");
        assert_eq!(
            said,
            "attachment; filename=\"a__ filename_x.html__Set-Cookie_ a_b\"; \
             filename*=UTF-8''a%22%3B%20filename%3Dx.html%0D%0ASet-Cookie%3A%20a%3Db"
        );
        assert!(HeaderValue::from_str(&said).is_ok());
    }

    #[test]
    fn a_name_in_any_language_arrives() {
        let said = disposition(&file("Grüße 東京.png"), "image/png");
        assert_eq!(
            said,
            "inline; filename=\"Gr__e __.png\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%E6%9D%B1%E4%BA%AC.png"
        );
    }
}
