//! Where a PostgreSQL database is, and who we are there.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::StoreError;

/// A database on a PostgreSQL server: `postgres://user:password@host:port/database`, also `postgresql://`.
///
/// With `?sslmode=require` or `?sslmode=verify-full` the connection is encrypted, and the server's certificate is checked
/// against the system's authorities, or those in the file that `sslrootcert` names. The password is shown by neither
/// `Debug` nor `Display`.
#[derive(Clone)]
pub struct PostgresUrl {
    config: Box<Config>,
    encryption: Option<Arc<ClientConfig>>,
}

impl PostgresUrl {
    /// Takes a text as such a URL.
    ///
    /// # Errors
    /// [`StoreError::Url`] says what is wrong with it, without quoting it.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        parse(text).map_err(|reason| StoreError::Url { reason })
    }

    pub(super) async fn connect(&self) -> Result<Client, Error> {
        match &self.encryption {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                drive(connection);
                Ok(client)
            }
            Some(encryption) => {
                let tls = MakeRustlsConnect::new(ClientConfig::clone(encryption));
                let (client, connection) = self.config.connect(tls).await?;
                drive(connection);
                Ok(client)
            }
        }
    }
}

/// The task ends when the client is dropped or the server is gone; the client reports either.
fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the database has ended");
        }
    });
}

fn parse(text: &str) -> Result<PostgresUrl, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    if scheme != "postgres" && scheme != "postgresql" {
        return Err("it is not postgres://user:password@host:port/database".into());
    }
    // The parts of a URL that is cut in the wrong places could be shown as a host or an option.
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if rest.matches('@').count() > authority.matches('@').count().min(1) {
        return Err("in a user's name and password @, /, ?, # and % are written %40, %2F, %3F, %23 and %25".into());
    }
    let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (ours, theirs): (Vec<_>, Vec<_>) = query
        .split('&')
        .filter(|option| !option.is_empty())
        .partition(|option| matches!(option.split('=').next(), Some("sslmode" | "sslrootcert")));
    let option = |name: &str| {
        let found = ours.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
        found.map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned())
    };
    let encrypted = match option("sslmode").as_deref() {
        None | Some("disable") => false,
        Some("require" | "verify-full") => true,
        Some(_) => return Err("sslmode is disable, require or verify-full".into()),
    };
    let authorities = option("sslrootcert");
    if authorities.is_some() && !encrypted {
        return Err("sslrootcert goes with sslmode=verify-full".into());
    }
    let url = format!("postgres://{base}?{}", theirs.join("&"));
    let mut config = Config::from_str(&url).map_err(|error| super::transaction::full(&error))?;
    if config.get_hosts().is_empty() {
        return Err("it names no host".into());
    }
    config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
    // A server that is gone without a word is noticed also where nothing is asked of it.
    config.keepalives_idle(Duration::from_secs(30));
    if config.get_application_name().is_none() {
        config.application_name("denrei");
    }
    let encryption = encrypted.then(|| encryption(authorities.as_deref())).transpose()?;
    Ok(PostgresUrl { config: Box::new(config), encryption })
}

fn encryption(authorities: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None | Some("system") => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
        Some(path) => {
            let read = CertificateDer::pem_file_iter(Path::new(path)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let found = read.map_err(|error| format!("sslrootcert: {path} cannot be read: {error}"))?;
            roots.add_parsable_certificates(found);
        }
    }
    if roots.is_empty() {
        return Err("there are no certificates of authorities to check the server's with: say sslrootcert=FILE".into());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

impl fmt::Display for PostgresUrl {
    /// Where it is, without who we are there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        for (at, host) in self.config.get_hosts().iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match host {
                Host::Tcp(host) => write!(f, "{comma}{host}")?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
            }
            let ports = self.config.get_ports();
            if let Some(port) = ports.get(at).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.config.get_dbname().or(self.config.get_user()).unwrap_or_default())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresUrl").field(&self.to_string()).finish()
    }
}

#[cfg(test)]
mod tests;
