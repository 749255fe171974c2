use super::*;

#[test]
fn a_value_belongs_to_the_first_bound_that_is_not_below_it() {
    let histogram = Histogram::new(&[10, 20]);
    for value in [0, 10, 11, 20, 21, 1000] {
        histogram.observe(value);
    }
    assert_eq!(histogram.read(), Distribution { bounds: &[10, 20], counts: vec![2, 2, 2], sum: 1062 });
}

#[test]
fn names_are_a_closed_set_and_the_rest_is_one() {
    let names = EventNames::new(["message", "typing", "message", "other"]);
    assert_eq!(names.all().collect::<Vec<_>>(), ["message", "typing", "other"]);
    assert_eq!(["message", "typing", "other", "x", ""].map(|name| names.number(name)), [0, 1, 2, 2, 2]);
}
