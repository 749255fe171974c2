use super::*;

#[test]
fn braces_of_json_stay_and_placeholders_go() {
    let template = Template::parse(r#"{"room":"{room}","id":{id},"data":{"{payload}":{}}}"#, "~S{seq}ab");
    let text = template.text(Values { seq: 42, room: 7, id: 9, ..Values::default() });
    assert_eq!(text, r#"{"room":"r0007","id":9,"data":{"~S00000042ab":{}}}"#);
}

#[test]
fn an_empty_template_renders_nothing() {
    assert_eq!(Template::parse("", "x").text(Values::default()), "");
}
