use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn logged(json: bool, log: impl FnOnce()) -> String {
    let written = Written::default();
    let layer = tracing_subscriber::fmt::layer().with_writer(written.clone()).with_ansi(false);
    let registry = tracing_subscriber::registry();
    match json {
        true => {
            let layer = layer.fmt_fields(JsonFields).event_format(Json::of_this_process());
            tracing::subscriber::with_default(registry.with(layer), log);
        }
        false => {
            let layer = layer.fmt_fields(HumanFields).event_format(Human);
            tracing::subscriber::with_default(registry.with(layer), log);
        }
    }
    String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn a_line_is_what_readers_of_pino_expect() {
    let line = logged(true, || {
        let _request = tracing::info_span!("request", request = "r-1").entered();
        tracing::warn!(user = "ann", count = 3, yes = true, share = 0.5, pid = 7, "said \"so\"");
    });
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&value["level"], &value["msg"]), (&40.into(), &"said \"so\"".into()), "{line}");
    assert_eq!((&value["user"], &value["count"], &value["yes"]), (&"ann".into(), &3.into(), &true.into()));
    assert_eq!((&value["share"], &value["request"], &value["pid_"]), (&0.5.into(), &"r-1".into(), &7.into()));
    assert_eq!(value["pid"], std::process::id());
    assert!(value["time"].as_u64().unwrap() > 1_700_000_000_000 && value["hostname"].is_string(), "{line}");
}

#[test]
fn what_peers_say_stays_within_its_line_and_reaches_no_terminal() {
    let evil = "a\nb\r\x1b[2J\u{9b}31m\u{202e}\u{2028}\0\u{7f}";
    for json in [true, false] {
        let text = logged(json, || tracing::info!(evil, shown = %evil, debugged = ?evil, "{evil}"));
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        let rest = text.trim_end();
        assert!(!rest.contains(|c: char| c.is_control() || "\u{202e}\u{2028}".contains(c)), "{text:?}");
        if json {
            let value: serde_json::Value = serde_json::from_str(rest).unwrap();
            assert!(!value["evil"].as_str().unwrap().contains(char::is_control), "{text:?}");
        }
    }
}

#[test]
fn a_value_does_not_make_a_line_long() {
    for json in [true, false] {
        let text = logged(json, || tracing::info!(long = %"x".repeat(1_000_000), "so long"));
        assert!(text.len() < 3000, "{}", text.len());
    }
}

#[test]
fn a_level_alone_is_ours_and_libraries_have_to_be_named() {
    let shown = |level: &str| filter(level).unwrap().to_string();
    assert_eq!(shown("info"), "info");
    assert_eq!(shown("warn"), "warn");
    for level in ["debug", "trace", "TRACE"] {
        let mut words: Vec<_> = shown(level).split(',').map(str::to_lowercase).collect();
        words.sort();
        assert_eq!(words, [format!("denrei={}", level.to_lowercase()), "info".into()]);
    }
    assert!(shown("info,hyper=trace").contains("hyper=trace"));
    assert!(filter("denrei=loud").is_err());
}
