//! How the SDK sends: on a thread of its own that knows no runtime, so that requests are tasks of ours.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use http::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

/// The SDK's own limit for an export, which it may be told to be shorter.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    runtime: Handle,
    inner: HyperClient<HttpsConnector<HttpConnector>>,
}

impl Client {
    pub(crate) fn new(runtime: &Handle) -> Self {
        let https = HttpsConnectorBuilder::new().with_native_roots().unwrap_or_else(|error| {
            tracing::warn!(%error, "this machine has no root certificates: no collector at https:// is trusted");
            let nobody = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(nobody)
        });
        let connector = https.https_or_http().enable_http1().build();
        Self { runtime: runtime.clone(), inner: HyperClient::new(connector, PATIENCE, None) }
    }
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
