//! Messages of the chat, which are JSON in their log and have a type of their own in Protobuf (`docs/chat.md`).

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

use super::generated::ChatMessage;
use super::generated::chat_message::MessageType;
use super::json;
use crate::native::event::Event;
use crate::native::request::Invalid;

/// The room that is the log of a chat room.
pub(super) fn log_of(room_id: &str) -> String {
    format!("{LOGS}{room_id}")
}

const LOGS: &str = "chat:";

/// The message that an event tells of; none of other events, and of what looks different.
pub(super) fn told(event: &Event<'_>) -> Option<ChatMessage> {
    let tells = event.room.starts_with(LOGS) && matches!(event.event, "message" | "messageUpdated");
    // serde would take an array of the fields' values for the object.
    if !tells || !event.payload.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let message = serde_json::from_slice::<ChatMessage>(event.payload).ok()?;
    // What has neither may be anything, and less of it would arrive than was sent.
    (!message.id.is_empty() && !message.room_id.is_empty()).then_some(message)
}

/// What a client sends, as the payload of a publish: what the server sets is left out.
pub(super) fn sent(message: &ChatMessage) -> Result<String, Invalid> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Sent<'a> {
        content: &'a str,
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(skip_serializing_if = "str::is_empty")]
        client_message_id: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        reply_to: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        thread_id: &'a str,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        mentions: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a RawValue>,
    }
    let kind = MessageType::try_from(message.r#type)
        .map_err(|_| Invalid::field(format!("chat_message.type {} is none", message.r#type)))?;
    let data = match &*message.data {
        "" => None,
        text => Some(json(text, "chat_message.data")?),
    };
    let sent = Sent {
        content: &message.content,
        kind: kind.as_str_name(),
        client_message_id: &message.client_message_id,
        reply_to: &message.reply_to,
        thread_id: &message.thread_id,
        mentions: &message.mentions,
        data,
    };
    Ok(serde_json::to_string(&sent).expect("texts and lists have a form in JSON"))
}

/// Reads the name of a type.
pub(super) fn message_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    let name = String::deserialize(deserializer)?;
    let found = MessageType::from_str_name(&name).map(i32::from);
    found.ok_or_else(|| de::Error::custom("no type of a message"))
}

/// Reads any value as the text that it is written as.
pub(super) fn json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    <&RawValue>::deserialize(deserializer).map(|value| value.get().to_owned())
}
