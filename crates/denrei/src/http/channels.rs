//! `POST /api/channels/{channel}`: the application's own events, by HTTP.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use denrei_proto::codes::Code;
use http::StatusCode;
use serde_json::value::RawValue;

use super::{admin, body};
use crate::app::App;
use crate::events::EventError;
use crate::identity::Identity;
use crate::policy::Decision;
use crate::refusal::Refusal;

/// Publishes the body, which is JSON, on a channel; 202 when the broker has it. Takes the role `admin`.
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    channel: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let Path(channel) = channel.map_err(|_| Refusal::new(Code::InvalidName, "the channel's name is not UTF-8"))?;
    admin::operator(&identity)?;
    let body = body::message(&app, body).await?;
    serde_json::from_slice::<&RawValue>(&body.bytes)
        .map_err(|_| Refusal::new(Code::InvalidMessage, "an event is one JSON value"))?;
    // The body may have taken its time.
    app.decided(&identity, Decision::allowed()).await?;
    app.events.publish_json(&channel, body.bytes.clone()).await.map_err(|error| match error {
        EventError::Bus(error) => Refusal::later(Code::Unavailable, error.to_string()),
        other => Refusal::new(Code::InvalidName, other.to_string()),
    })?;
    Ok(StatusCode::ACCEPTED)
}
