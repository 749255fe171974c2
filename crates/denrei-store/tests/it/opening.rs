use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use denrei_hub::{Extent, Log, LogError, Seq};
use denrei_store::{Store, StoreConfig, StoreError};

use crate::harness::{Place, append, draft, name, next, on_both, read, read_all, submit, try_append, wait, with_id};

on_both!(
    two_databases_have_two_epochs,
    a_room_goes_on_where_it_was_when_the_store_was_closed,
    a_database_of_a_newer_server_is_refused,
    a_changed_epoch_is_that_of_old_and_new_messages_and_stays,
    closing_waits_for_what_was_handed_in_and_refuses_what_comes_later,
    the_last_owner_of_a_store_may_be_the_answer_to_an_append,
);

fn a_room_goes_on_where_it_was_when_the_store_was_closed(place: &Place) {
    let store = place.open();
    let epoch = store.epoch();
    append(&store, draft("feed:a", "1"));
    append(&store, with_id(draft("feed:a", "2"), "x"));
    drop(store);

    let store = place.open();
    assert_eq!(store.epoch(), epoch);
    assert_eq!(read_all(&store, "feed:a"), [(1, "1".into()), (2, "2".into())]);
    assert!(append(&store, with_id(draft("feed:a", "again"), "x")).duplicate);
    let appended = append(&store, draft("feed:a", "3"));
    assert_eq!((appended.message.seq, appended.message.epoch.clone()), (Seq(3), epoch));
}

#[test]
fn a_database_that_is_open_cannot_be_opened_again() {
    let place = Place::sqlite();
    let store = place.open();
    let error = Store::open(place.path(), StoreConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    append(&store, draft("feed:a", "still works"));
    store.close();
    drop(store);
    place.open();
}

#[test]
fn a_new_database_is_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/of/denrei.db");
    let store = Store::open(&path, StoreConfig::default()).unwrap();
    append(&store, draft("feed:a", "1"));
    let mode = |path: &str| directory.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
    for file in ["denrei.db", "denrei.db-wal", "denrei.db-shm", "denrei.db.lock"] {
        assert_eq!(mode(&format!("data/of/{file}")), 0o600, "{file}");
    }
    assert_eq!((mode("data"), mode("data/of")), (0o700, 0o700));
}

#[test]
fn the_mode_of_an_existing_database_is_left_alone() {
    let place = Place::sqlite();
    drop(place.open());
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o640)).unwrap();
    drop(place.open());
    assert_eq!(place.path().metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_closed_store_leaves_one_file_with_everything() {
    let place = Place::sqlite();
    let store = place.open();
    append(&store, draft("feed:a", "1"));
    store.close();
    assert!(!place.path().with_extension("db-wal").exists());
}

fn a_database_of_a_newer_server_is_refused(place: &Place) {
    drop(place.open());
    place.meddle("UPDATE meta SET value = '1000' WHERE key = 'schema_version'");
    let error = place.open_with(StoreConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 1000, .. }), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let place = Place::sqlite();
    let text = "this is a letter, not a database. ".repeat(100);
    std::fs::write(place.path(), &text).unwrap();
    let error = Store::open(place.path(), StoreConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(place.path()).unwrap(), text);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let error = Store::open("/proc/denrei/denrei.db", StoreConfig::default()).unwrap_err();
    assert!(error.to_string().contains("/proc"), "{error}");
}

fn two_databases_have_two_epochs(place: &Place) {
    assert_ne!(place.open().epoch(), place.another().open().epoch());
}

fn a_changed_epoch_is_that_of_old_and_new_messages_and_stays(place: &Place) {
    let store = place.open();
    let old = store.epoch();
    append(&store, with_id(draft("feed:a", "1"), "x"));
    let new = wait(store.change_epoch()).unwrap();
    assert_ne!(new, old);
    assert_eq!(store.epoch(), new);
    assert_eq!(append(&store, draft("feed:a", "2")).message.position().to_string(), format!("{new}:2"));
    assert_eq!(append(&store, with_id(draft("feed:a", "1"), "x")).message.epoch, new);
    let page = read(&store, &name("feed:a"), Extent::Newest(10));
    assert_eq!(page.epoch, new);
    assert!(page.messages.iter().all(|message| message.epoch == new));
    drop(store);
    assert_eq!(place.open().epoch(), new);
}

fn closing_waits_for_what_was_handed_in_and_refuses_what_comes_later(place: &Place) {
    let store = place.open();
    let answers = submit(&store, (0..5_000).map(|at| draft("feed:a", &at.to_string())));
    store.close();
    for at in 1..=5_000 {
        assert_eq!(answers.try_recv().unwrap().unwrap().message.seq, Seq(at));
    }
    assert!(matches!(try_append(&store, draft("feed:a", "late")), Err(LogError::Unavailable(_))));
    assert!(matches!(wait(store.read(&name("feed:a"), Extent::Newest(1))), Err(LogError::Unavailable(_))));
    assert!(wait(store.check()).is_err());
    store.close();
    drop(store);
    assert_eq!(read_all(&place.open(), "feed:a").len(), 5_000);
}

fn the_last_owner_of_a_store_may_be_the_answer_to_an_append(place: &Place) {
    let store = Arc::new(place.open());
    let (tell, told) = mpsc::sync_channel(1);
    let last = Arc::clone(&store);
    let (go, wait_to_go) = mpsc::sync_channel::<()>(1);
    store.append(
        draft("feed:a", "1"),
        Box::new(move |answer| {
            wait_to_go.recv().unwrap();
            drop(last);
            tell.send(answer.map(drop)).unwrap();
        }),
    );
    drop(store);
    go.send(()).unwrap();
    told.recv_timeout(Duration::from_secs(30)).expect("the writer does not wait for itself").unwrap();
    let opened = (0..300).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        place.open_with(StoreConfig::default()).ok()
    });
    assert_eq!(read_all(&opened.expect("the database is let go of"), "feed:a").len(), 1);
}

#[test]
fn a_backup_by_another_program_delays_appends_but_loses_none() {
    let place = Place::sqlite();
    let store = place.open();
    append(&store, draft("feed:a", "1"));
    let other = rusqlite::Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answers = submit(&store, [draft("feed:a", "2")]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(answers.try_recv().is_err(), "the other program holds the lock");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(next(&answers).unwrap().message.seq, Seq(2));
    assert_eq!(store.statistics().failures, 0);
}
