use super::*;

#[test]
fn what_a_server_says_cannot_break_the_line() {
    let mut report = Report::new();
    report.number("errors", 1.0);
    report.number("nothing", f64::NAN);
    report.text("last_error", "closed: \"no\\way\"\n");
    assert_eq!(report.to_string(), r#"{"errors":1,"nothing":null,"last_error":"closed: \"no\\way\"\u000a"}"#);
}
