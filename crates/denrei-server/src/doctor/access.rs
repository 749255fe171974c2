//! Who may come in, and what rooms promise.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use denrei_hub::Keep;

use super::{Report, is_public};
use crate::cli::Options;
use crate::config::{Database, Settings};

/// What is allowed that may not be meant to be.
pub(super) fn settings(report: &mut Report, options: &Options, settings: &Settings) {
    let access = &settings.config.access;
    if access.development {
        report.warn(
            "access",
            "development mode: whoever is on this machine needs no token",
            "for others, set DENREI_SECRET to at least 32 random bytes",
        );
    } else if access.anonymous {
        report.warn("access", "clients need no token", "anonymous = false in [auth], unless this is meant");
    } else {
        report.ok("access", "clients need a token");
    }
    secret(report, options, settings);
    if is_public(settings.listen) && access.trusted_proxies.is_empty() {
        report.warn(
            "encryption",
            format!(
                "{} can be reached by others, and no proxy is trusted: tokens may travel in the clear",
                settings.listen
            ),
            "have clients come by [tls], or by a proxy that is named in trusted_proxies (deploy/nginx)",
        );
    }
    if let Some(secure) = &settings.tls {
        match is_open(secure.key()) {
            true => report.error(
                "tls",
                format!("{} is the key, and others may read it", secure.key().display()),
                format!("chmod 600 {}", secure.key().display()),
            ),
            false => report.ok("tls", "the certificate and its key go together"),
        }
        certificate(report, secure.tls.ends());
    }
    for origin in access.origins.iter().filter(|origin| is_wide(origin)) {
        report.warn("origins", format!("{origin} lets in pages of strangers"), "name the origins of your own pages");
    }
    let rates = &settings.config.rates;
    if !access.development && rates.connection.is_none() && rates.user.is_none() && rates.address.is_none() {
        report.warn("rates", "nobody is kept from asking too often", "enabled = true in [rates]");
    }
}

/// Whether the certificate is good for a while.
fn certificate(report: &mut Report, ends: Option<SystemTime>) {
    const DAY: u64 = 24 * 3600;
    const ADVICE: &str = "renew it, and send the server a SIGHUP: it takes the new one without a restart";
    let Some(ends) = ends else { return };
    match ends.duration_since(SystemTime::now()).map(|left| left.as_secs() / DAY) {
        Ok(days @ 0..14) => report.warn("certificate", format!("ends in {days} days"), ADVICE),
        Ok(days) => report.ok("certificate", format!("is good for {days} days")),
        Err(_) => report.error("certificate", "has ended: no client takes it", ADVICE),
    }
}

fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

/// `*` in place of a name that somebody owns.
fn is_wide(origin: &str) -> bool {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    host.strip_prefix('*').is_some_and(|rest| rest.matches('.').count() < 2)
}

fn secret(report: &mut Report, options: &Options, settings: &Settings) {
    let file = options.config.as_deref().unwrap_or(Path::new("denrei.toml"));
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let written = text.parse::<toml::Table>().ok().and_then(|table| {
        let auth = table.get("auth")?.as_table()?;
        auth.get("secret")?.as_str().map(str::to_owned)
    });
    if written.is_some() && is_open(file) {
        let finding = format!("{} holds the secret, and others may read it", file.display());
        report.warn("secret", finding, format!("chmod 600 {}", file.display()));
    }
    let generated = settings.data.join("secret");
    match options.secret.as_ref().or(written.as_ref()) {
        Some(secret) if is_weak(secret) => {
            report.warn("secret", "is not random: others may guess it", "make one: openssl rand -base64 48");
        }
        Some(_) => report.ok("secret", "is configured"),
        None if settings.config.access.tokens.has_keys() => report.ok("secret", "tokens are signed by others"),
        None if is_open(&generated) => {
            let finding = format!("{} may be read by others", generated.display());
            report.error(
                "secret",
                finding,
                format!("chmod 600 {}, or remove it to have a new one", generated.display()),
            );
        }
        None if generated.exists() => report.ok("secret", format!("is in {}", generated.display())),
        None => report.ok("secret", format!("will be generated into {}", generated.display())),
    }
}

/// Few different bytes, as somebody types them.
fn is_weak(secret: &str) -> bool {
    let mut bytes = secret.as_bytes().to_vec();
    bytes.sort_unstable();
    bytes.dedup();
    bytes.len() < 10
}

/// Which column of `docs/guarantees.md` holds for each class.
pub(super) fn guarantees(report: &mut Report, settings: &Settings) {
    let memory = match settings.bus {
        Some(_) => "its window is kept by the broker for all nodes, and goes with it",
        None => "its window is kept by this process, and goes with it; readers are told",
    };
    let store = match settings.database {
        Database::Sqlite(_) => "acknowledged means committed and fsynced (SQLite)",
        Database::Postgres(_) => "acknowledged means committed and flushed by the server (PostgreSQL)",
    };
    for (name, class) in settings.config.hub.classes.named() {
        let promise = match class.keep {
            Keep::None => "nothing is kept: at most once".to_owned(),
            Keep::Memory(window) => {
                let (events, seconds) = (window.events, window.age.as_secs());
                format!("at least once within {events} events and {seconds} s; {memory}")
            }
            Keep::Store(None) => format!("at least once, for ever; {store}"),
            Keep::Store(Some(age)) => format!("at least once within {} s; {store}", age.as_secs()),
        };
        report.ok("guarantees", format!("{name}: {promise}"));
    }
}
