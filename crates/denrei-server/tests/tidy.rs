//! Holds the arrows and the absences of `ARCHITECTURE.md`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// Which crates of ours a crate may depend on, and which foreign ones it may not.
const ARROWS: [(&str, &[&str], &[&str]); 8] = [
    ("denrei-proto", &[], &["tokio", "axum", "hyper", "http", "rusqlite", "tracing"]),
    ("denrei-collab", &[], &["tokio", "axum", "hyper", "http", "rusqlite", "tracing"]),
    ("denrei-hub", &[], &["axum", "hyper", "http", "serde_json", "rusqlite", "redis", "async-nats"]),
    ("denrei-store", &["denrei-hub"], &["axum", "hyper", "http", "redis", "async-nats"]),
    ("denrei-bus", &["denrei-hub"], &["axum", "hyper", "http", "rusqlite"]),
    (
        "denrei",
        &["denrei-proto", "denrei-collab", "denrei-hub", "denrei-store"],
        &["clap", "toml", "redis", "async-nats", "opentelemetry"],
    ),
    ("denrei-otlp", &["denrei-hub"], &["axum", "clap"]),
    (
        "denrei-server",
        &["denrei", "denrei-proto", "denrei-collab", "denrei-hub", "denrei-store", "denrei-bus", "denrei-otlp"],
        &[],
    ),
];

#[test]
fn arrows_between_crates_only_go_down() {
    for manifest in manifests() {
        let crate_name = manifest.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let (_, ours, banned) = ARROWS.iter().find(|(name, ..)| *name == crate_name).unwrap_or_else(|| {
            panic!("{crate_name} is not in the list of crates: where does it stand, and what may it know?");
        });
        for dependency in dependencies(&manifest) {
            let known = !dependency.starts_with("denrei") || ours.contains(&&*dependency);
            assert!(known, "{crate_name} must not depend on {dependency}");
            assert!(!banned.contains(&&*dependency), "{crate_name} must not depend on {dependency}");
        }
    }
}

#[test]
fn the_pure_crates_read_no_clock_and_open_no_socket() {
    for (file, text) in sources(&["denrei-proto", "denrei-collab"]) {
        for absent in ["Instant::now", "SystemTime", "std::net", "std::thread", "std::fs"] {
            assert!(!text.contains(absent), "{} has {absent}", file.display());
        }
    }
}

#[test]
fn numbers_are_assigned_by_logs_only() {
    let allowed = ["memory.rs", "message.rs", "hub.rs", "appender.rs"];
    for (file, text) in sources(&["denrei-hub", "denrei", "denrei-server", "denrei-store", "denrei-bus"]) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let is_log = allowed.contains(&name)
            || file.components().any(|part| part.as_os_str() == "denrei-store")
            || file.ends_with("denrei-bus/src/nats/log.rs");
        assert!(is_log || !text.contains(".assigned("), "{} assigns numbers and is no log", file.display());
    }
}

#[test]
fn the_environment_is_read_in_the_server_only() {
    for (file, text) in sources(&["denrei-proto", "denrei-hub", "denrei-store", "denrei-bus", "denrei"]) {
        assert!(!text.contains("env::var") && !text.contains("env::args"), "{}", file.display());
    }
}

#[test]
fn no_queue_is_unbounded() {
    for (file, text) in
        sources(&["denrei-proto", "denrei-hub", "denrei-store", "denrei-bus", "denrei", "denrei-server"])
    {
        for unbounded in ["unbounded_channel", "mpsc::channel::<", "std::sync::mpsc::channel("] {
            assert!(!text.contains(unbounded), "{} has {unbounded}", file.display());
        }
    }
}

#[test]
fn every_crate_forbids_unsafe_code_through_the_workspace() {
    let root = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(root.contains("unsafe_code = \"forbid\""));
    for manifest in manifests() {
        let text = fs::read_to_string(&manifest).unwrap();
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{} does not take the workspace's lints",
            manifest.display()
        );
    }
}

#[test]
fn a_file_is_one_idea() {
    for (file, text) in
        sources(&["denrei-proto", "denrei-hub", "denrei-store", "denrei-bus", "denrei", "denrei-server"])
    {
        let lines = text.lines().count();
        assert!(lines <= 700, "{} has {lines} lines: which second idea moved in?", file.display());
    }
}

#[test]
fn documents_name_files_that_exist() {
    for document in ["ARCHITECTURE.md", "README.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for path in text.split('`').filter(|span| span.starts_with("crates/") && !span.contains(' ')) {
            assert!(root().join(path).exists(), "{document} names {path}");
        }
    }
}

#[test]
fn lock_files_name_no_place_to_download_from() {
    for lock in ["tests/package-lock.json", "bench/peers/package-lock.json"] {
        let text = fs::read_to_string(root().join(lock)).unwrap();
        assert!(!text.contains("\"resolved\""), "{lock}: make it with --omit-lockfile-registry-resolved");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn manifests() -> Vec<PathBuf> {
    let crates = fs::read_dir(root().join("crates")).unwrap();
    crates.map(|entry| entry.unwrap().path().join("Cargo.toml")).filter(|manifest| manifest.exists()).collect()
}

/// The names in `[dependencies]`.
fn dependencies(manifest: &Path) -> Vec<String> {
    let text = fs::read_to_string(manifest).unwrap();
    let (_, section) = text.split_once("[dependencies]\n").unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    section.lines().filter(|line| !line.starts_with('#')).map(name).filter(|name| !name.is_empty()).collect()
}

/// The source files of crates, without tests.
fn sources(crates: &[&str]) -> Vec<(PathBuf, String)> {
    let mut folders: Vec<_> = crates.iter().map(|name| root().join("crates").join(name).join("src")).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !matches!(&*name, "tests" | "laws") {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" && name != "laws.rs" {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty() || crates.iter().all(|name| !root().join("crates").join(name).exists()));
    found
}
