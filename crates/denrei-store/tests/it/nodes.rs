//! Several stores on one database, as several nodes have it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use denrei_hub::{Appended, Extent, Log, Seq};
use denrei_store::{Store, StoreConfig};

use crate::harness::{Place, append, draft, name, read, read_all, submit, wait, with_id};
use crate::server::Server;

#[test]
fn two_stores_that_write_the_same_rooms_give_each_number_once() {
    const EACH: usize = 400;
    let place = Place::postgres();
    let stores = [place.open(), place.open()];
    // Rooms, numbers, what has them. New rooms come up all the time.
    let given: Mutex<BTreeMap<(String, u64), String>> = Mutex::default();
    std::thread::scope(|scope| {
        for caller in 0..6 {
            let (store, given) = (&stores[caller % 2], &given);
            scope.spawn(move || {
                // In either direction, so that transactions meet rooms in different orders.
                let room = |at: usize| if caller < 3 { at % 40 } else { 39 - at % 40 };
                let drafts = (0..EACH).map(|at| {
                    let text = format!("{caller} {at}");
                    with_id(draft(&format!("feed:{}", room(at)), &text), &text)
                });
                for answer in submit(store, drafts) {
                    let Appended { message, duplicate } = answer.unwrap();
                    assert!(!duplicate);
                    let payload = String::from_utf8(message.payload.to_vec()).unwrap();
                    let before = given.lock().unwrap().insert((message.room.to_string(), message.seq.0), payload);
                    assert_eq!(before, None, "{} {} is given once", message.room, message.seq);
                }
            });
        }
    });
    let given = given.into_inner().unwrap();
    assert_eq!(given.len(), 6 * EACH);
    for room in 0..40 {
        let room = format!("feed:{room}");
        let all = read_all(&stores[0], &room);
        assert_eq!(all.len(), 6 * EACH / 40);
        assert_eq!(all, read_all(&stores[1], &room));
        let mut last = [None; 6];
        for (seq, payload) in all {
            assert_eq!(given[&(room.clone(), seq)], payload);
            let (caller, at) = payload.split_once(' ').unwrap();
            let (caller, at): (usize, usize) = (caller.parse().unwrap(), at.parse().unwrap());
            assert!(last[caller] < Some(at), "what one caller sent keeps its order");
            last[caller] = Some(at);
        }
    }
    assert!(stores.iter().all(|store| store.statistics().failures == 0));
}

#[test]
fn an_id_that_is_sent_to_two_stores_at_once_is_one_message() {
    const IDS: usize = 500;
    let place = Place::postgres();
    let stores = [place.open(), place.open()];
    let answers = std::thread::scope(|scope| {
        let callers = stores.each_ref().map(|store| {
            scope.spawn(move || {
                let drafts = (0..IDS).map(|at| with_id(draft("feed:a", &at.to_string()), &at.to_string()));
                submit(store, drafts).iter().map(Result::unwrap).collect::<Vec<_>>()
            })
        });
        callers.map(|caller| caller.join().unwrap())
    });
    for (at, (one, other)) in answers[0].iter().zip(&answers[1]).enumerate() {
        assert_eq!(one.message.position(), other.message.position(), "{at}");
        assert_ne!(one.duplicate, other.duplicate, "{at}: one of them is the first");
    }
    assert_eq!(read_all(&stores[0], "feed:a").len(), IDS);
}

#[test]
fn what_one_store_has_answered_the_other_reads_at_once() {
    let place = Place::postgres();
    let stores = [place.open(), place.open()];
    for at in 1..=200 {
        let (writer, reader) = (&stores[at % 2], &stores[(at + 1) % 2]);
        append(writer, draft("feed:a", &at.to_string()));
        assert_eq!(read(reader, &name("feed:a"), Extent::Newest(1)).head, Seq(at as u64));
    }
}

#[test]
fn an_epoch_that_one_store_begins_is_that_of_the_other() {
    let place = Place::postgres();
    let stores = [place.open(), place.open()];
    append(&stores[1], draft("feed:a", "1"));
    let epoch = wait(stores[0].change_epoch()).unwrap();
    assert_eq!(read(&stores[1], &name("feed:a"), Extent::Newest(1)).epoch, epoch);
    assert_eq!(append(&stores[1], draft("feed:a", "2")).message.epoch, epoch);
    assert_eq!(stores[1].epoch(), epoch);
}

#[test]
fn an_epoch_waits_for_appends_that_have_begun_in_the_old_one() {
    let place = Place::postgres();
    let stores = [place.open(), place.open()];
    std::thread::scope(|scope| {
        let appending = scope.spawn(|| {
            let drafts = (0..2_000).map(|at| draft(&format!("feed:{}", at % 7), "1"));
            submit(&stores[0], drafts).iter().map(|answer| answer.unwrap().message.epoch.clone()).collect::<Vec<_>>()
        });
        let begun: Vec<_> = (0..5).map(|_| wait(stores[1].change_epoch()).unwrap()).collect();
        let mut seen = appending.join().unwrap();
        seen.dedup();
        let order: Vec<_> = seen.iter().filter_map(|epoch| begun.iter().position(|begun| begun == epoch)).collect();
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(append(&stores[0], draft("feed:0", "2")).message.epoch, begun[4]);
    });
    assert!(stores.iter().all(|store| store.statistics().failures == 0));
}

#[test]
fn stores_that_open_an_empty_database_at_once_agree() {
    let place = Place::postgres();
    let config = StoreConfig { readers: 1, ..StoreConfig::default() };
    let stores: Vec<Store> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..8).map(|_| scope.spawn(|| place.open_with(config).unwrap())).collect();
        opening.into_iter().map(|opening| opening.join().unwrap()).collect()
    });
    assert!(stores.iter().all(|store| store.epoch() == stores[0].epoch()));
    for (at, store) in stores.iter().enumerate() {
        assert_eq!(append(store, draft("feed:a", "1")).message.seq, Seq(at as u64 + 1));
    }
}

#[test]
fn stores_that_trim_at_once_let_go_of_everything_once() {
    let place = Place::postgres();
    let stores = [place.open(), place.open()];
    let drafts = (0..4_000).map(|at| draft(&format!("inbox:{}", at % 300), "1"));
    assert_eq!(submit(&stores[0], drafts).iter().filter(Result::is_ok).count(), 4_000);
    let inbox = denrei_hub::Retained::Class("inbox".into());
    std::thread::scope(|scope| {
        for store in &stores {
            scope.spawn(|| wait(store.trim(inbox.clone(), 2_000)).unwrap());
        }
    });
    let left = match &place {
        Place::Postgres(database) => Server::shared().ask(database, "SELECT COUNT(*) FROM events"),
        Place::Sqlite(_) => unreachable!("it was made on the server"),
    };
    assert_eq!(left, "0");
}
