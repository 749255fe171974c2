//! A namespace without handlers of an application, shared with servers of Node and emitters: clients join and leave rooms
//! and publish there, as they do in `/`; what happens to them besides is said by the others.
//!
//! `join(room, ack)`, `leave(room, ack)`, `publish(room, event, …arguments, ack)`, `auth(token, ack)`. Nothing is numbered
//! or kept. For the policy the room `x` of `/shop` is `sio:/shop:x`, by which the other protocols may reach it too.

use std::sync::Arc;

use denrei_hub::RoomName;
use denrei_proto::codes::Code;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::app::App;
use crate::chat::Caller;
use crate::policy::Action;
use crate::refusal::Refusal;
use crate::socketio::{Ack, Args, Compat, InvalidNamespace, Raw, Share, Socket};

/// Opens the namespace, on the current runtime.
pub(crate) fn open(app: &Arc<App>, name: &str, compat: Compat) -> Result<(), InvalidNamespace> {
    let namespace = app.io.of(name)?;
    namespace.compat(compat).share(Share::Publish);
    let weak = Arc::downgrade(app);
    namespace.on("join", move |socket, args: Raw, ack| {
        let app = weak.upgrade();
        async move { say(ack, join(app, &socket, &args.0).await) }
    });
    namespace.on("leave", async |socket, args: Raw, ack| say(ack, leave(&socket, &args.0)));
    let weak = Arc::downgrade(app);
    namespace.on("publish", move |socket, args: Raw, ack| {
        let app = weak.upgrade();
        async move { say(ack, publish(app, &socket, &args.0).await) }
    });
    namespace.on("auth", async |socket, token: String, ack| {
        say(ack, socket.authenticate(&token).map(|()| json!({ "userId": socket.user() })));
    });
    Ok(())
}

fn say(ack: Ack, outcome: Result<Value, Refusal>) {
    match outcome {
        Ok(answer) => ack.send(&answer),
        Err(refusal) => {
            tracing::debug!(%refusal, "an event was refused");
            ack.send(&Raw(Args::trusted(format!("[{}]", refusal.body()).into(), Vec::new())));
        }
    }
}

async fn join(app: Option<Arc<App>>, socket: &Socket, args: &Args) -> Result<Value, Refusal> {
    let room: String = args.decode().map_err(|_| wrong("join takes the room's name"))?;
    may(app, socket, Action::Read(&whole(socket, &room)?)).await?;
    socket.join(&room).map_err(|error| Refusal::new(Code::Forbidden, error.to_string()))?;
    Ok(json!({ "room": room }))
}

fn leave(socket: &Socket, args: &Args) -> Result<Value, Refusal> {
    let room: String = args.decode().map_err(|_| wrong("leave takes the room's name"))?;
    socket.leave_room(&room);
    Ok(json!({ "room": room }))
}

async fn publish(app: Option<Arc<App>>, socket: &Socket, args: &Args) -> Result<Value, Refusal> {
    const WHAT: &str = "publish takes the room's name, the event's name and the arguments";
    let (room, event): (String, String) = args.decode().map_err(|_| wrong(WHAT))?;
    may(app, socket, Action::Publish(&whole(socket, &room)?, &event)).await?;
    let rest: Vec<_> = args.raw().into_iter().skip(2).map(RawValue::get).collect();
    let rest = Args::new(format!("[{}]", rest.join(",")), args.attachments().to_vec()).map_err(|_| wrong(WHAT))?;
    socket.to(&room).emit(&event, &Raw(rest)).map_err(|error| wrong(&error.to_string()))?;
    Ok(json!({}))
}

/// The name of a room as everybody else knows it.
fn whole(socket: &Socket, room: &str) -> Result<RoomName, Refusal> {
    Ok(RoomName::parse(&format!("sio:{}:{room}", socket.namespace().name()))?)
}

async fn may(app: Option<Arc<App>>, socket: &Socket, action: Action<'_>) -> Result<(), Refusal> {
    let app = app.ok_or_else(|| Refusal::later(Code::ShuttingDown, "the server has stopped"))?;
    let caller = Caller { identity: socket.handshake().identity(), connection: None };
    app.check(caller, action).made().await
}

fn wrong(sentence: &str) -> Refusal {
    Refusal::new(Code::InvalidField, sentence)
}
