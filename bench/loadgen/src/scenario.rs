//! What can be measured.

mod connect;
mod echo;
mod fanout;
mod idle;

use std::{fmt::Display, time::Duration};

use crate::{
    clock::{Nanos, nanos},
    options::{Kind, Options},
    report::Report,
};

/// Runs the scenario that the options name.
///
/// # Errors
///
/// A sentence, when nothing could be measured.
pub(crate) fn run(options: &Options) -> Result<Report, String> {
    let mut report = Report::new();
    report.text("scenario", options.scenario.name());
    report.text("label", &options.label);
    report.text("proto", options.proto.name());
    let failures = match options.scenario {
        Kind::Fanout => fanout::run(options, &mut report)?,
        Kind::Echo => echo::run(options, &mut report)?,
        Kind::Idle => idle::run(options, &mut report)?,
        Kind::Connect => connect::run(options, &mut report)?,
    };
    report.number("errors", failures.count as f64);
    if !failures.last.is_empty() {
        report.text("last_error", &failures.last);
    }
    Ok(report)
}

const OPENING_LIMIT: Duration = Duration::from_secs(90);
const USUAL_CONNECTIONS: usize = 1000;

fn gap(options: &Options, usual_micros: u64) -> Nanos {
    nanos(Duration::from_micros(options.gap.unwrap_or(usual_micros)))
}

fn system(error: impl Display) -> String {
    format!("the system refused: {error}")
}
