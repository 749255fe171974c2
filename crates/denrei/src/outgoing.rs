//! Requests that the server makes itself: few, short, and to addresses that the operator has configured.
//!
//! No redirect is followed: an address that was checked must not lead to one that was not.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::spans::{self, TRACEPARENT};

/// The longest answer that is read.
const LONGEST: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Fetches what is at an address.
///
/// # Errors
/// A sentence for the operator.
pub(crate) async fn get(address: &str) -> Result<Bytes, String> {
    let request = Request::get(checked(address)?).header("accept", "application/json").body(Full::default());
    ask(request.map_err(|error| error.to_string())?, PATIENCE).await
}

/// Sends JSON to an address, and waits for the answer.
///
/// # Errors
/// A sentence for the operator.
pub(crate) async fn post(address: &str, json: Vec<u8>, patience: Duration) -> Result<Bytes, String> {
    let request = Request::post(checked(address)?).header("content-type", "application/json");
    ask(request.body(Full::new(json.into())).map_err(|error| error.to_string())?, patience).await
}

/// Sends JSON to an address with these headers; any answer of success will do.
///
/// # Errors
/// A sentence for the operator.
pub(crate) async fn post_signed(
    address: &str,
    json: Bytes,
    headers: &[(&str, String)],
    patience: Duration,
) -> Result<(), String> {
    let mut request = Request::post(checked(address)?).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(json)).map_err(|error| error.to_string())?;
    let answer = async {
        let answer = client().request(request).await.map_err(|error| explained(&error))?;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()));
        }
        Ok(())
    };
    let patience = tokio::time::timeout(patience, answer).await;
    patience.unwrap_or_else(|_| Err("there was no answer in time".into()))
}

/// Whether requests may go to an address: with `https`, or to this machine.
///
/// # Errors
/// A sentence for the operator.
pub(crate) fn checked(address: &str) -> Result<Uri, String> {
    let uri: Uri = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let host = uri.host().unwrap_or_default();
    let here = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(uri),
        Some("http") if here => Ok(uri),
        _ => Err(format!("{address} is not https://…, nor http:// on this machine")),
    }
}

/// What may be logged of an address: its path may hold a secret.
pub(crate) fn host(address: &str) -> String {
    address.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default()
}

async fn ask(mut request: Request<Full<Bytes>>, patience: Duration) -> Result<Bytes, String> {
    if let Some(value) = spans::traceparent() {
        request.headers_mut().insert(TRACEPARENT, value);
    }
    let answer = async {
        let answer = client().request(request).await.map_err(|error| explained(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    };
    let patience = tokio::time::timeout(patience, answer).await;
    patience.unwrap_or_else(|_| Err("there was no answer in time".into()))
}

/// The whole chain of reasons: the first is "client error (Connect)".
fn explained(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        sentence.push_str(&format!(": {reason}"));
        source = reason.source();
    }
    sentence
}

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client() -> &'static Https {
    static CLIENT: OnceLock<Https> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let https = HttpsConnectorBuilder::new().with_native_roots().unwrap_or_else(|error| {
            tracing::warn!(%error, "this machine has no root certificates: nobody at https:// is trusted");
            HttpsConnectorBuilder::new().with_tls_config(trusting_nobody())
        });
        Client::builder(TokioExecutor::new()).build(https.https_or_http().enable_http1().build())
    })
}

fn trusting_nobody() -> rustls::ClientConfig {
    rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}
