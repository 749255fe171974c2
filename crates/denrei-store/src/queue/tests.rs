use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Load, Queue};

const ROOMY: Load = Load { items: 100, bytes: 1_000 };

#[test]
fn items_come_out_in_the_order_they_went_in() {
    let queue = Queue::new(ROOMY);
    (1..=5).for_each(|item| queue.push(item, 10).unwrap());
    assert_eq!(queue.take(Load { items: 2, bytes: 1_000 }).unwrap(), [1, 2]);
    assert_eq!(queue.take(Load { items: 10, bytes: 1_000 }).unwrap(), [3, 4, 5]);
    assert_eq!(queue.load(), Load { items: 0, bytes: 0 });
}

#[test]
fn an_item_past_either_bound_is_handed_back() {
    let queue = Queue::new(Load { items: 2, bytes: 100 });
    queue.push("a", 60).unwrap();
    let (item, reason) = queue.push("b", 41).unwrap_err();
    assert_eq!((item, &*reason), ("b", "60 bytes wait for the disk, the limit is 100"));
    queue.push("c", 40).unwrap();
    let (item, reason) = queue.push("d", 0).unwrap_err();
    assert_eq!((item, &*reason), ("d", "2 operations wait for the disk"));
    queue.take(ROOMY).unwrap();
    queue.push("e", 100).unwrap();
}

#[test]
fn at_least_one_item_is_taken_however_large() {
    let queue = Queue::new(ROOMY);
    queue.push(1, 500).unwrap();
    queue.push(2, 1).unwrap();
    assert_eq!(queue.take(Load { items: 10, bytes: 100 }).unwrap(), [1]);
}

#[test]
fn a_shut_queue_refuses_until_it_is_opened() {
    let queue = Queue::new(ROOMY);
    queue.push(1, 10).unwrap();
    assert_eq!(queue.shut(&"broken".into()), [1]);
    assert_eq!(&*queue.push(2, 10).unwrap_err().1, "broken");
    queue.open();
    queue.push(3, 10).unwrap();
    assert_eq!(queue.load(), Load { items: 1, bytes: 10 });
}

#[test]
fn a_closed_queue_is_emptied_and_never_opened() {
    let queue = Queue::new(ROOMY);
    queue.push(1, 10).unwrap();
    queue.close();
    queue.open();
    assert!(queue.push(2, 10).is_err());
    assert_eq!(queue.take(ROOMY), Some(vec![1]));
    assert_eq!(queue.take(ROOMY), None);
    queue.shut(&"broken".into());
    assert_eq!(queue.take(ROOMY), None);
}

#[test]
fn who_waits_hears_of_an_item_and_of_the_end() {
    let queue = Arc::new(Queue::new(ROOMY));
    let waiting = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || (queue.take(ROOMY), queue.take(ROOMY)))
    };
    thread::sleep(Duration::from_millis(20));
    queue.push(1, 10).unwrap();
    while queue.load().items > 0 {
        thread::yield_now();
    }
    queue.close();
    assert_eq!(waiting.join().unwrap(), (Some(vec![1]), None));
}

#[test]
fn a_pause_ends_when_the_queue_is_closed() {
    let queue = Arc::new(Queue::<()>::new(ROOMY));
    assert!(!queue.wait_for_close(Duration::from_millis(5)));
    let begin = Instant::now();
    let waiting = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || queue.wait_for_close(Duration::from_secs(60)))
    };
    queue.close();
    assert!(waiting.join().unwrap());
    assert!(begin.elapsed() < Duration::from_secs(30));
}
