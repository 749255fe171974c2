//! What a client of the native protocol asks, and what it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use denrei_hub::{Draft, Message, Name, Outbox, Position, Published, RoomName};
use denrei_proto::codes::Code;
use denrei_proto::native::request::Target;
use denrei_proto::native::{Answer, Invalid, Ref, Request};
use denrei_store::chat::NewMessage;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::app::{App, Drafted, Publish, now_ms};
use crate::chat::{self, Call, Caller};
use crate::policy::Decision;
use crate::rates::Asking;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::wires;

/// A request that has to wait for something; the session reads no further until it is answered.
pub(crate) enum Waiting {
    /// To join a room.
    Join { reference: Option<String>, room: RoomName, since: Option<Position>, echo: bool },
    /// As many publishes are under way as may be.
    Room,
    /// To publish, until somebody has looked up whether the client may.
    Decision { reference: Option<String>, drafted: Box<Drafted>, decision: Decision },
    /// For the chat's answer to a call.
    Call { reference: Option<String>, call: Box<Call>, decision: Decision },
}

/// The publishes of one session that are not answered yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(Arc<AtomicU32>);

impl UnderWay {
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Counts one more; it ends with the call of what this returns.
    pub(crate) fn begin(&self, app: &App, outbox: &Arc<Outbox>) -> impl FnOnce() + Send + use<> {
        self.0.fetch_add(1, Ordering::AcqRel);
        let (Self(under_way), outbox, limit) = (self.clone(), Arc::clone(outbox), app.limits().publishes);
        move || {
            if under_way.fetch_sub(1, Ordering::AcqRel) == limit {
                outbox.wake();
            }
        }
    }

    /// Waits until all are answered. Only a server that stops asks, so it looks again and again: to be told would cost
    /// every publish a wake.
    pub(crate) async fn settled(self) {
        while self.count() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Handles one frame. Most are answered, or under way in order, when this returns; the answer may come later.
pub(crate) fn dispatch(
    session: &mut Session,
    under_way: &UnderWay,
    reference: Option<Ref<'_>>,
    request: Result<Request<'_>, Invalid>,
) -> Option<Waiting> {
    // What it is counted as, and what rates hold it to.
    let (kind, asking) = match &request {
        Ok(Request::Broadcast { event, .. }) => (&**event, Some(Asking::Publish(event))),
        Ok(Request::Join { .. }) => ("join", Some(Asking::Join)),
        Ok(Request::Leave { .. }) => ("leave", None),
        Ok(Request::Direct { .. }) => ("direct", Some(Asking::Direct)),
        Ok(Request::Call { method, .. }) if method == "chat.send" => ("message", Some(Asking::Publish("message"))),
        Ok(Request::Call { method, .. }) if method == "echo" => ("ping", Some(Asking::Call)),
        Ok(Request::Call { .. }) => ("call", Some(Asking::Call)),
        Ok(Request::Auth { .. }) => ("auth", Some(Asking::Call)),
        Err(_) => ("invalid", Some(Asking::Call)),
    };
    session.asks(kind);
    let passed = asking.map_or(Ok(()), |asking| session.pass(asking));
    if let Err(refusal) = passed {
        if let Ok(Request::Broadcast { room, event, payload, id }) = &request {
            let publish = Publish { room, event, payload, id: id.as_deref(), from: Some(&session.outbox) };
            session.app.note_refused(&session.identity, publish, refusal.code);
        }
        session.outbox.push(refused(&session.outbox, reference, &refusal));
        return None;
    }
    let outcome = match request {
        Err(invalid) => Err(invalid.into()),
        Ok(Request::Broadcast { room, event, payload, id }) => {
            match publish(session, under_way, reference, &room, &event, payload, id.as_deref()) {
                Ok(None) => Ok(()),
                Ok(waiting) => return waiting,
                Err(refusal) => Err(refusal),
            }
        }
        Ok(Request::Join { room, since, echo }) => match parse_join(&room, since.as_deref()) {
            Ok((room, since)) => {
                let reference = reference.map(|reference| reference.as_str().to_owned());
                return Some(Waiting::Join { reference, room, since, echo });
            }
            Err(refusal) => Err(refusal),
        },
        Ok(Request::Leave { room }) => leave(session, reference, &room),
        Ok(Request::Direct { target, payload }) => direct(session, under_way, reference, &target, payload),
        Ok(Request::Call { method, payload }) if Call::is_method(&method) => {
            match call(session, under_way, reference, &method, payload) {
                Ok(None) => Ok(()),
                Ok(waiting) => return waiting,
                Err(refusal) => Err(refusal),
            }
        }
        // A browser cannot send a WebSocket ping: this is how it measures the way there and back.
        Ok(Request::Call { method, payload }) if method == "echo" => {
            reply(session, reference, payload);
            Ok(())
        }
        Ok(Request::Call { .. }) => Err(Refusal::new(Code::NotFound, "there is no such method")),
        Ok(Request::Auth { token }) => session.authenticate(&token).map(|()| {
            let user = session.identity.user.as_ref().map(Name::as_str);
            reply(session, reference, &serde_json::json!({ "userId": user }).to_string());
        }),
    };
    if let Err(refusal) = outcome {
        session.outbox.push(refused(&session.outbox, reference, &refusal));
    }
    (under_way.count() >= session.app.limits().publishes).then_some(Waiting::Room)
}

/// Joins a room: the reply first, then what follows `since`, then what comes.
pub(crate) async fn join(
    session: &mut Session,
    reference: Option<&str>,
    room: &RoomName,
    since: Option<Position>,
    echo: bool,
) {
    let reference = reference.and_then(Ref::read);
    match session.join(room, echo).await {
        Ok(reader) => {
            let place = reader.place();
            let payload = serde_json::json!({
                "room": room.as_str(),
                "epoch": place.epoch.as_str(),
                "seq": place.seq.0,
                "members": reader.members(),
            });
            reply(session, reference, &payload.to_string());
            session.follow(room, since);
        }
        Err(refusal) => session.outbox.push(refused(&session.outbox, reference, &refusal)),
    }
}

fn parse_join(room: &str, since: Option<&str>) -> Result<(RoomName, Option<Position>), Refusal> {
    let since = since.map(str::parse).transpose()?;
    Ok((RoomName::parse(room)?, since))
}

fn leave(session: &mut Session, reference: Option<Ref<'_>>, room: &str) -> Result<(), Refusal> {
    let room = RoomName::parse(room)?;
    if !session.leave(&room) {
        return Err(Refusal::new(Code::NotFound, "this connection has not joined the room"));
    }
    reply(session, reference, &serde_json::json!({ "room": room.as_str() }).to_string());
    Ok(())
}

/// Submits a publish that may have to be looked up first.
fn publish(
    session: &Session,
    under_way: &UnderWay,
    reference: Option<Ref<'_>>,
    room: &str,
    event: &str,
    payload: &str,
    id: Option<&str>,
) -> Result<Option<Waiting>, Refusal> {
    let from = Some(&*session.outbox);
    let (drafted, decision) = session.app.draft(&session.identity, Publish { room, event, payload, id, from })?;
    let reference = reference.map(|reference| reference.as_str().to_owned());
    if let Decision::Now(decision) = decision {
        decision?;
        submit(session, under_way, reference, drafted);
        return Ok(None);
    }
    Ok(Some(Waiting::Decision { reference, drafted: Box::new(drafted), decision }))
}

/// Publishes what had to be looked up, if that is allowed.
pub(crate) async fn decide(
    session: &Session,
    under_way: &UnderWay,
    reference: Option<String>,
    drafted: Drafted,
    decision: Decision,
) {
    match session.app.decided(&session.identity, decision).await {
        Ok(()) => submit(session, under_way, reference, drafted),
        Err(refusal) => {
            let reference = reference.as_deref().and_then(Ref::read);
            session.outbox.push(refused(&session.outbox, reference, &refusal));
        }
    }
}

/// Submits a publish; its reply follows when it is as durable as the room makes it.
fn submit(session: &Session, under_way: &UnderWay, reference: Option<String>, drafted: Drafted) {
    let outbox = Arc::clone(&session.outbox);
    let done = under_way.begin(&session.app, &session.outbox);
    session.app.publish(drafted, move |published| {
        let reference = reference.as_deref().and_then(Ref::read);
        match published {
            Ok(published) => {
                if let Some(reference) = reference {
                    let payload = &reply_to_publish(&published);
                    outbox.answer(encoded(&outbox, &Answer::Reply { reference, payload }));
                }
            }
            Err(error) => outbox.answer(refused(&outbox, reference, &error)),
        }
        done();
    });
}

fn reply_to_publish(published: &Published) -> String {
    let Published { position: Position { epoch, seq }, duplicate } = published;
    format!(r#"{{"seq":{seq},"epoch":"{epoch}","duplicate":{duplicate}}}"#)
}

fn direct(
    session: &Session,
    under_way: &UnderWay,
    reference: Option<Ref<'_>>,
    target: &Target<'_>,
    payload: &str,
) -> Result<(), Refusal> {
    let hub = &session.app.hub;
    let word = Name::parse("direct").expect("a word is a name");
    let message = Arc::new(Message::direct(Draft {
        from: Some(session.outbox.client().clone()),
        user: session.identity.user.clone(),
        origin: session.outbox.number(),
        ..Draft::new(word.clone(), word, bytes::Bytes::copy_from_slice(payload.as_bytes()), now_ms())
    }));
    let delivering: BoxFuture<'static, usize> = match target {
        Target::Client(client) => Box::pin(hub.direct_anywhere(&(**client).into(), &message).map(usize::from)),
        Target::User(user) => Box::pin(hub.direct_to_user_anywhere(&Name::parse(user)?, &message)),
    };
    let reference = reference.map(|reference| reference.as_str().to_owned());
    let (outbox, done) = (Arc::clone(&session.outbox), under_way.begin(&session.app, &session.outbox));
    let answering = async move {
        let delivered = delivering.await;
        let reference = reference.as_deref().and_then(Ref::read);
        if delivered == 0 {
            let refusal = Refusal::new(Code::NotFound, "the target is not connected, or does not read");
            outbox.answer(refused(&outbox, reference, &refusal));
        } else if let Some(reference) = reference {
            let payload = &serde_json::json!({ "delivered": delivered }).to_string();
            outbox.answer(encoded(&outbox, &Answer::Reply { reference, payload }));
        }
        done();
    };
    // On one node, and for who is on this one, there is nothing to wait for.
    if let Err(answering) = now_or(answering) {
        tokio::spawn(answering);
    }
    Ok(())
}

/// Runs what may be over at once; what is not is given back.
fn now_or(future: impl Future<Output = ()> + Send + 'static) -> Result<(), BoxFuture<'static, ()>> {
    let mut future: BoxFuture<'static, ()> = Box::pin(future);
    (&mut future).now_or_never().ok_or(future)
}

/// Puts a message of the chat under way; everything else that it is asked waits for its answer.
fn call(
    session: &Session,
    under_way: &UnderWay,
    reference: Option<Ref<'_>>,
    method: &str,
    payload: &str,
) -> Result<Option<Waiting>, Refusal> {
    let caller = Caller { identity: &session.identity, connection: Some(&session.outbox) };
    let (call, decision) = session.app.call(caller, method, payload)?;
    let reference = reference.map(|reference| reference.as_str().to_owned());
    let (call, decision) = match (call.into_message(), decision) {
        (Ok(message), Decision::Now(decision)) => {
            decision?;
            send(session, under_way, reference, message)?;
            return Ok(None);
        }
        (Ok(message), decision) => (Call::of(message), decision),
        (Err(call), decision) => (call, decision),
    };
    Ok(Some(Waiting::Call { reference, call: Box::new(call), decision }))
}

/// Answers what was asked of the chat, if that is allowed.
pub(crate) async fn answer(
    session: &Session,
    under_way: &UnderWay,
    reference: Option<String>,
    call: Call,
    decision: Decision,
) {
    let caller = Caller { identity: &session.identity, connection: Some(&session.outbox) };
    let answered = async {
        session.app.decided(&session.identity, decision).await?;
        match call.into_message() {
            Ok(message) => send(session, under_way, reference.clone(), message).map(|()| None),
            Err(call) => session.app.chat()?.answer(&session.app, caller, call).await.map(Some),
        }
    };
    let answered = answered.await;
    let reference = reference.as_deref().and_then(Ref::read);
    match answered {
        Ok(None) => {}
        Ok(Some(payload)) => reply(session, reference, std::str::from_utf8(&payload).unwrap_or("{}")),
        Err(refusal) => session.outbox.push(refused(&session.outbox, reference, &refusal)),
    }
}

fn send(
    session: &Session,
    under_way: &UnderWay,
    reference: Option<String>,
    message: NewMessage,
) -> Result<(), Refusal> {
    let (outbox, done) = (Arc::clone(&session.outbox), under_way.begin(&session.app, &session.outbox));
    session.app.chat()?.send(message, move |sent| {
        let reference = reference.as_deref().and_then(Ref::read);
        match (sent, reference) {
            (Ok(sent), Some(reference)) => {
                let payload = chat::told(&sent);
                let payload = std::str::from_utf8(&payload).unwrap_or("{}");
                outbox.answer(encoded(&outbox, &Answer::Reply { reference, payload }));
            }
            (Ok(_), None) => {}
            (Err(refusal), reference) => outbox.answer(refused(&outbox, reference, &refusal)),
        }
        done();
    });
    Ok(())
}

fn reply(session: &Session, reference: Option<Ref<'_>>, payload: &str) {
    if let Some(reference) = reference {
        session.outbox.push(encoded(&session.outbox, &Answer::Reply { reference, payload }));
    }
}

pub(crate) fn refused(outbox: &Outbox, reference: Option<Ref<'_>>, refusal: &Refusal) -> bytes::Bytes {
    let Refusal { code, sentence, retry_after_ms } = refusal;
    encoded(outbox, &Answer::Error { reference, code: *code, sentence, retry_after_ms: *retry_after_ms })
}

/// An answer as this client reads it.
pub(crate) fn encoded(outbox: &Outbox, answer: &Answer<'_>) -> bytes::Bytes {
    answer.encode(wires::syntax(outbox.wire()))
}
