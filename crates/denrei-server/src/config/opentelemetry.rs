//! Where spans go: `[opentelemetry]`, and before it the variables that OpenTelemetry gives to every program.

use std::time::Duration;

use denrei::SpansConfig;

use crate::file;

/// Who collects spans.
#[derive(Debug, PartialEq)]
pub(crate) struct Collector {
    /// Where they are sent.
    pub(crate) address: String,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
}

/// What was said, put together.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct OpenTelemetry {
    /// None: nobody collects.
    pub(crate) collector: Option<Collector>,
    /// What the environment says that cannot be heeded. Its variables are meant for every program, so they keep no server from
    /// starting.
    pub(crate) ignored: Vec<String>,
}

/// What a variable says.
pub(super) fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the crate that reads the environment")]
    std::env::var(name).ok()
}

pub(super) fn resolve(
    file: file::OpenTelemetry,
    environment: impl Fn(&str) -> Option<String>,
    config: &mut SpansConfig,
) -> Result<OpenTelemetry, String> {
    if let Some(sample) = file.sample {
        config.sample = part(sample).ok_or("opentelemetry.sample: a number from 0 to 1")?;
    }
    if let Some(per_second) = super::positive("opentelemetry.per_second", file.per_second)? {
        config.per_second = per_second;
    }
    if file.endpoint.as_deref().is_some_and(|endpoint| !is_address(endpoint)) {
        return Err("opentelemetry.endpoint: the address of a collector, as http://127.0.0.1:4318".into());
    }
    let mut reading = Reading { environment, ignored: Vec::new() };
    let collector = reading.collector(file.endpoint);
    if collector.is_some() {
        reading.sampler(config);
    }
    Ok(OpenTelemetry { collector, ignored: reading.ignored })
}

/// The environment, and what of it cannot be heeded.
struct Reading<E> {
    environment: E,
    ignored: Vec<String>,
}

impl<E: Fn(&str) -> Option<String>> Reading<E> {
    /// An empty variable is none.
    fn said(&self, name: &str) -> Option<String> {
        (self.environment)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// That of traces is before the one of everything.
    fn said_of_traces(&self, rest: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{rest}"), format!("OTEL_EXPORTER_OTLP_{rest}")];
        names.into_iter().find_map(|name| self.said(&name).map(|value| (name, value)))
    }

    /// What is said may hold a password, so it is not quoted.
    fn ignore(&mut self, name: &str, why: &str) {
        self.ignored.push(format!("{name} {why}"));
    }

    fn collector(&mut self, file: Option<String>) -> Option<Collector> {
        let said = self.said_of_traces("ENDPOINT");
        let off = self.said("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let exporter = self.said("OTEL_TRACES_EXPORTER").map(|value| value.to_ascii_lowercase());
        match exporter.as_deref() {
            _ if off || said.is_none() && file.is_none() => return None,
            Some("none") => return None,
            None | Some("otlp") => {}
            Some(_) => self.ignore("OTEL_TRACES_EXPORTER", "is neither otlp nor none"),
        }
        if let Some((name, protocol)) = self.said_of_traces("PROTOCOL")
            && !protocol.eq_ignore_ascii_case("http/protobuf")
        {
            self.ignore(&name, "is not http/protobuf, the one that is spoken: no spans are sent");
            return None;
        }
        let address = match said {
            Some((name, address)) if !is_address(&address) => {
                self.ignore(&name, "is no address as http://127.0.0.1:4318: no spans are sent");
                return None;
            }
            // That of traces is taken as it is.
            Some((name, address)) if name.contains("TRACES") => address,
            Some((_, address)) => path_of_traces(&address),
            None => path_of_traces(&file?),
        };
        let mut timeout = Duration::from_secs(10);
        if let Some((name, said)) = self.said_of_traces("TIMEOUT") {
            match said.parse() {
                Ok(ms @ 1..) => timeout = Duration::from_millis(ms),
                _ => self.ignore(&name, "is no time in ms"),
            }
        }
        Some(Collector { address, timeout })
    }

    fn sampler(&mut self, config: &mut SpansConfig) {
        let Some(sampler) = self.said("OTEL_TRACES_SAMPLER").map(|value| value.to_ascii_lowercase()) else { return };
        let (kind, parent_decides) = match sampler.strip_prefix("parentbased_") {
            Some(kind) => (kind, true),
            None => (&*sampler, false),
        };
        let sample = match kind {
            "always_on" => Some(1.0),
            "always_off" => Some(0.0),
            "traceidratio" => {
                let argument = self.said("OTEL_TRACES_SAMPLER_ARG");
                let ratio = argument.as_deref().map(|said| said.parse().ok().and_then(part));
                if ratio == Some(None) {
                    self.ignore("OTEL_TRACES_SAMPLER_ARG", "is no number from 0 to 1");
                }
                Some(ratio.flatten().unwrap_or(1.0))
            }
            _ => None,
        };
        match sample {
            Some(sample) => (config.sample, config.parent_decides) = (sample, parent_decides),
            None => self.ignore("OTEL_TRACES_SAMPLER", "is none of always_on, always_off, traceidratio, parentbased_…"),
        }
    }
}

fn part(number: f64) -> Option<f64> {
    (0.0..=1.0).contains(&number).then_some(number)
}

fn is_address(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|address| {
        matches!(address.scheme_str(), Some("http" | "https")) && address.host().is_some_and(|host| !host.is_empty())
    })
}

/// What is named is a collector: traces have their path there.
fn path_of_traces(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v1/traces") { endpoint.to_owned() } else { format!("{endpoint}/v1/traces") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(file: &str, environment: &[(&str, &str)]) -> Result<(OpenTelemetry, SpansConfig), String> {
        let file = toml::from_str(file).expect("settings");
        let said = |name: &str| environment.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        let mut config = SpansConfig::default();
        resolve(file, said, &mut config).map(|resolved| (resolved, config))
    }

    fn address(file: &str, environment: &[(&str, &str)]) -> Option<String> {
        let (resolved, _) = resolved(file, environment).expect("it is in order");
        assert!(resolved.ignored.is_empty(), "{:?}", resolved.ignored);
        resolved.collector.map(|collector| collector.address)
    }

    const FILE: &str = "endpoint = \"http://127.0.0.1:4318\"\nsample = 0.5";
    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn the_environment_is_before_the_file() {
        assert_eq!(address("", &[]), None);
        assert_eq!(address(FILE, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(address(FILE, &[ENDPOINT]).unwrap(), "http://collector:4318/v1/traces");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://other/otlp");
        assert_eq!(address(FILE, &[ENDPOINT, traces]).unwrap(), "https://other/otlp");
    }

    #[test]
    fn what_is_said_of_traces_is_before_what_is_said_of_everything() {
        let of_all = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "1")];
        let of_traces =
            [("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "HTTP/protobuf"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500")];
        let (resolved, _) = resolved(FILE, &[of_all, of_traces].concat()).unwrap();
        assert_eq!(resolved.collector.unwrap().timeout, Duration::from_millis(2500));
        assert!(resolved.ignored.is_empty());
    }

    #[test]
    fn the_environment_turns_it_off() {
        let wrong = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "None")] {
            assert_eq!(address(FILE, &[off, wrong]), None);
        }
    }

    #[test]
    fn samplers_are_those_of_open_telemetry() {
        for (sampler, argument, sample, parent_decides) in [
            ("parentbased_always_on", "", 1.0, true),
            ("always_off", "", 0.0, false),
            ("ParentBased_TraceIdRatio", "0.1", 0.1, true),
            ("traceidratio", "", 1.0, false),
        ] {
            let said = [("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)];
            let (resolved, config) = resolved(FILE, &said).unwrap();
            assert_eq!((config.sample, config.parent_decides), (sample, parent_decides), "{sampler}");
            assert!(resolved.ignored.is_empty());
        }
    }

    #[test]
    fn what_the_environment_says_wrong_is_told_and_starts_all_the_same() {
        for (name, value, sends) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", false),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", false),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", true),
            ("OTEL_TRACES_EXPORTER", "console", true),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", true),
        ] {
            let (resolved, config) = resolved(FILE, &[(name, value)]).unwrap();
            assert_eq!((resolved.collector.is_some(), config.sample), (sends, 0.5), "{name}");
            assert!(resolved.ignored.len() == 1 && resolved.ignored[0].starts_with(name), "{:?}", resolved.ignored);
        }
    }

    #[test]
    fn what_the_file_says_wrong_is_an_error() {
        for (file, name) in [
            ("endpoint = \"grpc://c\"", "opentelemetry.endpoint"),
            ("sample = 1.5", "opentelemetry.sample"),
            ("per_second = 0", "opentelemetry.per_second"),
        ] {
            let error = resolved(file, &[]).expect_err(name);
            assert!(error.starts_with(name), "{error}");
        }
    }
}
