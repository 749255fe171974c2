//! How the SDK sends: on a thread of its own that knows no runtime, so that requests are tasks of ours.

use std::fmt;
use std::pin::Pin;

use http::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

use crate::OtlpConfig;

pub(crate) struct Client {
    runtime: Handle,
    inner: HyperClient<HttpsConnector<HttpConnector>>,
}

impl Client {
    pub(crate) fn new(config: &OtlpConfig, runtime: &Handle) -> Self {
        let builder = HttpsConnectorBuilder::new();
        let https = if config.address.starts_with("https:") {
            builder.with_native_roots().unwrap_or_else(|error| {
                tracing::warn!(%error, "this machine has no root certificates: no collector is trusted");
                HttpsConnectorBuilder::new().with_tls_config(trusting_nobody())
            })
        } else {
            builder.with_tls_config(trusting_nobody())
        };
        let connector = https.https_or_http().enable_http1().build();
        Self { runtime: runtime.clone(), inner: HyperClient::new(connector, config.timeout, None) }
    }
}

fn trusting_nobody() -> ClientConfig {
    ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl HttpClient for Client {
    // What `async_trait` makes of an async function.
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let inner = self.inner.clone();
        let sending = self.runtime.spawn(async move { inner.send_bytes(request).await });
        Box::pin(async move { sending.await? })
    }
}
