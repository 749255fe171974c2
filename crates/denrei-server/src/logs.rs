//! Logs go to standard error: for people in a terminal, as JSON lines otherwise.
//!
//! What peers say is part of some lines. No character of it can end a line or reach a terminal as more than a character,
//! and no value makes a line long.

use std::fmt::{self, Write};
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime as Clock};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Logging;
use crate::file::LogFormat;

/// Characters of a value that are shown.
const LONGEST: usize = 2000;

type Reload = reload::Handle<EnvFilter, Registry>;

static FILTER: OnceLock<Reload> = OnceLock::new();

/// Begins to log; once.
pub(crate) fn start(logging: &Logging) {
    let filter = filter(&logging.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    // A second call would find another subscriber, and change nothing.
    let _ = FILTER.set(handle);
    let terminal = io::stderr().is_terminal();
    let json = match logging.format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(terminal);
    let _ = match json {
        true => registry.with(layer.fmt_fields(JsonFields).event_format(Json::of_this_process())).try_init(),
        false => registry.with(layer.fmt_fields(HumanFields).event_format(Human)).try_init(),
    };
}

/// Logs more or less from now on.
///
/// # Errors
/// A sentence, when these are no words of a filter; what was logged before still is.
pub(crate) fn set_filter(level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    match FILTER.get() {
        Some(handle) => handle.reload(filter).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

/// Reads words of tracing's filter. A level alone means ours: what libraries say below `info` is said only if they are
/// named, because some of it quotes what was sent.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, String> {
    let directive = |word: &str| match word.parse::<Level>() {
        Ok(level) if level > Level::INFO => format!("info,denrei={word}"),
        _ => word.to_owned(),
    };
    let directives: Vec<_> = level.split(',').map(str::trim).filter(|word| !word.is_empty()).map(directive).collect();
    EnvFilter::try_new(directives.join(",")).map_err(|error| error.to_string())
}

/// Writes text so that it stays within its line: what is no plain character is escaped, what is too long is cut.
fn write_plain(out: &mut impl Write, text: &str) -> fmt::Result {
    for character in text.chars().take(LONGEST) {
        match character {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            // Control characters of both kinds, and what turns the direction of text.
            '\t' => out.write_char('\t')?,
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => {
                write!(out, "{}", character.escape_unicode())?;
            }
            other if other.is_control() => write!(out, "{}", other.escape_unicode())?,
            other => out.write_char(other)?,
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        out.write_str("…")?;
    }
    Ok(())
}

/// `TIME LEVEL message field=value`.
struct Human;

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        Clock.format_time(&mut out)?;
        let level = *event.metadata().level();
        match out.has_ansi_escapes() {
            true => write!(out, " \x1b[{}m{level:>5}\x1b[0m ", color(level))?,
            false => write!(out, " {level:>5} ")?,
        }
        context.format_fields(out.by_ref(), event)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|fields| !fields.is_empty()) {
                write!(out, " {fields}")?;
            }
        }
        writeln!(out)
    }
}

fn color(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

struct HumanFields;

impl<'writer> FormatFields<'writer> for HumanFields {
    fn format_fields<R: RecordFields>(&self, mut out: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = HumanVisitor { message: String::new(), rest: String::new() };
        fields.record(&mut visitor);
        let HumanVisitor { message, rest } = visitor;
        let between = if message.is_empty() || rest.is_empty() { "" } else { " " };
        write!(out, "{message}{between}{rest}")
    }
}

struct HumanVisitor {
    message: String,
    rest: String,
}

impl Visit for HumanVisitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            // Nothing fails that is written to a string.
            let _ = write_plain(&mut self.message, value);
            return;
        }
        let between = if self.rest.is_empty() { "" } else { " " };
        let _ = write!(self.rest, "{between}{}=", field.name());
        let _ = write_plain(&mut self.rest, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// One line for each event, in the words of pino.
struct Json {
    /// `"pid":…,"hostname":…`
    process: String,
}

impl Json {
    fn of_this_process() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { process: format!("\"pid\":{},\"hostname\":{}", std::process::id(), quoted(&name)) }
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => 50,
            Level::WARN => 40,
            Level::INFO => 30,
            Level::DEBUG => 20,
            Level::TRACE => 10,
        };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        write!(out, "{{\"level\":{level},\"time\":{time},{}", self.process)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                write!(out, "{fields}")?;
            }
        }
        context.format_fields(out.by_ref(), event)?;
        writeln!(out, "}}")
    }
}

/// Each field as `,"name":value`.
struct JsonFields;

impl<'writer> FormatFields<'writer> for JsonFields {
    fn format_fields<R: RecordFields>(&self, mut out: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = JsonVisitor(String::new());
        fields.record(&mut visitor);
        out.write_str(&visitor.0)
    }
}

struct JsonVisitor(String);

impl JsonVisitor {
    fn put(&mut self, field: &Field, value: &str) {
        let name = match field.name() {
            "message" => "msg",
            // What the line itself says comes first, and is said once.
            taken @ ("level" | "time" | "pid" | "hostname" | "msg") => return self.put_as(&format!("{taken}_"), value),
            name => name,
        };
        self.put_as(name, value);
    }

    fn put_as(&mut self, name: &str, value: &str) {
        // Nothing fails that is written to a string.
        let _ = write!(self.0, ",{}:{value}", quoted(name));
    }
}

impl Visit for JsonVisitor {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, &value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let text = if value.is_finite() { value.to_string() } else { quoted(&value.to_string()) };
        self.put(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, &quoted(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &quoted(&format!("{value:?}")));
    }
}

/// A JSON string of text that stays harmless when a reader prints it as it is.
fn quoted(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 2);
    // Nothing fails that is written to a string.
    let _ = write_plain(&mut plain, text);
    serde_json::Value::String(plain).to_string()
}

#[cfg(test)]
mod tests;
