//! Every seed, without libFuzzer.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use denrei_fuzz::TARGETS;

#[test]
fn every_seed_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(seeds.join(name)).expect("every target has seeds") {
            let path = entry.expect("the folder can be read").path();
            let seed = fs::read(&path).expect("a seed can be read");
            if catch_unwind(|| target(&seed)).is_err() {
                failed.push(path);
            }
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }
    assert!(failed.is_empty(), "what failed is above; it was {failed:?}");
}

#[test]
fn every_target_has_a_binary() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("it is there");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
