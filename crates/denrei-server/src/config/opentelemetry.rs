//! Where spans go: `[opentelemetry]`, and before it the variables that OpenTelemetry gives to every program.

use denrei::SpansConfig;

use crate::file;

/// Who collects spans.
#[derive(Debug, PartialEq)]
pub(crate) struct Collector {
    pub(crate) address: String,
    /// Whether it is the environment that says so, where the SDK reads it for itself.
    pub(crate) of_environment: bool,
}

/// What a variable says.
pub(super) fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the crate that reads the environment")]
    std::env::var(name).ok()
}

/// Puts together what was said; none when nobody collects.
pub(super) fn resolve(
    file: file::OpenTelemetry,
    environment: impl Fn(&str) -> Option<String>,
    config: &mut SpansConfig,
) -> Result<Option<Collector>, String> {
    let said = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    if let Some(sample) = file.sample {
        config.sample = part(sample).ok_or("opentelemetry.sample: a number from 0 to 1")?;
    }
    if let Some(per_second) = super::positive("opentelemetry.per_second", file.per_second)? {
        config.per_second = per_second;
    }
    let names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let of_environment = names.into_iter().find_map(|name| Some((name, said(name)?)));
    let Some((name, address)) = of_environment.clone().or(file.endpoint.map(|own| ("opentelemetry.endpoint", own)))
    else {
        return Ok(None);
    };
    check(name, &address)?;
    let collector = Collector { address, of_environment: of_environment.is_some() };
    let off = said("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    match said("OTEL_TRACES_EXPORTER").as_deref() {
        _ if off => return Ok(None),
        Some("none") => return Ok(None),
        None | Some("otlp") => {}
        Some(_) => return Err("OTEL_TRACES_EXPORTER: otlp or none".into()),
    }
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        if said(name).is_some_and(|protocol| protocol != "http/protobuf") {
            return Err(format!("{name}: spans are sent by http/protobuf, on most collectors at port 4318"));
        }
    }
    if let Some(sampler) = said("OTEL_TRACES_SAMPLER") {
        config.sample = sample(&sampler, said("OTEL_TRACES_SAMPLER_ARG").as_deref())?;
    }
    Ok(Some(collector))
}

/// A `traceparent` is always heeded, which is what `parentbased_` asks for.
fn sample(sampler: &str, argument: Option<&str>) -> Result<f64, String> {
    match sampler.strip_prefix("parentbased_").unwrap_or(sampler) {
        "always_on" => Ok(1.0),
        "always_off" => Ok(0.0),
        "traceidratio" => {
            let ratio = argument.unwrap_or("1").parse().ok().and_then(part);
            ratio.ok_or_else(|| "OTEL_TRACES_SAMPLER_ARG: a number from 0 to 1".into())
        }
        _ => Err("OTEL_TRACES_SAMPLER: always_on, always_off or traceidratio, or these with parentbased_".into()),
    }
}

fn part(number: f64) -> Option<f64> {
    (0.0..=1.0).contains(&number).then_some(number)
}

/// What is there may hold a password, so errors do not quote it.
fn check(name: &str, endpoint: &str) -> Result<(), String> {
    let is_address = endpoint.parse::<http::Uri>().is_ok_and(|address| {
        matches!(address.scheme_str(), Some("http" | "https")) && address.host().is_some_and(|host| !host.is_empty())
    });
    if is_address { Ok(()) } else { Err(format!("{name}: the address of a collector, as http://127.0.0.1:4318")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(file: &str, environment: &[(&str, &str)]) -> Result<(Option<Collector>, f64), String> {
        let file = toml::from_str(file).expect("settings");
        let said = |name: &str| environment.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        let mut config = SpansConfig::default();
        resolve(file, said, &mut config).map(|collector| (collector, config.sample))
    }

    const FILE: &str = "endpoint = \"http://127.0.0.1:4318\"\nsample = 0.5";
    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn the_environment_is_before_the_file() {
        assert_eq!(resolved("", &[]), Ok((None, 1.0)));
        let of = |address: &str, of_environment| Some(Collector { address: address.into(), of_environment });
        let own = of("http://127.0.0.1:4318", false);
        assert_eq!(resolved(FILE, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok((own, 0.5)));
        let said = of("http://collector:4318", true);
        let ratio = [ENDPOINT, ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.1")];
        assert_eq!(resolved(FILE, &ratio), Ok((said, 0.1)));
    }

    #[test]
    fn the_environment_turns_it_off() {
        for (name, value) in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(resolved(FILE, &[(name, value)]), Ok((None, 0.5)));
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (file, name, value) in [
            (FILE, "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            (FILE, "OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            (FILE, "OTEL_TRACES_EXPORTER", "console"),
            (FILE, "OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("endpoint = \"grpc://c\"", "opentelemetry.endpoint", ""),
            ("sample = 1.5", "opentelemetry.sample", ""),
            ("per_second = 0", "opentelemetry.per_second", ""),
        ] {
            let error = resolved(file, &[(name, value)]).expect_err(name);
            assert!(error.starts_with(name), "{error}");
        }
    }
}
