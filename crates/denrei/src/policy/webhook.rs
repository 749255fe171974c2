//! Asks the application over HTTP.

use std::time::Duration;

use denrei_hub::Name;
use denrei_proto::codes::Code;
use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::outgoing;
use crate::policy::{Action, Decision, Policy};
use crate::refusal::Refusal;

/// Asks an address whether somebody may do something, after another policy has said yes.
///
/// It is sent `{"action": "read" | "publish" | "chat.METHOD", "room", "event"?, "userId"?, "roles", "address"?}` by POST, and answers
/// `{"allow": true}`, or `{"allow": false, "error"?}` with a sentence for the client. Who it asks can tell by a secret in
/// the address.
#[derive(Debug)]
pub struct Webhook<P> {
    /// The policy before it.
    pub first: P,
    /// Where to ask, with `https`, or `http` on this machine.
    pub url: String,
    /// How long to wait for an answer. Default 2 s.
    pub timeout: Duration,
    /// What there being no answer means.
    pub on_failure: OnFailure,
    /// Whether publishing is asked about too, which costs a request for each event. Default false: reading only.
    pub publishing: bool,
}

/// What it means that nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// No, for now.
    Refuse,
    /// Yes.
    Allow,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    action: &'a str,
    room: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    allow: bool,
    error: Option<String>,
}

impl<P: Policy> Policy for Webhook<P> {
    fn allow(&self, identity: &Identity, action: Action<'_>) -> Decision {
        let first = self.first.allow(identity, action);
        let (name, room, event) = match action {
            Action::Read(room) => ("read", room, None),
            Action::Publish(..) if !self.publishing => return first,
            Action::Publish(room, event) => ("publish", room, Some(event)),
            // What keeps up with a conversation is no decision of its own: who reads and writes was asked about.
            Action::Chat(
                _,
                "chat.typing" | "chat.stopTyping" | "chat.markRead" | "chat.markDelivered" | "chat.markUnread",
            ) => return first,
            Action::Chat(room, method) => (method, room, None),
        };
        if let Decision::Now(Err(_)) = first {
            return first;
        }
        let question = Question {
            action: name,
            room: room.as_str(),
            event,
            user_id: identity.user.as_ref().map(Name::as_str),
            roles: &identity.roles,
            address: identity.address.map(|address| address.to_string()),
        };
        let body = serde_json::to_vec(&question).expect("texts have a form in JSON");
        let (url, timeout, on_failure) = (self.url.clone(), self.timeout, self.on_failure);
        Decision::Later(Box::pin(async move {
            first.made().await?;
            let answer = outgoing::post(&url, body, timeout).await;
            let answer = answer.and_then(|json| serde_json::from_slice(&json).map_err(|error| error.to_string()));
            match answer {
                Ok(Answer { allow: true, .. }) => Ok(()),
                Ok(Answer { error, .. }) => {
                    let sentence = error.unwrap_or_else(|| "the application does not allow this".into());
                    Err(Refusal::new(Code::Forbidden, sentence.chars().take(200).collect::<String>()))
                }
                Err(reason) => {
                    let host = outgoing::host(&url);
                    tracing::warn!(%reason, host, ?on_failure, "nobody answered whether something is allowed");
                    match on_failure {
                        OnFailure::Allow => Ok(()),
                        OnFailure::Refuse => {
                            Err(Refusal::later(Code::Unavailable, "whether this is allowed is not known now"))
                        }
                    }
                }
            }
        }))
    }
}
