//! TLS, with a certificate that is replaced while the server runs.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// A certificate and its key, for a listener. Versions 1.2 and 1.3, with HTTP/2 and HTTP/1.1. Clones are one.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<Served>>);

struct Served {
    config: Arc<ServerConfig>,
    /// When the first certificate of the chain ends, if that can be read.
    ends: Option<SystemTime>,
}

/// Why a certificate and a key cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTls(String);

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its key, both in PEM.
    ///
    /// # Errors
    /// They are none, or do not belong together.
    pub fn new(chain: &[u8], key: &[u8]) -> Result<Self, InvalidTls> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(configured(chain, key)?))))
    }

    /// Takes another one for connections from now on.
    ///
    /// # Errors
    /// As [`Tls::new`]; nothing has changed.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), InvalidTls> {
        self.0.store(Arc::new(configured(chain, key)?));
        Ok(())
    }

    /// When the certificate that is served now ends: no client takes it from then on. None when it does not say so in a way
    /// that can be read.
    pub fn ends(&self) -> Option<SystemTime> {
        self.0.load().ends
    }

    /// Agrees with a client on keys. The caller bounds the time.
    ///
    /// # Errors
    /// It is no client of TLS, or has gone.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(Arc::clone(&self.0.load().config)).accept(stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

/// Whether both sides agreed on HTTP/2.
pub(crate) fn is_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(H2)
}

const H2: &[u8] = b"h2";

fn configured(chain: &[u8], key: &[u8]) -> Result<Served, InvalidTls> {
    let wrong = |what: &str, why: &dyn fmt::Display| InvalidTls(format!("{what}: {why}"));
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| wrong("the certificate cannot be read", &error))?;
    let Some(own) = chain.first() else { return Err(InvalidTls("there is no certificate in PEM".into())) };
    let ends = ending(own);
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong("the key cannot be read", &error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("TLS", &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(|error| wrong("the certificate and the key cannot be served", &error))?;
    config.alpn_protocols = vec![H2.into(), b"http/1.1".into()];
    // Whoever comes back, as all do after a restart of the network, needs no signature.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| wrong("tickets", &error))?;
    Ok(Served { config: Arc::new(config), ends })
}

fn ending(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(UNIX_EPOCH + certificate.tbs_certificate.validity.not_after.to_unix_duration())
}

#[cfg(test)]
mod tests;
