//! What operators see: `[metrics]` and `[log]`.

use std::net::SocketAddr;

use denrei::{MetricsConfig, MetricsToken};
use denrei_hub::Name;

use crate::cli::Options;
use crate::file::{self, LogFormat};
use crate::logs;

/// Puts together what was said; returns where operators are served apart.
pub(super) fn metrics(
    file: file::Metrics,
    token: Option<&str>,
    config: &mut MetricsConfig,
) -> Result<Option<SocketAddr>, String> {
    let token = token.or(file.token.as_deref());
    config.token = token.map(MetricsToken::new).transpose().map_err(|error| format!("metrics.token: {error}"))?;
    for event in &file.events {
        Name::parse(event).map_err(|error| format!("metrics.events: {error}"))?;
    }
    // Each is a series or two, and scrapers keep all of them.
    if file.events.len() > 100 {
        return Err("metrics.events: at most 100".into());
    }
    config.events = file.events;
    if let Some(listen) = file.listen.filter(|listen| !listen.ip().is_loopback() && config.token.is_none()) {
        return Err(format!(
            "metrics.listen: {listen} can be reached by others: set metrics.token, or DENREI_METRICS_TOKEN in the environment"
        ));
    }
    Ok(file.listen)
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Logging {
    pub(crate) format: LogFormat,
    pub(crate) level: String,
}

pub(super) fn log(options: &Options, file: file::Log) -> Result<Logging, String> {
    let said = options.log.clone().filter(|level| !level.is_empty()).map(|level| ("DENREI_LOG", level));
    let (place, level) = said.or(file.level.map(|level| ("log.level", level))).unwrap_or(("", "info".into()));
    logs::filter(&level).map_err(|error| format!("{place}: {error}"))?;
    Ok(Logging { format: options.log_format.or(file.format).unwrap_or_default(), level })
}
