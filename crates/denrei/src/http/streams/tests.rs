use axum::Router;
use axum::routing::get;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

/// A WebSocket there costs what one of the front door costs.
#[tokio::test]
async fn the_socket_under_an_upgrade_is_found_in_the_hands_of_axum() {
    let (tell, mut told) = mpsc::channel(1);
    let upgrade = async move |mut request: Request| {
        let upgrade = request.extensions_mut().remove::<OnUpgrade>().expect("hyper offers an upgrade");
        tokio::spawn(async move { tell.send(unwrap(upgrade.await.unwrap())).await });
        (StatusCode::SWITCHING_PROTOCOLS, [(CONNECTION, "upgrade"), (UPGRADE, "websocket")])
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", get(upgrade))).await });
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly";
    client.write_all(request).await.unwrap();
    let Some(Unwrapped::Socket(_, early)) = told.recv().await else { panic!("not a socket") };
    assert_eq!(early, b"early");
}
