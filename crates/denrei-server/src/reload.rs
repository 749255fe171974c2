//! SIGHUP: the settings are read again, and what can change while the server runs changes.

use std::collections::BTreeSet;
use std::io;

use denrei::Denrei;
use tokio::signal::unix::{SignalKind, signal};
use toml::{Table, Value};

use crate::cli::Options;
use crate::config::{self, Secure, Settings};
use crate::logs;
use crate::secret;
use crate::serve::bound_connections;

/// Reads the settings again at each SIGHUP. Settings that are not in order change nothing.
pub(crate) fn whenever_asked(
    denrei: Denrei,
    options: Options,
    tls: Option<Secure>,
    begun: Begun,
) -> io::Result<impl Future<Output = ()>> {
    let mut asked = signal(SignalKind::hangup())?;
    Ok(async move {
        while asked.recv().await.is_some() {
            match reload(&denrei, &options, tls.as_ref(), &begun) {
                Ok(()) => tracing::info!("the settings were read again"),
                Err(error) => tracing::error!(%error, "the settings stay as they are"),
            }
        }
    })
}

fn reload(denrei: &Denrei, options: &Options, tls: Option<&Secure>, begun: &Begun) -> Result<(), String> {
    let mut settings = config::resolve(options)?;
    if settings.config.access.development != begun.development {
        return Err("development mode begins and ends with a start of the server".into());
    }
    settings.config.access.secret = Some(secret::find_or_make(&settings)?);
    bound_connections(&mut settings.config, begun.files);
    if let (Some(tls), Some(new)) = (tls, &settings.tls) {
        tls.replace(new)?;
    }
    logs::set_filter(&settings.log.level)?;
    for setting in begun.changed(options)? {
        tracing::warn!(setting, "this has changed, and takes a restart");
    }
    denrei.reload(settings.config);
    Ok(())
}

/// What holds until the server ends, as it was at the start.
pub(crate) struct Begun {
    development: bool,
    files: Option<u64>,
    fixed: Table,
}

impl Begun {
    /// # Errors
    /// The file of settings cannot be read.
    pub(crate) fn new(options: &Options, settings: &Settings, files: Option<u64>) -> Result<Self, String> {
        Ok(Self { development: settings.config.access.development, files, fixed: fixed(options)? })
    }

    /// What is another in the file now, and takes a restart.
    fn changed(&self, options: &Options) -> Result<Vec<String>, String> {
        let now = fixed(options)?;
        let names: BTreeSet<_> = self.fixed.keys().chain(now.keys()).collect();
        Ok(names.into_iter().filter(|name| self.fixed.get(*name) != now.get(*name)).cloned().collect())
    }
}

/// What the file says, without what may change.
fn fixed(options: &Options) -> Result<Table, String> {
    const LIVE: [&str; 5] = ["origins", "trusted_proxies", "auth", "rates", "limits"];
    const PARTS: [(&str, &[&str]); 2] = [("tls", &["certificate", "key"]), ("log", &["level"])];
    let mut table = config::table(options)?;
    table.retain(|name, _| !LIVE.contains(&name));
    for (section, parts) in PARTS {
        if let Some(Value::Table(said)) = table.get_mut(section) {
            said.retain(|name, _| !parts.contains(&name));
            if said.is_empty() {
                table.remove(section);
            }
        }
    }
    Ok(table)
}
