use super::*;

const RATE: Rate = Rate { capacity: 5, refill_per_second: 2.0 };
const SECOND: u64 = 1_000_000;

#[test]
fn a_bucket_gives_its_capacity_at_once_and_then_what_flows_in() {
    let mut bucket = Bucket::default();
    for _ in 0..5 {
        assert_eq!(bucket.take(RATE, 1, SECOND), Ok(()));
    }
    assert_eq!(bucket.take(RATE, 1, SECOND), Err(Duration::from_millis(500)));
    // Who asks in vain does not wait longer for it.
    assert_eq!(bucket.take(RATE, 1, SECOND), Err(Duration::from_millis(500)));
    assert_eq!(bucket.take(RATE, 1, SECOND + SECOND / 2), Ok(()));
    assert_eq!(bucket.take(RATE, 3, SECOND + SECOND / 2), Err(Duration::from_millis(1500)));
    assert_eq!(bucket.take(RATE, 3, 3 * SECOND), Ok(()));
}

#[test]
fn what_costs_more_than_fits_in_takes_all() {
    let mut bucket = Bucket::default();
    assert_eq!(bucket.take(RATE, 100, SECOND), Ok(()));
    assert_eq!(bucket.take(RATE, 1, SECOND), Err(Duration::from_millis(500)));
}

#[test]
fn over_a_long_time_no_more_passes_than_flows_in() {
    let mut bucket = Bucket::default();
    let passed = (0..100 * SECOND).step_by(10_000).filter(|now| bucket.take(RATE, 1, *now).is_ok()).count();
    assert!((205 - 2..=205).contains(&passed), "{passed}");
}

#[test]
fn buckets_that_are_full_again_are_forgotten() {
    let buckets = Buckets::default();
    for key in 0..10_000u64 {
        assert_eq!(buckets.take(&key, RATE, 1, key * SECOND), Ok(()));
    }
    assert!(buckets.0.lock().expect("nobody panicked").buckets.len() <= 1024);
}

#[test]
fn a_network_is_one_owner() {
    let of = |text: &str| network(text.parse().expect("an address"));
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
}

#[test]
fn costs_are_by_class_and_by_name() {
    let costs = [("publish", 2), ("publish:typing", 0), ("join", 5)];
    let costs = costs.map(|(name, cost)| (name.to_owned(), cost)).into();
    let rates = Rates { costs, ..Rates::default() };
    assert_eq!(rates.cost(Asking::Publish("message")), 2);
    assert_eq!(rates.cost(Asking::Publish("typing")), 0);
    assert_eq!(rates.cost(Asking::Join), 5);
    assert_eq!(rates.cost(Asking::Event("typing")), 1);
}
