//! What the memory log keeps, what it lets go of, and what it refuses.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use denrei_hub::{
    Appended, Class, Classes, Draft, Epoch, Extent, Keep, Log, LogError, MemoryLimits, MemoryLog, Page, Position, Seq,
    Window,
};

use crate::harness::{draft, name, within};

/// What one message of these tests weighs: see `Message::weight`.
const WEIGHT: usize = 3 * 4 + 768;

#[tokio::test]
async fn a_room_keeps_so_many_messages() {
    let log = log(Window { events: 3, ..Window::default() });
    for _ in 0..5 {
        append(&log, draft("r", "null")).unwrap();
    }
    let page = read(&log, Extent::After(Seq::ZERO, 10)).await;
    assert_eq!((numbers(&page), page.first, page.head), (vec![3, 4, 5], Seq(3), Seq(5)));
}

#[tokio::test]
async fn a_room_keeps_so_many_bytes() {
    let log = log(Window { bytes: 2 * WEIGHT, ..Window::default() });
    for _ in 0..5 {
        append(&log, draft("r", "null")).unwrap();
    }
    assert_eq!(numbers(&read(&log, Extent::Newest(10)).await), [4, 5]);
}

#[tokio::test]
async fn a_message_larger_than_the_window_is_kept_alone() {
    let log = log(Window { bytes: WEIGHT, ..Window::default() });
    append(&log, draft("r", "null")).unwrap();
    append(&log, Draft { payload: vec![b'1'; 4096].into(), ..draft("r", "") }).unwrap();
    assert_eq!(numbers(&read(&log, Extent::Newest(10)).await), [2], "what was accepted can be read");
}

#[tokio::test]
async fn a_room_keeps_messages_for_so_long() {
    let log = log(Window { age: Duration::from_millis(5), ..Window::default() });
    append(&log, draft("r", "null")).unwrap();
    within(async {
        while !numbers(&read(&log, Extent::Newest(10)).await).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let page = read(&log, Extent::After(Seq::ZERO, 10)).await;
    assert_eq!((page.first, page.head), (Seq(2), Seq(1)), "the number is used, the message is gone");
    assert_eq!(append(&log, draft("r", "null")).unwrap().message.seq, Seq(2));
}

#[tokio::test]
async fn a_reader_from_before_the_window_is_told_the_first_number() {
    let log = log(Window { events: 2, ..Window::default() });
    for _ in 0..6 {
        append(&log, draft("r", "null")).unwrap();
    }
    let page = read(&log, Extent::After(Seq(1), 10)).await;
    assert!(page.first > Seq(2), "number 2 is missing, and the page says so");
    assert_eq!(numbers(&page), [5, 6]);
    assert_eq!(numbers(&read(&log, Extent::After(Seq(5), 10)).await), [6]);
}

#[test]
fn a_duplicate_is_known_while_its_message_is_kept() {
    let log = log(Window { events: 2, ..Window::default() });
    let first = Draft { id: Some(name("1")), ..draft("r", "null") };
    assert!(!append(&log, first.clone()).unwrap().duplicate);
    append(&log, draft("r", "null")).unwrap();
    let again = append(&log, first.clone()).unwrap();
    assert_eq!((again.duplicate, again.message.seq), (true, Seq(1)));
    append(&log, draft("r", "null")).unwrap();
    let new = append(&log, first.clone()).unwrap();
    assert_eq!((new.duplicate, new.message.seq), (false, Seq(4)), "with the message its id was forgotten");
    let again = append(&log, first).unwrap();
    assert_eq!((again.duplicate, again.message.seq), (true, Seq(4)), "and the new one is known");
}

#[test]
fn ids_of_users_and_of_anonymous_clients_are_apart() {
    let log = log(Window::default());
    let of = |user: Option<&str>| Draft { id: Some(name("1")), user: user.map(name), ..draft("r", "null") };
    assert!(!append(&log, of(None)).unwrap().duplicate);
    assert!(!append(&log, of(Some("alice"))).unwrap().duplicate);
    assert!(!append(&log, of(Some("bob"))).unwrap().duplicate);
    assert_eq!(append(&log, of(None)).unwrap().message.seq, Seq(1));
    assert_eq!(append(&log, of(Some("alice"))).unwrap().message.seq, Seq(2));
}

#[tokio::test]
async fn a_room_that_is_held_keeps_its_epoch() {
    let log = log(Window { age: Duration::ZERO, ..Window::default() });
    let epoch = epoch(&log).await;
    let hold = log.hold(&name("r"));
    for _ in 0..3 {
        log.sweep();
    }
    assert_eq!(self::epoch(&log).await, epoch);
    drop(hold);
}

#[tokio::test]
async fn a_room_that_was_swept_begins_a_new_epoch() {
    let log = log(Window { age: Duration::ZERO, ..Window::default() });
    append(&log, draft("r", "null")).unwrap();
    let epoch = epoch(&log).await;
    within(async {
        while self::epoch(&log).await == epoch {
            log.sweep();
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(append(&log, draft("r", "null")).unwrap().message.seq, Seq(1), "a new life counts from 1");
}

#[tokio::test]
async fn a_room_with_messages_is_not_swept() {
    let log = log(Window::default());
    append(&log, draft("r", "null")).unwrap();
    let epoch = epoch(&log).await;
    log.sweep();
    assert_eq!(self::epoch(&log).await, epoch);
}

fn two_rooms() -> MemoryLog {
    MemoryLog::new(classes(Window::default()), MemoryLimits { rooms: 2, ..MemoryLimits::default() })
}

#[tokio::test]
async fn a_room_that_keeps_nothing_makes_place_for_another_at_once() {
    let log = two_rooms();
    append(&log, draft("r", "null")).unwrap();
    for empty in 0..9 {
        log.read(&name(&format!("empty-{empty}")), Extent::Newest(1)).await.unwrap();
    }
    append(&log, draft("a", "null")).unwrap();
    assert_eq!(numbers(&read(&log, Extent::Newest(1)).await), [1], "a flood of names costs no messages");
}

#[tokio::test]
async fn a_room_too_many_takes_the_place_of_the_one_that_was_used_the_longest_time_ago() {
    let log = two_rooms();
    append(&log, draft("a", "null")).unwrap();
    append(&log, draft("r", "null")).unwrap();
    append(&log, draft("a", "null")).unwrap();
    let before = epoch(&log).await;
    append(&log, draft("b", "null")).unwrap();
    let a = log.read(&name("a"), Extent::Newest(9)).await.unwrap();
    assert_eq!(numbers(&a), [1, 2], "it was used later");
    assert_ne!(epoch(&log).await, before, "whoever has a position in the other is told");
}

#[tokio::test]
async fn rooms_that_are_held_do_not_make_place() {
    let log = two_rooms();
    append(&log, draft("r", "null")).unwrap();
    let holds = [log.hold(&name("r")), log.hold(&name("a"))];
    assert!(matches!(append(&log, draft("b", "null")), Err(LogError::Full(_))));
    assert!(matches!(log.read(&name("b"), Extent::Newest(1)).await, Err(LogError::Full(_))));
    assert!(log.hold(&name("b")).is_none());
    assert_eq!(append(&log, draft("r", "null")).unwrap().message.seq, Seq(2), "known rooms go on");
    drop(holds);
    assert!(append(&log, draft("b", "null")).is_ok());
}

#[tokio::test]
async fn bytes_past_the_limit_shorten_the_room_that_asks() {
    let limits = MemoryLimits { bytes: 4 * WEIGHT, ..MemoryLimits::default() };
    let log = MemoryLog::new(classes(Window::default()), limits);
    append(&log, draft("other", "null")).unwrap();
    for _ in 0..5 {
        append(&log, draft("r", "null")).unwrap();
    }
    assert_eq!(numbers(&read(&log, Extent::Newest(10)).await), [3, 4, 5]);
    let other = log.read(&name("other"), Extent::Newest(10)).await.unwrap();
    assert_eq!(numbers(&other), [1], "other rooms are left alone");
}

#[tokio::test]
async fn a_message_that_does_not_fit_is_refused_and_costs_nothing() {
    let limits = MemoryLimits { bytes: 4 * WEIGHT, ..MemoryLimits::default() };
    let log = MemoryLog::new(classes(Window::default()), limits);
    append(&log, draft("other", "null")).unwrap();
    append(&log, draft("other", "null")).unwrap();
    append(&log, draft("r", "null")).unwrap();
    let large = Draft { payload: vec![b'1'; 2 * WEIGHT].into(), ..draft("r", "") };
    assert!(matches!(append(&log, large), Err(LogError::Full(_))));
    assert_eq!(numbers(&read(&log, Extent::Newest(10)).await), [1], "the room has lost nothing");
    assert_eq!(append(&log, draft("r", "null")).unwrap().message.seq, Seq(2), "and no number");
}

#[tokio::test]
async fn expired_rooms_make_room_for_others() {
    let limits = MemoryLimits { bytes: 2 * WEIGHT, ..MemoryLimits::default() };
    let log = MemoryLog::new(classes(Window { age: Duration::from_millis(5), ..Window::default() }), limits);
    append(&log, draft("a", "null")).unwrap();
    append(&log, draft("b", "null")).unwrap();
    within(async {
        while append(&log, draft("c", "null")).is_err() {
            log.sweep();
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn log(window: Window) -> MemoryLog {
    MemoryLog::new(classes(window), MemoryLimits::default())
}

fn classes(window: Window) -> Arc<Classes> {
    let mut classes = Classes::default();
    classes.set("live", Class { keep: Keep::Memory(window) });
    Arc::new(classes)
}

/// The memory log answers before `append` returns.
fn append(log: &MemoryLog, draft: Draft) -> Result<Appended, LogError> {
    let answer = Arc::new(Mutex::new(None));
    let told = Arc::clone(&answer);
    log.append(draft, Box::new(move |appended| *told.lock().unwrap() = Some(appended)));
    answer.lock().unwrap().take().unwrap()
}

async fn read(log: &MemoryLog, extent: Extent) -> Page {
    log.read(&name("r"), extent).await.unwrap()
}

async fn epoch(log: &MemoryLog) -> Epoch {
    let Position { epoch, .. } = log.heads(vec![name("r")]).await.unwrap().remove(0);
    epoch
}

fn numbers(page: &Page) -> Vec<u64> {
    page.messages.iter().map(|message| message.seq.0).collect()
}
