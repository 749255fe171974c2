use super::*;

#[test]
fn small_values_are_exact() {
    let mut histogram = Histogram::new();
    for value in 1..=20 {
        histogram.add(value);
    }
    assert_eq!(histogram.quantile(0.5), 10);
    assert_eq!(histogram.quantile(1.0), 20);
}

#[test]
fn every_value_lies_in_a_bucket_at_most_a_thirty_second_wide() {
    for value in [32, 33, 63, 64, 65, 1_000, 123_456, 999_999_999, 60_000_000_000] {
        let edge = upper_edge(bucket(value));
        assert!(edge >= value, "{value} above its edge {edge}");
        assert!(edge - value <= value / 32, "{value} far below its edge {edge}");
    }
}

#[test]
fn a_quantile_is_never_above_the_largest_value() {
    let mut histogram = Histogram::new();
    histogram.add(1_000_001);
    assert_eq!(histogram.quantile(0.99), 1_000_001);
}
