use std::sync::mpsc;

use denrei_hub::{Log, LogError, Seq};
use denrei_store::{Store, StoreConfig};

use crate::harness::{Place, draft, next, submit, try_append};

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

#[test]
fn operations_past_the_bound_are_refused_at_once_and_use_no_number() {
    let place = Place::new();
    let config = StoreConfig { waiting_operations: 10, ..StoreConfig::default() };
    let store = Store::open(place.path(), config).unwrap();
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

#[test]
fn bytes_past_the_bound_are_refused_at_once() {
    let place = Place::new();
    let config = StoreConfig { waiting_bytes: 100_000, ..StoreConfig::default() };
    let store = Store::open(place.path(), config).unwrap();
    let go = occupy(&store);
    let waiting = submit(&store, [draft("feed:a", &"x".repeat(90_000))]);
    assert!(try_append(&store, draft("feed:a", &"x".repeat(20_000))).is_err());
    go.send(()).unwrap();
    next(&waiting).unwrap();
    assert!(try_append(&store, draft("feed:a", &"x".repeat(20_000))).is_ok());
}

#[test]
fn a_group_holds_at_most_1024_operations() {
    let place = Place::new();
    let store = place.open();
    let go = occupy(&store);
    let before = store.statistics().commits;
    let waiting = submit(&store, (0..4 * 1024).map(|_| draft("feed:a", "1")));
    go.send(()).unwrap();
    assert_eq!(waiting.iter().filter(Result::is_ok).count(), 4 * 1024);
    assert_eq!(store.statistics().commits - before, 4);
}

#[test]
fn a_group_holds_about_8_mebibytes() {
    let place = Place::new();
    let store = place.open();
    let go = occupy(&store);
    let before = store.statistics().commits;
    let payload = "x".repeat(1 << 20);
    let waiting = submit(&store, (0..21).map(|_| draft("feed:a", &payload)));
    go.send(()).unwrap();
    assert_eq!(waiting.iter().filter(Result::is_ok).count(), 21);
    assert_eq!(store.statistics().commits - before, 3, "seven in each");
}
