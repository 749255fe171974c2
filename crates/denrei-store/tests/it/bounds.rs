use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use denrei_hub::{Extent, Log, LogError, Seq};
use denrei_store::{Store, StoreConfig};

use crate::harness::{Place, append, draft, name, next, on_both, read, submit, try_append};

on_both!(
    operations_past_the_bound_are_refused_at_once_and_use_no_number,
    bytes_past_the_bound_are_refused_at_once,
    a_group_holds_at_most_1024_operations,
    a_group_holds_about_8_mebibytes,
);

/// Keeps the writer busy until told to go on.
fn occupy(store: &Store) -> mpsc::SyncSender<()> {
    let (go, wait_to_go) = mpsc::sync_channel::<()>(1);
    let (begin, begun) = mpsc::sync_channel::<()>(1);
    let done = move |_: Result<_, LogError>| {
        begin.send(()).unwrap();
        wait_to_go.recv().unwrap();
    };
    store.append(draft("feed:busy", "1"), Box::new(done));
    begun.recv().unwrap();
    go
}

fn operations_past_the_bound_are_refused_at_once_and_use_no_number(place: &Place) {
    let config = StoreConfig { waiting_operations: 10, ..StoreConfig::default() };
    let store = place.open_with(config).unwrap();
    let go = occupy(&store);
    let waiting = submit(&store, (0..10).map(|at| draft("feed:a", &at.to_string())));
    assert!(matches!(try_append(&store, draft("feed:a", "too much")), Err(LogError::Unavailable(_))));
    assert_eq!(store.statistics().waiting_operations, 10);
    go.send(()).unwrap();
    for at in 1..=10 {
        assert_eq!(next(&waiting).unwrap().message.seq, Seq(at));
    }
    assert_eq!(try_append(&store, draft("feed:a", "11")).unwrap().message.seq, Seq(11));
}

fn bytes_past_the_bound_are_refused_at_once(place: &Place) {
    let config = StoreConfig { waiting_bytes: 100_000, ..StoreConfig::default() };
    let store = place.open_with(config).unwrap();
    let go = occupy(&store);
    let waiting = submit(&store, [draft("feed:a", &"x".repeat(90_000))]);
    assert!(try_append(&store, draft("feed:a", &"x".repeat(20_000))).is_err());
    go.send(()).unwrap();
    next(&waiting).unwrap();
    assert!(try_append(&store, draft("feed:a", &"x".repeat(20_000))).is_ok());
}

fn a_group_holds_at_most_1024_operations(place: &Place) {
    let store = place.open();
    let go = occupy(&store);
    let before = store.statistics().commits;
    let waiting = submit(&store, (0..4 * 1024).map(|_| draft("feed:a", "1")));
    go.send(()).unwrap();
    assert_eq!(waiting.iter().filter(Result::is_ok).count(), 4 * 1024);
    assert_eq!(store.statistics().commits - before, 4);
}

fn a_group_holds_about_8_mebibytes(place: &Place) {
    let store = place.open();
    let go = occupy(&store);
    let before = store.statistics().commits;
    let payload = "x".repeat(1 << 20);
    let waiting = submit(&store, (0..21).map(|_| draft("feed:a", &payload)));
    go.send(()).unwrap();
    assert_eq!(waiting.iter().filter(Result::is_ok).count(), 21);
    assert_eq!(store.statistics().commits - before, 3, "seven in each");
}

#[test]
fn the_wal_stays_short_although_somebody_reads_at_every_moment() {
    let place = Place::sqlite();
    let store = place.open();
    let payload = "x".repeat(100 << 10);
    let ended = AtomicBool::new(false);
    let longest = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    read(&store, &name("feed:a"), Extent::Newest(10));
                }
            });
        }
        let mut longest = 0;
        for _ in 0..30 {
            let answers = submit(&store, (0..100).map(|_| draft("feed:a", &payload)));
            assert_eq!(answers.iter().filter(Result::is_ok).count(), 100);
            longest = longest.max(wal_bytes(&place));
        }
        ended.store(true, Ordering::Relaxed);
        longest
    });
    assert!(longest < 100 << 20, "300 MB were written; the WAL had {longest} bytes");
}

#[test]
fn the_wal_is_short_again_after_somebody_has_read_for_long() {
    let place = Place::sqlite();
    let store = place.open();
    append(&store, draft("feed:a", "1"));
    let backup = rusqlite::Connection::open(place.path()).unwrap();
    backup.execute_batch("BEGIN; SELECT * FROM events").unwrap();
    let payload = "x".repeat(1 << 20);
    let answers = submit(&store, (0..60).map(|_| draft("feed:a", &payload)));
    assert_eq!(answers.iter().filter(Result::is_ok).count(), 60);
    let answers = submit(&store, (0..40).map(|_| draft("feed:a", &payload)));
    assert_eq!(answers.iter().filter(Result::is_ok).count(), 40);
    assert!(wal_bytes(&place) > 90 << 20, "what the backup reads is kept for it");
    drop(backup);
    for _ in 0..50 {
        append(&store, draft("feed:a", &payload));
    }
    assert!(wal_bytes(&place) < 64 << 20);
}

fn wal_bytes(place: &Place) -> u64 {
    place.path().with_extension("db-wal").metadata().unwrap().len()
}
