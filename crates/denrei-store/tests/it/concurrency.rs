use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use denrei_hub::{Appended, Extent, Log, Seq};

use crate::harness::{Place, draft, name, on_both, read, read_all, submit, wait};

on_both!(
    sixteen_threads_in_eight_rooms_leave_no_hole_and_keep_their_order,
    what_an_answer_reports_can_be_read_at_once_from_any_thread,
    more_reads_than_there_are_places_are_all_answered,
);

fn sixteen_threads_in_eight_rooms_leave_no_hole_and_keep_their_order(place: &Place) {
    const EACH: usize = 1_000;
    let store = place.open();
    std::thread::scope(|scope| {
        for caller in 0..16 {
            let store = &store;
            scope.spawn(move || {
                let drafts = (0..EACH).map(|at| draft(&format!("feed:{}", at % 8), &format!("{caller} {at}")));
                let answers = submit(store, drafts);
                let mut last: HashMap<String, Seq> = HashMap::new();
                for answer in answers {
                    let message = answer.unwrap().message;
                    let last = last.entry(message.room.to_string()).or_default();
                    assert!(message.seq > *last, "numbers of one caller ascend");
                    *last = message.seq;
                }
            });
        }
    });
    for room in 0..8 {
        let all = read_all(&store, &format!("feed:{room}"));
        assert_eq!(all.len(), 16 * EACH / 8);
        let mut last = [None; 16];
        for (_, payload) in all {
            let (caller, at) = payload.split_once(' ').unwrap();
            let (caller, at): (usize, usize) = (caller.parse().unwrap(), at.parse().unwrap());
            assert!(last[caller] < Some(at), "what one caller sent keeps its order");
            last[caller] = Some(at);
        }
    }
    let statistics = store.statistics();
    assert_eq!((statistics.operations, statistics.waiting_operations, statistics.waiting_bytes), (16_000, 0, 0));
    assert!(statistics.commits < 16_000, "appends that wait are committed together");
}

fn what_an_answer_reports_can_be_read_at_once_from_any_thread(place: &Place) {
    const LAST: Seq = Seq(1_000);
    let store = place.open();
    let seen = Arc::new(Mutex::new(Seq::ZERO));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut least = Seq::ZERO;
                while least < LAST {
                    least = *seen.lock().unwrap();
                    let page = read(&store, &name("feed:a"), Extent::Newest(1));
                    assert!(page.head >= least, "{} is not older than {least}", page.head);
                    assert_eq!(page.messages.last().map_or(Seq::ZERO, |message| message.seq), page.head);
                    let head = &wait(store.heads(vec![name("feed:a")])).unwrap()[0];
                    assert!(head.seq >= page.head);
                }
            });
        }
        for at in 0..LAST.0 {
            let seen = Arc::clone(&seen);
            let done = move |answer: Result<Appended, _>| *seen.lock().unwrap() = answer.unwrap().message.seq;
            store.append(draft("feed:a", &at.to_string()), Box::new(done));
            std::thread::yield_now();
        }
    });
}

fn more_reads_than_there_are_places_are_all_answered(place: &Place) {
    let store = place.open();
    crate::harness::append(&store, draft("feed:a", "1"));
    let mut reads = Vec::new();
    for _ in 0..5_000 {
        reads.push(store.read(&name("feed:a"), Extent::Newest(1)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = reads.into_iter().map(tokio::spawn).collect();
        for (at, task) in tasks.into_iter().enumerate() {
            match at % 3 {
                // Whoever asked has gone.
                0 => task.abort(),
                _ => assert_eq!(task.await.unwrap().unwrap().head, Seq(1)),
            }
        }
    });
}
