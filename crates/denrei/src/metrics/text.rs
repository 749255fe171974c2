//! The text that a scraper reads: Prometheus' format 0.0.4, or OpenMetrics 1.0 where it is asked for.

use std::fmt::Write;

use denrei_hub::Distribution;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// What the value of an `Accept` header asks for.
    pub(crate) fn accepted(accept: Option<&str>) -> Self {
        let asks = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"))
                && !parts.any(|part| part == "q=0" || part.starts_with("version=0"))
        };
        let asked = accept.is_some_and(|accept| accept.split(',').any(asks));
        if asked { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family's values are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    /// Its name ends with `_total`.
    Counter,
    Histogram,
}

/// The text, while it is written.
pub(super) struct Page {
    text: String,
    format: Format,
}

/// The samples of one name.
pub(super) struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

/// Names and values of labels.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

impl Page {
    pub(super) fn new(format: Format) -> Self {
        Self { text: String::with_capacity(32 * 1024), format }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// Begins the samples of a name, which has none before.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind_name = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        let family = match (kind, self.format) {
            (Kind::Counter, Format::OpenMetrics) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        // Nothing fails that is written to a string.
        let _ = write!(self.text, "# HELP {family} {help}\n# TYPE {family} {kind_name}\n");
        Family { page: self, name }
    }

    /// A family of one sample without labels.
    pub(super) fn one(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Number) {
        self.family(name, kind, help).sample(&[], value);
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: f64) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        let mut between = '{';
        for (label, value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            let _ = write!(self.text, "{between}{label}=\"{}\"", Escaped(value));
            between = ',';
        }
        if between == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    fn bound(&self, bound: f64) -> String {
        // OpenMetrics writes 1 as 1.0.
        if self.format == Format::OpenMetrics { format!("{bound:?}") } else { bound.to_string() }
    }
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Number) {
        self.page.sample(self.name, "", labels, None, value.number());
    }

    /// A histogram, whose observations are multiplied by `scale`.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, distribution: &Distribution, scale: f64) {
        let Distribution { bounds, counts, sum } = distribution;
        let mut cumulative = 0;
        for (at, count) in counts.iter().enumerate() {
            cumulative += count;
            let bound = bounds.get(at).map_or("+Inf".into(), |bound| self.page.bound(*bound as f64 * scale));
            self.page.sample(self.name, "_bucket", labels, Some(&bound), cumulative as f64);
        }
        self.page.sample(self.name, "_sum", labels, None, *sum as f64 * scale);
        self.page.sample(self.name, "_count", labels, None, cumulative as f64);
    }
}

/// What a sample may be: doubles are what scrapers keep.
pub(super) trait Number {
    fn number(self) -> f64;
}

impl Number for u64 {
    fn number(self) -> f64 {
        self as f64
    }
}

impl Number for usize {
    fn number(self) -> f64 {
        self as f64
    }
}

impl Number for f64 {
    fn number(self) -> f64 {
        self
    }
}

impl Number for bool {
    fn number(self) -> f64 {
        f64::from(u8::from(self))
    }
}

/// A label's value, which an operator may have written.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
