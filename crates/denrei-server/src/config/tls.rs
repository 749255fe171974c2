//! A listener of TLS: `[tls]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use denrei::Tls;

use crate::file;

/// Where TLS is spoken, and with what.
#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Tls,
    certificate: PathBuf,
    key: PathBuf,
}

impl Secure {
    /// Where the key is.
    pub(crate) fn key(&self) -> &Path {
        &self.key
    }

    /// Takes the certificate and the key of other settings for connections from now on.
    pub(crate) fn replace(&self, other: &Self) -> Result<(), String> {
        let (certificate, key) = (read("certificate", &other.certificate)?, read("key", &other.key)?);
        self.tls.replace(&certificate, &key).map_err(|error| format!("tls: {error}"))
    }
}

/// Puts together what was said.
pub(super) fn resolve(file: file::Tls) -> Result<Option<Secure>, String> {
    let (listen, certificate, key) = match (file.listen, file.certificate, file.key) {
        (None, None, None) => return Ok(None),
        (Some(listen), Some(certificate), Some(key)) => (listen, certificate, key),
        _ => return Err("tls: listen, certificate and key go together".into()),
    };
    let tls = Tls::new(&read("certificate", &certificate)?, &read("key", &key)?);
    let tls = tls.map_err(|error| format!("tls: {error}"))?;
    Ok(Some(Secure { listen, tls, certificate, key }))
}

fn read(setting: &str, path: &PathBuf) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("tls.{setting}: {}: {error}", path.display()))
}
