//! What the suites expect of namespaces: the handlers of their own servers, in Rust.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use denrei::socketio::{Failure, InvalidNamespace, Io, Raw, Recovery, Socket};
use serde::Deserialize;
use serde_json::{Value, json};

/// Of Socket.IO's protocol: `/` and `/custom` say what they were joined with, and `/` echoes.
pub(crate) fn sio5(io: &Io) -> Result<(), InvalidNamespace> {
    for name in ["/", "/custom"] {
        io.of(name)?.on_connect(async |socket| {
            let auth: Value = socket.auth().unwrap_or_default();
            let auth = if auth.is_null() { json!({}) } else { auth };
            socket.emit("auth", &auth)?;
            Ok(())
        });
    }
    let root = io.of("/")?;
    root.on("message", async |socket, args: Raw, _| {
        socket.emit("message-back", &args)?;
        Ok(())
    });
    root.on("message-with-ack", async |_, args: Raw, ack| ack.send(&args));
    Ok(())
}

/// Of Socket.IO's client.
pub(crate) fn client(io: &Io) -> Result<(), InvalidNamespace> {
    for name in ["/", "/foo", "/timeout_socket", "/valid", "/asd", "/abc", "/no"] {
        io.of(name)?.recovery(Recovery::default());
    }
    io.of("/foo")?.on("getId", async |socket, (), ack| ack.send(socket.id().as_str()));
    io.of("/abc")?.on_connect(async |socket| {
        socket.emit("handshake", &handshake(&socket))?;
        Ok(())
    });
    io.of("/")?.use_fn(async |socket| match socket.handshake().query("fail") {
        Some(_) => Err(Failure::new("Auth failed (main namespace)")),
        None => Ok(()),
    });
    io.of("/no")?.use_fn(async |_| Err(Failure::new("Auth failed (custom namespace)")));
    io.of("/")?.on_connect(async |socket| {
        replies(&socket);
        binary(&socket);
        blobs(&socket);
    });
    Ok(())
}

fn handshake(socket: &Socket) -> Value {
    socket.handshake().to_json(&socket.auth().unwrap_or_default())
}

fn replies(socket: &Socket) {
    #[derive(Deserialize)]
    struct Tested {
        test: bool,
    }
    const DATE: &str = "2026-01-01T00:00:00.000Z";

    socket.on("hi", async |socket, (), _| socket.emit("hi", &()).map_err(Failure::from));
    socket.on("echo", async |_, value: Value, ack| ack.send(&value));
    socket.on("ack", async |socket, (), _| {
        let answer = socket.emit_with_ack::<(u64, Tested)>("ack", &());
        // Not in the handler: a client that does not answer says the next thing nevertheless.
        tokio::spawn(async move {
            if let Ok((5, Tested { test: true })) = answer.await {
                let _ = socket.emit("got it", &());
            }
        });
    });
    socket.on("getAckDate", async |_, _: Value, ack| ack.send(DATE));
    socket.on("getDate", async |socket, (), _| socket.emit("takeDate", DATE).map_err(Failure::from));
    socket.on("getDateObj", async |socket, (), _| {
        socket.emit("takeDateObj", &json!({ "date": DATE })).map_err(Failure::from)
    });
    socket.on("getUtf8", async |socket, (), _| {
        for text in ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"] {
            socket.emit("takeUtf8", text)?;
        }
        Ok(())
    });
    socket.on("false", async |socket, (), _| socket.emit("false", &false).map_err(Failure::from));
    socket.on("getHandshake", async |socket, (), ack| ack.send(&handshake(&socket)));
    socket.on("getId", async |socket, (), ack| ack.send(socket.id().as_str()));
}

/// Whatever is taken as [`Bytes`] came as binary: else the event fails, and is not answered.
fn binary(socket: &Socket) {
    #[derive(Deserialize)]
    struct Mixed {
        hello: String,
        message: Bytes,
        goodbye: String,
    }
    const DOGE: Bytes = Bytes::from_static(b"asdfasdf");

    socket.on("doge", async |socket, (), _| socket.emit("doge", &DOGE).map_err(Failure::from));
    socket.on("getbin", async |socket, (), _| socket.emit("takebin", &DOGE).map_err(Failure::from));
    socket.on("buffa", async |socket, _: Bytes, _| socket.emit("buffack", &()).map_err(Failure::from));
    socket.on("blob", async |socket, _: Bytes, _| socket.emit("back", &()).map_err(Failure::from));
    for (event, answer) in [("jsonbuff", "jsonbuff-ack"), ("jsonblob", "jsonblob-ack")] {
        socket.on(event, async move |socket, mixed: Mixed, _| {
            if mixed.hello == "lol" && mixed.goodbye == "gotcha" && !mixed.message.is_empty() {
                socket.emit(answer, &())?;
            }
            Ok(())
        });
    }
}

/// What must come in its order.
fn blobs(socket: &Socket) {
    for (events, answer) in [(&["abuff1", "abuff2"][..], "abuff2-ack"), (&["blob1", "blob2", "blob3"][..], "blob3-ack")]
    {
        let come = Arc::new(AtomicUsize::new(0));
        for (at, event) in events.iter().enumerate() {
            let (come, last) = (Arc::clone(&come), at + 1 == events.len());
            socket.on(event, move |socket, _: Raw, _| {
                let in_order = come.fetch_add(1, Ordering::Relaxed) == at;
                async move {
                    if in_order && last {
                        socket.emit(answer, &())?;
                    }
                    Ok(())
                }
            });
        }
    }
}
