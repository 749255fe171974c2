//! A no, with a code.

use axum::response::{IntoResponse, Response};
use denrei_hub::{InvalidName, InvalidPosition, LogError};
use denrei_proto::codes::Code;
use denrei_proto::native::Invalid;
use http::StatusCode;
use serde_json::json;

/// Why something was not done: a code for programs, a sentence for people, and when it may be worth trying again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    /// What kind of no.
    pub code: Code,
    /// What to tell people.
    pub sentence: String,
    /// When to try again, in ms; none when trying again cannot help.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A no that stays one.
    pub fn new(code: Code, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into(), retry_after_ms: None }
    }

    /// A no for now.
    pub fn later(code: Code, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into(), retry_after_ms: Some(1000) }
    }

    /// The body of an HTTP answer.
    pub fn body(&self) -> String {
        let mut body = json!({"error": self.sentence, "code": self.code.as_str()});
        if let Some(advice) = self.code.advice() {
            body["advice"] = advice.into();
        }
        if let Some(after) = self.retry_after_ms {
            body["retryAfter"] = after.into();
        }
        body.to_string()
    }

    /// The status of an HTTP answer.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).expect("every code has a valid status")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after_ms.map(|ms| [("retry-after", ms.div_ceil(1000).to_string())]);
        (self.status(), [("content-type", "application/json")], retry_after, self.body()).into_response()
    }
}

impl From<InvalidName> for Refusal {
    fn from(error: InvalidName) -> Self {
        Self::new(Code::InvalidName, error.to_string())
    }
}

impl From<InvalidPosition> for Refusal {
    fn from(error: InvalidPosition) -> Self {
        Self::new(Code::InvalidPosition, error.to_string())
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::new(invalid.code, invalid.sentence)
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        // The cause may name files or hosts; it is for the operator.
        match error {
            LogError::Full(why) => Self::later(Code::Unavailable, &*why),
            other => {
                tracing::warn!(error = %other, "refused");
                Self::later(Code::Unavailable, "nothing can be kept in this room now, and nothing was")
            }
        }
    }
}
