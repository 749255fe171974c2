//! Files over plain requests: uploads, what is known of them, and their bytes.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use denrei_hub::{Name, RoomName};
use denrei_proto::codes::Code;
use denrei_store::files::File;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use serde::Deserialize;
use serde_json::json;

use super::body;
use crate::app::App;
use crate::chat::{Caller, is_chat};
use crate::facts::Facts;
use crate::files::{Upload, no_file};
use crate::identity::Identity;
use crate::policy::{Action, Decision};
use crate::rates::Asking;
use crate::refusal::Refusal;

mod download;
mod range;
mod source;

/// The paths of files; those of the bytes themselves last.
pub(super) const PATHS: [&str; 6] = [
    "/api/files",
    "/api/files/direct",
    "/api/files/{id}",
    "/api/files/{id}/complete",
    "/api/files/{id}/content",
    "/api/files/{id}/thumbnail",
];

/// The requests of who says who they are.
pub(super) fn routes() -> Router<Arc<App>> {
    let [all, direct_path, one, complete_path, ..] = PATHS;
    Router::new()
        .route(all, post(upload))
        .route(direct_path, post(direct))
        .route(one, get(show).delete(remove))
        .route(complete_path, post(complete))
}

/// The requests whose link may say enough.
pub(super) fn linked() -> Router<Arc<App>> {
    let [.., content, thumbnail] = PATHS;
    Router::new().route(content, get(download::content)).route(thumbnail, get(download::thumbnail))
}

/// `POST /api/files?name=&room=`: the file as the body, or in a form. Answers 201 when it is kept.
async fn upload(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Refusal> {
    let files = app.files()?;
    app.limiter.pass(&identity, Asking::Call)?;
    let (parts, body) = request.into_parts();
    let facts = Facts::of(&parts);
    let room = facts.parameter("room").map(|room| RoomName::parse(&room)).transpose()?;
    may_upload(&app, &identity, room.as_ref()).await?;
    let mut source = source::Source::of(&facts, body)?;
    // Before anything is set aside: the name may stand in the form.
    let named = source.begin(app.limits().body).await?;
    let name = facts.parameter("name").map(Cow::into_owned).or(named).unwrap_or_default();
    let sha256 = digest(&parts)?;
    if sha256.is_some() && source.is_form() {
        let sentence = "the digest of a form is not that of its file: send the file as the body";
        return Err(Refusal::new(Code::InvalidField, sentence));
    }
    // A form is larger than its file; who says nothing has the largest file set aside.
    let announced = facts.one("content-length").and_then(|length| length.parse().ok());
    let bytes = announced.map(|bytes: u64| if source.is_form() { bytes.min(files.config.max) } else { bytes });
    let upload = Upload { user: identity.user.clone(), room, name: name_of(&name), bytes, sha256 };
    let file = files.upload(upload, source.pieces()).await?;
    // The body may have taken its time.
    if let Err(refusal) = app.decided(&identity, Decision::allowed()).await {
        files.remove(&file.id).await?;
        return Err(refusal);
    }
    Ok((StatusCode::CREATED, told(&app, &file)?).into_response())
}

/// `POST /api/files/direct` `{name, bytes, room?}`: where the client may put the file itself.
async fn direct(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    body: Body,
) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        #[serde(default)]
        name: String,
        bytes: u64,
        room: Option<String>,
    }
    let files = app.files()?;
    app.limiter.pass(&identity, Asking::Call)?;
    let body = body::message(&app, body).await?;
    let asked: Asked = body::object(&body.bytes)?;
    let room = asked.room.map(|room| RoomName::parse(&room)).transpose()?;
    may_upload(&app, &identity, room.as_ref()).await?;
    let upload = Upload {
        user: identity.user.clone(),
        room,
        name: name_of(&asked.name),
        bytes: Some(asked.bytes),
        sha256: None,
    };
    let (id, url, expires) = files.direct(upload).await?;
    let answer = json!({ "id": id, "method": "PUT", "url": url, "headers": {}, "expires": expires });
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], axum::Json(answer)).into_response())
}

/// `POST /api/files/{id}/complete` `{sha256?}`: the file is there. Answers as an upload does.
async fn complete(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, Refusal> {
    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        sha256: Option<String>,
    }
    let files = app.files()?;
    app.limiter.pass(&identity, Asking::Call)?;
    let body = body::message(&app, body).await?;
    let asked: Asked = if body.bytes.is_empty() { Asked::default() } else { body::object(&body.bytes)? };
    let wrong = || Refusal::new(Code::InvalidField, "sha256 is 64 hexadecimal digits");
    let sha256 = asked.sha256.map(|text| hash_of(&text).ok_or_else(wrong)).transpose()?;
    let file = own(&app, &identity, id).await?;
    if file.is_stored {
        // It has been told before, and the answer was lost.
        return Ok(told(&app, &file)?.into_response());
    }
    let file = files.complete(file, sha256).await?;
    Ok((StatusCode::CREATED, told(&app, &file)?).into_response())
}

/// `GET /api/files/{id}`: what is known of it, with fresh links.
async fn show(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    app.limiter.pass(&identity, Asking::Call)?;
    let file = find(&app, id).await?;
    may_read(&app, &identity, &file).await?;
    Ok(told(&app, &file)?.into_response())
}

/// `DELETE /api/files/{id}`
async fn remove(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    app.limiter.pass(&identity, Asking::Call)?;
    let file = own(&app, &identity, id).await?;
    app.files()?.remove(&file.id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn told(app: &App, file: &File) -> Result<impl IntoResponse + use<>, Refusal> {
    let body = app.files()?.told(file).to_string();
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body))
}

async fn find(app: &App, id: Result<Path<String>, PathRejection>) -> Result<File, Refusal> {
    let Path(id) = id.map_err(|_| no_file())?;
    app.files()?.find(&id).await?.ok_or_else(no_file)
}

/// A file of who asks. To others it is not there, unless they may read it.
async fn own(app: &App, identity: &Identity, id: Result<Path<String>, PathRejection>) -> Result<File, Refusal> {
    let file = find(app, id).await?;
    if is_own(identity, &file) || identity.has_role("admin") {
        return Ok(file);
    }
    may_read(app, identity, &file).await?;
    Err(Refusal::new(Code::Forbidden, "the file is another user's"))
}

fn is_own(identity: &Identity, file: &File) -> bool {
    file.user.as_deref() == identity.user.as_ref().map(Name::as_str)
}

/// Its user may read it, and who may read its room. To everybody else it is not there.
async fn may_read(app: &App, identity: &Identity, file: &File) -> Result<(), Refusal> {
    if is_own(identity, file) || identity.has_role("admin") {
        return Ok(());
    }
    let room = file.room.as_deref().filter(|_| file.is_stored).ok_or_else(no_file)?;
    let caller = Caller { identity, connection: None };
    let decision = app.check(caller, Action::Read(&RoomName::parse(room)?));
    app.decided(identity, decision).await.map_err(|refusal| match refusal.code {
        Code::Forbidden | Code::NotAMember | Code::Banned => no_file(),
        _ => refusal,
    })
}

/// Whoever is somebody may upload; to a room, who may publish there.
async fn may_upload(app: &App, identity: &Identity, room: Option<&RoomName>) -> Result<(), Refusal> {
    if app.is_stopping() {
        return Err(Refusal::later(Code::ShuttingDown, "the server is about to stop"));
    }
    if identity.user.is_none() && !app.access().development {
        return Err(Refusal::new(Code::Forbidden, "guests cannot upload files: it takes a token"));
    }
    let Some(room) = room else { return Ok(()) };
    let caller = Caller { identity, connection: None };
    let event = if is_chat(room) { "message" } else { "file" };
    app.decided(identity, app.check(caller, Action::Publish(room, event))).await?;
    match &app.chat {
        Some(chat) if is_chat(room) => chat.may_send(room, caller).await,
        _ => Ok(()),
    }
}

/// What a file is called, for people: one line of at most 255 bytes without what turns text around or ends it. It is never
/// a path.
fn name_of(said: &str) -> Box<str> {
    const MOST: usize = 255;
    let unseen = |sign: char| {
        sign.is_control()
            || matches!(sign, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let last = said.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut name = String::new();
    for sign in last.chars().filter(|sign| !unseen(*sign)) {
        if name.len() + sign.len_utf8() > MOST {
            break;
        }
        name.push(sign);
    }
    let name = name.trim();
    if name.is_empty() || name.chars().all(|sign| sign == '.') { "file".into() } else { name.into() }
}

/// The SHA-256 that the body must have, in the words of RFC 9530 or of RFC 3230 before it. Other hashes are not looked at.
fn digest(parts: &Parts) -> Result<Option<[u8; 32]>, Refusal> {
    for name in ["content-digest", "repr-digest", "digest"] {
        let values = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        for digest in values.flat_map(|value| value.split(',')) {
            let Some((algorithm, value)) = digest.split_once('=') else { continue };
            if !algorithm.trim().eq_ignore_ascii_case("sha-256") {
                continue;
            }
            let hash = STANDARD.decode(value.trim().trim_matches(':')).ok().and_then(|hash| hash.try_into().ok());
            let wrong = || Refusal::new(Code::InvalidField, format!("{name}: sha-256 is 32 bytes in Base64"));
            return hash.ok_or_else(wrong).map(Some);
        }
    }
    Ok(None)
}

fn hash_of(hexadecimal: &str) -> Option<[u8; 32]> {
    let digits = hexadecimal.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(&hexadecimal[2 * at..2 * at + 2], 16).unwrap_or_default();
    Some(std::array::from_fn(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_and_no_path() {
        assert_eq!(&*name_of("photo of us.png"), "photo of us.png");
        assert_eq!(&*name_of("../../etc/passwd"), "passwd");
        assert_eq!(&*name_of("C:\\Windows\\win.ini"), "win.ini");
        assert_eq!(&*name_of("a\0b\r\nc\u{202e}gnp.exe"), "abcgnp.exe");
        for nothing in ["", "..", ".", "/", "\u{200b}", "   "] {
            assert_eq!(&*name_of(nothing), "file", "{nothing:?}");
        }
        assert_eq!(name_of(&"ü".repeat(1000)).len(), 254);
    }

    #[test]
    fn a_hash_is_64_digits() {
        assert_eq!(hash_of(&"0f".repeat(32)), Some([15; 32]));
        for wrong in ["", "0f", &"0g".repeat(32), &"ü".repeat(32), &"+f".repeat(32)] {
            assert_eq!(hash_of(wrong), None, "{wrong}");
        }
    }
}
