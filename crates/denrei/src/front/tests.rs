use super::*;
use crate::app::Rules;
use crate::config::Config;
use crate::policy::OpenPolicy;
use crate::wires;
use denrei_hub::{Backends, Hub};

/// An idle connection costs what its future costs, and its box.
#[tokio::test]
async fn the_future_of_a_session_is_under_half_a_kibibyte() {
    let config = Config::default();
    let (hub, shards) = Hub::new(config.hub.clone(), wires::encoders(None, 10), Backends::default());
    let app =
        Arc::new(App::new(config, hub, Rules { policy: Box::new(OpenPolicy), allow_request: None, engine: None }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let head = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    let head = head.map(|(name, value)| httparse::Header { name, value: value.as_bytes() });
    let facts = crate::facts::Facts::parsed("GET", "/ws", 1, &head);
    let opening = websocket::open(&app, &facts, crate::Identity::default()).unwrap();
    let future = websocket::serve_socket(app.admit().unwrap(), stream, shards[0].handle(), opening, Vec::new());
    let size = size_of_val(&future);
    assert!(size < 512, "{size} bytes");
}
