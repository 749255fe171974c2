use denrei_hub::Distribution;

use super::text::{Family, Kind, Page};
use super::*;

fn page(format: Format, write: impl FnOnce(&mut Family<'_>)) -> String {
    let mut page = Page::new(format);
    write(&mut page.family("x_total", Kind::Counter, "What x is."));
    page.finish()
}

#[test]
fn a_counter_is_called_by_its_family_in_openmetrics() {
    let write = |family: &mut Family<'_>| family.sample(&[("a", "b\"\\\n")], 3_u64);
    let sample = "x_total{a=\"b\\\"\\\\\\n\"} 3\n";
    let text = format!("# HELP x_total What x is.\n# TYPE x_total counter\n{sample}");
    assert_eq!(page(Format::Prometheus, write), text);
    let text = format!("# HELP x What x is.\n# TYPE x counter\n{sample}# EOF\n");
    assert_eq!(page(Format::OpenMetrics, write), text);
}

#[test]
fn a_histogram_is_cumulative() {
    let distribution = Distribution { bounds: &[1, 2000], counts: vec![1, 2, 4], sum: 9000 };
    let mut page = Page::new(Format::OpenMetrics);
    page.family("y", Kind::Histogram, "What y is.").histogram(&[], &distribution, 1e-3);
    let samples = "y_bucket{le=\"0.001\"} 1\ny_bucket{le=\"2.0\"} 3\ny_bucket{le=\"+Inf\"} 7\ny_sum 9\ny_count 7\n";
    assert_eq!(page.finish(), format!("# HELP y What y is.\n# TYPE y histogram\n{samples}# EOF\n"));
}

#[test]
fn openmetrics_is_for_who_asks_for_it() {
    for (accept, expected) in [
        (None, Format::Prometheus),
        (Some("*/*"), Format::Prometheus),
        (Some("text/plain;version=0.0.4;q=0.5"), Format::Prometheus),
        (Some("application/openmetrics-text;q=0"), Format::Prometheus),
        (Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"), Format::OpenMetrics),
    ] {
        assert_eq!(Format::accepted(accept), expected, "{accept:?}");
    }
}

#[test]
fn a_token_for_metrics_is_long_and_shown_nowhere() {
    assert!(MetricsToken::new("short").is_err() && MetricsToken::new("with a space in it").is_err());
    let token = MetricsToken::new("0123456789abcdef").unwrap();
    assert!(token.is("0123456789abcdef") && !token.is("0123456789abcdeF") && !token.is(""));
    assert!(!format!("{token:?}").contains("0123"));
}

#[test]
fn what_is_not_known_is_counted_as_one() {
    let names = names(&["mine".to_owned()]);
    let metrics = Metrics::new(&names, 2, &[("/a/{x}".into(), "/a/{x}"), ("/a/{*y}".into(), "/a/{x}")]);
    assert_eq!(metrics.label(metrics.route(Some("/a/{*y}"))), "/a/{x}");
    assert_eq!(metrics.label(metrics.route(Some("/b"))), "other");
    assert_eq!(metrics.label(metrics.route(None)), "other");
    metrics.answered(metrics.route(None), "BREW", 999, Duration::ZERO);
    assert_eq!(metrics.routes[1].methods[5][4].load(Ordering::Relaxed), 1);
    for name in ["mine", "yours", "theirs"] {
        metrics.asked(3, name);
    }
    let counts = metrics.asked[1].0.iter().map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts.rev().take(2).collect::<Vec<_>>(), [2, 1]);
}
