//! The laws of logs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::{runtime, within};
use crate::{Appended, Draft, Extent, Log, Name, Page, Position, RoomName, Seq, random_token};

/// Checks all laws, each on a log that `make` makes, inside a tokio runtime (current thread, time and IO enabled).
///
/// The log must keep at least 1,000 messages of a room of class `feed`.
///
/// # Panics
/// At the first broken law, with its number.
pub fn log_laws(make: impl Fn() -> Arc<dyn Log>) {
    for law in [
        numbers_have_no_holes,
        every_draft_is_answered_once,
        answers_come_one_at_a_time_in_order,
        drafts_of_one_caller_keep_their_order,
        the_same_id_is_the_same_message,
        the_same_id_under_way_is_the_same_message,
        an_id_counts_within_its_room_and_user,
        what_was_answered_can_be_read,
        pages_are_consecutive,
        an_unknown_room_is_empty,
        a_message_is_read_as_it_was_written,
    ] {
        law(&Bench::new(&make));
    }
}

fn numbers_have_no_holes(bench: &Bench) {
    let numbers: Vec<_> = (0..50).map(|_| bench.append(bench.draft("null")).message.seq.0).collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>(), "law 1");
}

fn every_draft_is_answered_once(bench: &Bench) {
    // `Done` cannot be called twice; that it is dropped without a call is what can go wrong.
    let answers: Vec<_> = (0..300).map(|_| bench.submit(bench.draft("null"))).collect();
    for answer in answers {
        bench.wait("law 2", answer);
    }
}

fn answers_come_one_at_a_time_in_order(bench: &Bench) {
    let rooms = [bench.room.clone(), room()];
    let witness: [Arc<Witness>; 2] = Default::default();
    let told = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let _runtime = bench.runtime.enter();
                    let mut told = Vec::new();
                    for at in 0..100 {
                        let draft = Draft { room: rooms[at % 2].clone(), ..bench.draft("null") };
                        told.push(witness[at % 2].submit(&*bench.log, draft));
                    }
                    told
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("callers do not panic")).collect::<Vec<_>>()
    });
    for answer in told {
        bench.wait("law 3", answer);
    }
    for witness in witness {
        assert!(!witness.overlap.load(Ordering::SeqCst), "law 3: two answers of one room at the same time");
        assert_eq!(*witness.numbers(), (1..=200).collect::<Vec<_>>(), "law 3: the order of the answers");
    }
}

fn drafts_of_one_caller_keep_their_order(bench: &Bench) {
    let numbers = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let _runtime = bench.runtime.enter();
                    (0..100).map(|_| bench.submit(bench.draft("null"))).collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("callers do not panic")).collect::<Vec<_>>()
    });
    for answers in numbers {
        let numbers: Vec<_> = answers.into_iter().map(|answer| bench.wait("law 4", answer).message.seq).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "law 4: {numbers:?}");
    }
}

fn the_same_id_is_the_same_message(bench: &Bench) {
    let draft = Draft { id: Some(name("1")), user: Some(name("alice")), ..bench.draft("1") };
    let first = bench.append(draft.clone());
    bench.append(bench.draft("null"));
    let second = bench.append(Draft { payload: "2".into(), ..draft });
    assert!(!first.duplicate, "law 5: the first");
    assert!(second.duplicate, "law 5: the second");
    assert_eq!(second.message.position(), first.message.position(), "law 5");
    assert_eq!(second.message.payload, "1", "law 5: the earlier message is reported");
    assert_eq!(bench.head().seq, Seq(2), "law 5: nothing is appended");
}

fn the_same_id_under_way_is_the_same_message(bench: &Bench) {
    let witness = Arc::new(Witness::default());
    let draft = Draft { id: Some(name("1")), ..bench.draft("null") };
    let answers: Vec<_> = {
        let _runtime = bench.runtime.enter();
        (0..20).map(|_| witness.submit(&*bench.log, draft.clone())).collect()
    };
    let answers: Vec<_> = answers.into_iter().map(|answer| bench.wait("law 5", answer)).collect();
    assert!(answers.iter().all(|answer| answer.message.seq == Seq(1)), "law 5: {answers:?}");
    assert!(!answers[0].duplicate, "law 5: the first in line is the message");
    assert!(answers[1..].iter().all(|answer| answer.duplicate), "law 5: the others repeat it");
    assert_eq!(bench.head().seq, Seq(1), "law 5");
    assert_eq!(witness.numbers().len(), 1, "law 5");
}

fn an_id_counts_within_its_room_and_user(bench: &Bench) {
    let by = |user: Option<&str>, from: &str| Draft {
        id: Some(name("1")),
        user: user.map(name),
        from: Some(from.into()),
        ..bench.draft("null")
    };
    assert!(!bench.append(by(Some("alice"), "a")).duplicate, "law 5: the first");
    assert!(!bench.append(by(Some("bob"), "b")).duplicate, "law 5: another user");
    assert!(!bench.append(by(None, "c")).duplicate, "law 5: the first anonymous one");
    assert!(bench.append(by(None, "d")).duplicate, "law 5: anonymous clients share one scope");
    assert!(bench.append(by(Some("alice"), "e")).duplicate, "law 5: another connection of the same user");
    let elsewhere = Draft { room: room(), ..by(Some("alice"), "a") };
    assert!(!bench.append(elsewhere).duplicate, "law 5: another room");
    assert!(!bench.append(Draft { id: Some(name("2")), ..by(Some("alice"), "a") }).duplicate, "law 5: another id");
    assert!(!bench.append(Draft { id: None, ..by(Some("alice"), "a") }).duplicate, "law 5: no id");
}

fn what_was_answered_can_be_read(bench: &Bench) {
    for _ in 0..50 {
        let message = bench.append(bench.draft("null")).message;
        let page = bench.read(Extent::After(Seq(message.seq.0 - 1), 1));
        let kept = page.messages.first().is_some_and(|first| first.seq == message.seq);
        assert!(kept || page.first > message.seq, "law 6: {message:?} is not in {page:?}");
        assert!(page.head >= message.seq, "law 6: the page's head");
        assert!(bench.read(Extent::Newest(1)).head >= message.seq, "law 6: the head of the newest");
        assert!(bench.head().seq >= message.seq, "law 6: the head");
    }
}

fn pages_are_consecutive(bench: &Bench) {
    let epoch = bench.append(bench.draft("null")).message.epoch.clone();
    for _ in 1..100 {
        bench.append(bench.draft("null"));
    }
    let mut after = Seq::ZERO;
    while after < Seq(100) {
        let page = bench.read(Extent::After(after, 7));
        let expected: Vec<_> = (after.0 + 1..=100).take(7).collect();
        assert_eq!(numbers(&page), expected, "after {after}");
        assert_eq!((&page.epoch, page.head, page.first), (&epoch, Seq(100), Seq(1)));
        assert!(page.messages.iter().all(|message| message.epoch == epoch), "messages are of the page's epoch");
        after = Seq(after.0 + expected.len() as u64);
    }
    for beyond in [Seq(100), Seq(101), Seq::LAST] {
        let page = bench.read(Extent::After(beyond, 7));
        assert_eq!((numbers(&page), page.head, page.first), (vec![], Seq(100), Seq(1)), "after {beyond}");
    }
    assert_eq!(numbers(&bench.read(Extent::Newest(3))), [98, 99, 100], "the newest, oldest first");
    assert_eq!(numbers(&bench.read(Extent::Newest(500))).len(), 100, "no more than there are");
}

fn an_unknown_room_is_empty(bench: &Bench) {
    let page = bench.read(Extent::After(Seq::ZERO, 10));
    assert_eq!((numbers(&page), page.head, page.first), (vec![], Seq::ZERO, Seq(1)));
    let message = bench.append(bench.draft("null")).message;
    assert_eq!(message.epoch, page.epoch, "a position of an empty room stays true");
    let other = room();
    let rooms = vec![other.clone(), bench.room.clone(), other];
    let heads = bench.runtime.block_on(within("heads", bench.log.heads(rooms))).expect("the log answers");
    let heads: Vec<_> = heads.iter().map(|head| head.seq.0).collect();
    assert_eq!(heads, [0, 1, 0], "heads are in the order of the rooms");
}

fn a_message_is_read_as_it_was_written(bench: &Bench) {
    let draft = Draft {
        event: name("reaction"),
        payload: Bytes::from_static("{\"é\":[1,null,\"\\u0000\"]}".as_bytes()),
        from: Some("connection-1".into()),
        user: Some(name("ålice")),
        id: Some(name("id")),
        timestamp: 1_763_600_000_123,
        ..bench.draft("")
    };
    let written = bench.append(draft.clone()).message;
    let page = bench.read(Extent::Newest(1));
    let read = &page.messages[0];
    for message in [&written, read] {
        assert_eq!(message.room, draft.room);
        assert_eq!(message.event, draft.event);
        assert_eq!(message.payload, draft.payload);
        assert_eq!(message.from, draft.from);
        assert_eq!(message.user, draft.user);
        assert_eq!(message.timestamp, draft.timestamp);
    }
    assert_eq!(read.position(), written.position());
}

/// One log and one room of it.
struct Bench {
    runtime: Runtime,
    log: Arc<dyn Log>,
    room: RoomName,
}

type Answer = oneshot::Receiver<Appended>;

impl Bench {
    fn new(make: &impl Fn() -> Arc<dyn Log>) -> Self {
        let runtime = runtime();
        let log = {
            let _runtime = runtime.enter();
            make()
        };
        Self { runtime, log, room: room() }
    }

    fn draft(&self, payload: &'static str) -> Draft {
        Draft::new(self.room.clone(), name("message"), payload.into(), 1)
    }

    fn submit(&self, draft: Draft) -> Answer {
        let _runtime = self.runtime.enter();
        Arc::new(Witness::default()).submit(&*self.log, draft)
    }

    fn append(&self, draft: Draft) -> Appended {
        self.wait("an append", self.submit(draft))
    }

    fn wait(&self, law: &str, answer: Answer) -> Appended {
        match self.runtime.block_on(within(law, answer)) {
            Ok(appended) => appended,
            Err(_) => panic!("{law}: the log refused a draft, or dropped it without an answer"),
        }
    }

    fn read(&self, extent: Extent) -> Page {
        self.runtime.block_on(within("a reading", self.log.read(&self.room, extent))).expect("the log can be read")
    }

    fn head(&self) -> Position {
        let heads = self.runtime.block_on(within("a reading", self.log.heads(vec![self.room.clone()])));
        heads.expect("the log can be read").remove(0)
    }
}

/// Sees the answers of one room as they come.
#[derive(Default)]
struct Witness {
    busy: AtomicBool,
    overlap: AtomicBool,
    numbers: Mutex<Vec<u64>>,
}

impl Witness {
    fn submit(self: &Arc<Self>, log: &dyn Log, draft: Draft) -> Answer {
        let (tell, told) = oneshot::channel();
        let witness = Arc::clone(self);
        log.append(
            draft,
            Box::new(move |answer| {
                if witness.busy.swap(true, Ordering::SeqCst) {
                    witness.overlap.store(true, Ordering::SeqCst);
                }
                if let Ok(appended) = answer {
                    if !appended.duplicate {
                        witness.numbers().push(appended.message.seq.0);
                    }
                    // Whoever asked may have panicked.
                    let _ = tell.send(appended);
                }
                witness.busy.store(false, Ordering::SeqCst);
            }),
        );
        told
    }

    fn numbers(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn numbers(page: &Page) -> Vec<u64> {
    page.messages.iter().map(|message| message.seq.0).collect()
}

fn room() -> RoomName {
    name(&format!("feed:law-{}", random_token(12)))
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}
