//! The well-known chat demo of Socket.IO: `cargo run -p denrei --example chat`, and any page that was written for it.
//!
//! | client says | others hear |
//! |---|---|
//! | `add user` name | `user joined` `{username, numUsers}`; itself `login` `{numUsers}` |
//! | `new message` text | `new message` `{username, message}` |
//! | `typing`, `stop typing` | the same, `{username}` |
//! | (leaves) | `user left` `{username, numUsers}` |

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use denrei::socketio::{Io, Socket};
use denrei::{Config, Denrei};
use serde_json::json;
use tokio::net::TcpListener;

#[derive(Default)]
struct Users(AtomicUsize);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    config.access.anonymous = true;
    config.access.development = true;
    let denrei = Denrei::new(config);
    chat(denrei.io());
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(address).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    // With whom it is from, or a handshake could not tell.
    let app = denrei.router().into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}

fn chat(io: &Io) {
    io.provide(Users::default());
    io.on_connect(async |socket| {
        socket.on("add user", async |socket, username: String, _| {
            if name(&socket).is_some() {
                return Ok(());
            }
            socket.data().set("username", &username)?;
            let users = socket.state::<Users>().0.fetch_add(1, Ordering::Relaxed) + 1;
            socket.emit("login", &json!({"numUsers": users}))?;
            socket.broadcast().emit("user joined", &json!({"username": username, "numUsers": users}))?;
            Ok(())
        });
        socket.on("new message", async |socket, message: String, _| {
            socket.broadcast().emit("new message", &json!({"username": name(&socket), "message": message}))?;
            Ok(())
        });
        socket.on("typing", async |socket, (), _| {
            socket.broadcast().emit("typing", &json!({"username": name(&socket)}))?;
            Ok(())
        });
        socket.on("stop typing", async |socket, (), _| {
            socket.broadcast().emit("stop typing", &json!({"username": name(&socket)}))?;
            Ok(())
        });
        socket.on_disconnect(async |socket, _| {
            let Some(username) = name(&socket) else { return Ok(()) };
            let users = socket.state::<Users>().0.fetch_sub(1, Ordering::Relaxed) - 1;
            socket.broadcast().emit("user left", &json!({"username": username, "numUsers": users}))?;
            Ok(())
        });
    });
}

fn name(socket: &Socket) -> Option<String> {
    socket.data().get("username")
}
