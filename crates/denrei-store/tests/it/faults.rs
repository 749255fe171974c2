use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use denrei_hub::{Draft, Extent, LogError, Seq};
use denrei_store::{Store, StoreConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::children::{child, child_of_shell, directory, passes};
use crate::harness::{Place, append, draft, name, next, read, read_all, submit, try_append, wait, with_id};

#[test]
fn after_a_failed_fsync_nothing_of_the_group_is_acknowledged_or_kept() {
    let place = Place::sqlite();
    passes(&mut with_faults("faults::fsync_fails", place.path().parent().unwrap()));
}

#[test]
#[ignore = "a child"]
fn fsync_fails() {
    refuses_while_the_disk_fails("fsync");
}

#[test]
fn after_a_failed_write_nothing_of_the_group_is_acknowledged_or_kept() {
    let place = Place::sqlite();
    passes(&mut with_faults("faults::pwrite_fails", place.path().parent().unwrap()));
}

#[test]
#[ignore = "a child"]
fn pwrite_fails() {
    refuses_while_the_disk_fails("pwrite");
}

#[test]
fn a_process_that_begins_on_a_failing_disk_is_told_so() {
    let place = Place::sqlite();
    passes(&mut with_faults("faults::opening_fails", place.path().parent().unwrap()));
}

#[test]
#[ignore = "a child"]
fn opening_fails() {
    let directory = directory();
    fs::write(directory.join("fsync"), "").unwrap();
    let error = Store::open(directory.join("denrei.db"), StoreConfig::default()).unwrap_err();
    fs::remove_file(directory.join("fsync")).unwrap();
    let store = Store::open(directory.join("denrei.db"), StoreConfig::default()).unwrap();
    assert_eq!(append(&store, draft("feed:a", "1")).message.seq, Seq(1), "{error}");
}

#[test]
fn when_files_cannot_grow_appends_are_refused_until_they_can() {
    let place = Place::sqlite();
    // The signal would end the process; ignored, the write fails.
    let script = r#"trap '' XFSZ; exec "$0" "$@""#;
    let directory = place.path().parent().unwrap().to_owned();
    passes(&mut child_of_shell(&mut Command::new("sh"), script, "faults::files_cannot_grow", &directory));
}

#[test]
#[ignore = "a child"]
fn files_cannot_grow() {
    let limit = |bytes| {
        let maximum = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
    };
    fills_up(&directory(), || limit(Some(3 << 20)), || limit(None));
}

#[test]
fn when_the_disk_is_full_appends_are_refused_until_it_is_not() {
    let place = Place::sqlite();
    let directory = place.path().parent().unwrap().to_owned();
    // A file system of 16 MiB, in name spaces of its own: no privilege is needed.
    let script = r#"mount -t tmpfs -o size=16m none "$DENREI_STORE_TEST_DIRECTORY" && exec "$0" "$@""#;
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh"]);
    passes(&mut child_of_shell(&mut unshare, script, "faults::disk_is_full", &directory));
}

#[test]
#[ignore = "a child"]
fn disk_is_full() {
    let directory = directory();
    let filler = directory.join("filler");
    fills_up(&directory, || fs::write(&filler, vec![1; 12 << 20]).unwrap(), || fs::remove_file(&filler).unwrap());
}

#[test]
fn a_broken_disk_does_not_keep_a_store_from_closing() {
    let place = Place::sqlite();
    passes(&mut with_faults("faults::closes_while_the_disk_fails", place.path().parent().unwrap()));
}

#[test]
#[ignore = "a child"]
fn closes_while_the_disk_fails() {
    let directory = directory();
    let store = Store::open(directory.join("denrei.db"), StoreConfig::default()).unwrap();
    append(&store, draft("feed:a", "1"));
    fs::write(directory.join("fsync"), "").unwrap();
    assert!(try_append(&store, draft("feed:a", "2")).is_err());
    let begin = Instant::now();
    drop(store);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// A disk that fails for a while.
fn refuses_while_the_disk_fails(call: &str) {
    let directory = directory();
    let fault = directory.join(call);
    let store = Store::open(directory.join("denrei.db"), StoreConfig::default()).unwrap();
    for at in 1..=10 {
        append(&store, with_id(draft("feed:a", &at.to_string()), &at.to_string()));
    }
    for round in 1..=3 {
        fs::write(&fault, "").unwrap();
        let answers = submit(&store, (0..300).map(|at| with_id(draft("feed:a", "lost"), &format!("lost {at}"))));
        for _ in 0..300 {
            assert!(matches!(next(&answers), Err(LogError::Unavailable(_))), "nothing is acknowledged");
        }
        let answer = submit(&store, [draft("feed:b", "lost")]).try_recv();
        assert!(matches!(answer, Ok(Err(LogError::Unavailable(_)))), "in between appends are refused at once");
        assert!(wait(store.check()).is_err());
        let page = read(&store, &name("feed:a"), Extent::After(Seq(0), 1_000));
        assert_eq!((page.head.0, page.messages.len() as u64), (9 + round, 9 + round), "what is kept can be read");
        // Long enough for an attempt to open it that fails.
        std::thread::sleep(Duration::from_millis(400));
        assert!(wait(store.check()).is_err());

        fs::remove_file(&fault).unwrap();
        recovers(&store);
        assert!(store.statistics().failures >= round);
        let resent = append(&store, with_id(draft("feed:a", &format!("after {round}")), &format!("lost {round}")));
        assert_eq!((resent.duplicate, resent.message.seq.0), (false, 10 + round), "refused drafts have left nothing");
    }
    let kept = read_all(&store, "feed:a");
    assert_eq!(kept.len(), 13);
    drop(store);
    let store = Store::open(directory.join("denrei.db"), StoreConfig::default()).unwrap();
    assert_eq!(read_all(&store, "feed:a"), kept);
    assert_eq!(read_all(&store, "feed:b"), []);
}

/// A disk that has no room, until it has.
fn fills_up(directory: &Path, narrow: impl Fn(), widen: impl Fn()) {
    let store = Store::open(directory.join("denrei.db"), StoreConfig::default()).unwrap();
    append(&store, draft("feed:a", "first"));
    narrow();
    let payload = |at: u64| format!("{at} {}", "x".repeat(32 << 10));
    let draft_at = |at: u64| Draft { id: Some(name(&at.to_string())), ..draft("feed:a", &payload(at)) };
    let mut kept = vec![(1, "first".to_owned())];
    let refused = (2..2_000).find(|&at| match try_append(&store, draft_at(at)) {
        Ok(appended) => {
            kept.push((appended.message.seq.0, payload(at)));
            false
        }
        Err(error) => {
            assert!(matches!(error, LogError::Unavailable(_)), "{error}");
            true
        }
    });
    let refused = refused.expect("the disk fills up");
    assert!(kept.len() > 10, "it did not at once");
    assert_eq!(read_all(&store, "feed:a"), kept, "what is kept can be read");

    widen();
    recovers(&store);
    let resent = append(&store, draft_at(refused));
    assert!(!resent.duplicate, "what was refused has not been kept");
    kept.push((resent.message.seq.0, payload(refused)));
    assert_eq!(read_all(&store, "feed:a"), kept);
    drop(store);
    let store = Store::open(directory.join("denrei.db"), StoreConfig::default()).unwrap();
    assert_eq!(read_all(&store, "feed:a"), kept);
}

fn recovers(store: &Store) {
    let begin = Instant::now();
    while wait(store.check()).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the store recovers by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A child in which system calls can be made to fail, see `faults.c`.
fn with_faults(name: &str, directory: &Path) -> Command {
    let library = directory.join("faults.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/faults.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.expect("a C compiler, which SQLite needs as well").success());
    let mut command = child(name, directory);
    command.env("LD_PRELOAD", &library).env("DENREI_STORE_FAULTS", directory);
    command
}
