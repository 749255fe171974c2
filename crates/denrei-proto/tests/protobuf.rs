//! The generated code is that of the published `.proto`. It is committed so that nobody needs a compiler of Protobuf to
//! build the server, and a reader sees what was made.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use prost_build::{Config, Module};

#[test]
#[allow(clippy::disallowed_methods, reason = "the one who runs the test says whether to write")]
fn the_generated_code_is_that_of_the_published_proto() {
    let generated = generate();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/native/protobuf/generated.rs");
    if std::env::var("DENREI_REGENERATE").is_ok_and(|value| value == "1") {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "proto/ has changed: run this test with DENREI_REGENERATE=1, and commit the code");
}

fn generate() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let files = protox::compile(["denrei/v1/websocket.proto"], [folder]).unwrap();
    let files = files.file.into_iter().map(|file| (Module::from_protobuf_package_name(file.package()), file));
    let mut config = Config::new();
    // Rooms in a frame stand in the order of their names.
    config.btree_map(["."]);
    // What the chat says in JSON is read into these (the path counts for what is nested, too); see `chat.rs`.
    let derive = "#[derive(::serde::Deserialize)]\n#[serde(rename_all = \"camelCase\", default)]";
    config.message_attribute(".denrei.v1.ChatMessage", derive);
    for (field, read) in [("type", "message_type"), ("data", "json_text")] {
        let attribute = format!("#[serde(deserialize_with = \"super::chat::{read}\")]");
        config.field_attribute(format!(".denrei.v1.ChatMessage.{field}"), attribute);
    }
    let mut modules = config.generate(files.collect()).unwrap();
    let code = modules.remove(&Module::from_protobuf_package_name("denrei.v1")).unwrap();
    assert!(modules.is_empty());
    code
}
