//! `denrei doctor`: looks at everything that a server would run on, and says what to do. It changes nothing.

mod access;
mod network;
mod place;
mod system;

use std::net::SocketAddr;

use serde::Serialize;

use crate::cli::{Options, say};
use crate::config::{self, Settings};

/// Looks at the settings that a server would have with these options, and at what they name.
///
/// # Errors
/// Something keeps the server from running as it is set up; the lines say what.
pub(crate) fn run(options: &Options, json: bool) -> Result<(), String> {
    let mut report = Report::default();
    match config::check_environment() {
        Ok(meaningless) => {
            for name in meaningless {
                report.warn("environment", format!("{name} means nothing"), "remove it, or see denrei serve --help");
            }
        }
        Err(error) => report.error("environment", error, "correct the name"),
    }
    match config::resolve(options) {
        Ok(settings) => {
            let file =
                options.config.as_ref().map_or("denrei.toml, if it is there".into(), |f| f.display().to_string());
            report.ok("settings", format!("are in order: flags, environment, {file}"));
            look(&mut report, options, &settings)?;
        }
        Err(error) => {
            report.error("settings", error.trim_end(), "`denrei config --all` prints all settings and what they mean");
            system::files(&mut report, None);
        }
    }
    report.print(json);
    match report.0.iter().filter(|finding| finding.verdict == Verdict::Error).count() {
        0 => Ok(()),
        errors => Err(format!("{errors} of {} checks found an error", report.0.len())),
    }
}

fn look(report: &mut Report, options: &Options, settings: &Settings) -> Result<(), String> {
    access::settings(report, options, settings);
    place::folder(report, settings);
    // Both drive a runtime of their own.
    let ahead = place::database(report, settings);
    system::clock(report, ahead);
    system::files(report, Some(settings.config.limits.connections));
    system::kernel(report, settings.listen);
    system::memory(report, settings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("a runtime cannot be made: {error}"))?;
    runtime.block_on(async {
        network::bus(report, settings).await;
        network::collector(report, settings).await;
        let running = network::port(report, settings.listen).await;
        // Where one runs, it has that port too.
        if let Some(secure) = settings.tls.as_ref().filter(|_| !running) {
            network::port(report, secure.listen).await;
        }
        network::advertised(report, settings, running).await;
        network::keys(report, settings).await;
    });
    access::guarantees(report, settings);
    Ok(())
}

/// What was found, in the order in which it was looked at.
#[derive(Default)]
struct Report(Vec<Finding>);

#[derive(Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    finding: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Error,
}

impl Report {
    fn ok(&mut self, check: &'static str, finding: impl Into<String>) {
        self.0.push(Finding { check, verdict: Verdict::Ok, finding: finding.into(), advice: None });
    }

    fn warn(&mut self, check: &'static str, finding: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Verdict::Warning, finding.into(), advice.into());
    }

    fn error(&mut self, check: &'static str, finding: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Verdict::Error, finding.into(), advice.into());
    }

    fn add(&mut self, check: &'static str, verdict: Verdict, finding: String, advice: String) {
        self.0.push(Finding { check, verdict, finding, advice: Some(advice) });
    }

    fn print(&self, json: bool) {
        if json {
            return say(&serde_json::json!({ "checks": self.0 }).to_string());
        }
        for Finding { check, verdict, finding, advice } in &self.0 {
            let verdict = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Error => "error",
            };
            // One line each: what somebody else says may have several.
            let finding = finding.split_whitespace().collect::<Vec<_>>().join(" ");
            let advice = advice.as_ref().map(|advice| format!(". To do: {advice}")).unwrap_or_default();
            say(&format!("{verdict:8}{check:12}{finding}{advice}"));
        }
    }
}

/// Whether others can reach an address.
fn is_public(listen: SocketAddr) -> bool {
    !listen.ip().is_loopback()
}

/// Bytes, as people say them.
fn amount(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}
