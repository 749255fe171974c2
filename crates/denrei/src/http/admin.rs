//! What operators do, by the role `admin`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use denrei_hub::Name;
use denrei_proto::codes::Code;
use http::StatusCode;
use serde::Deserialize;

use super::body;
use crate::app::App;
use crate::auth::{Revocation, now};
use crate::identity::Identity;
use crate::policy::Decision;
use crate::refusal::Refusal;

/// `POST /api/admin/revocations`: `{userId, issuedBefore?}`, `{tokenId}` or `{everybody: true, issuedBefore?}`. Answers
/// 201 when it is kept; live sessions end at once.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    body: Body,
) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Asked {
        user_id: Option<String>,
        token_id: Option<Box<str>>,
        #[serde(default)]
        everybody: bool,
        issued_before: Option<u64>,
    }
    operator(&identity)?;
    let body = body::message(&app, body).await?;
    let asked: Asked = body::object(&body.bytes)?;
    // A token of this very second is taken for an old one.
    let issued_before = asked.issued_before.unwrap_or_else(|| now() + 1);
    let revocation = match (asked.user_id, asked.token_id, asked.everybody) {
        (Some(user), None, false) => Revocation::User { user_id: Name::parse(&user)?, issued_before },
        (None, Some(token_id), false) => Revocation::Token { token_id },
        (None, None, true) => Revocation::Everybody { issued_before },
        _ => return Err(Refusal::new(Code::InvalidField, "it is one of userId, tokenId and everybody")),
    };
    // The body may have taken its time.
    app.decided(&identity, Decision::allowed()).await?;
    app.auth.revoke(&app.hub, revocation).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// Lets operators pass.
pub(super) fn operator(identity: &Identity) -> Result<(), Refusal> {
    match identity.has_role("admin") {
        true => Ok(()),
        false => Err(Refusal::new(Code::Forbidden, "this takes the role admin")),
    }
}
