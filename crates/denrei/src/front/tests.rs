use super::*;
use crate::config::Config;
use crate::{Denrei, Parts};
use denrei_hub::Shard;
use denrei_proto::codes::Code;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An idle connection costs what its future costs, and its box.
#[tokio::test]
async fn the_future_of_a_session_is_under_half_a_kibibyte() {
    let (denrei, shards) = Denrei::with(Config::default(), Parts::default());
    let app = denrei.app;
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

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn limited(connections: usize) -> (Denrei, Vec<Shard>) {
    let mut config = Config::default();
    config.access.anonymous = true;
    config.limits.connections = connections;
    Denrei::with(config, Parts::default())
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Says something, and reads until the server has said `expected`.
async fn ask(client: &mut TcpStream, request: &str, expected: &str) -> String {
    client.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let answer = async {
        while !String::from_utf8_lossy(&heard).contains(expected) {
            let read = client.read_buf(&mut heard).await.unwrap();
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&heard));
        }
    };
    tokio::time::timeout(Duration::from_secs(5), answer).await.expect("the server answers");
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn a_connection_that_becomes_a_websocket_is_the_one_that_was_counted() {
    let (denrei, mut shards) = limited(1);
    let place = Place { shard: shards[0].handle().clone(), runtime: Handle::current() };
    tokio::spawn(shards.remove(0).run());
    let (listener, address) = listener().await;
    let app = Arc::clone(&denrei.app);
    tokio::spawn(
        async move { denrei.serve([listener.into()], vec![place], Router::new(), std::future::pending()).await },
    );
    let mut client = TcpStream::connect(address).await.unwrap();
    ask(&mut client, "GET /api/messages HTTP/1.1\r\nHost: a\r\n\r\n", "\"events\"").await;
    ask(&mut client, UPGRADE, "\"welcome\"").await;
    assert_eq!(app.open(), 1);
}

#[tokio::test]
async fn a_server_that_is_full_says_so_before_it_agrees_on_a_websocket() {
    let (denrei, _shards) = limited(0);
    let (listener, address) = listener().await;
    tokio::spawn(async move { axum::serve(listener, denrei.router()).await });
    let mut client = TcpStream::connect(address).await.unwrap();
    let answer = ask(&mut client, UPGRADE, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

/// Whom the machine itself connects from is free, so addresses are told here.
#[tokio::test]
async fn an_address_has_as_many_connections_as_it_may_and_proxies_have_more() {
    let mut config = Config::default();
    config.limits.address_connections = 2;
    config.rates.connect = Some(crate::Rate { capacity: 4, refill_per_second: 0.001 });
    config.access.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    let (denrei, _shards) = Denrei::with(config.clone(), Parts::default());
    let from = |address: &str| denrei.app.admit_from(address.parse().unwrap(), Arc::default());
    let code = |refused: Result<Open, Refusal>| refused.err().map(|refusal| refusal.code);
    let _two = [from("198.51.100.7").unwrap(), from("198.51.100.7").unwrap()];
    assert_eq!(code(from("198.51.100.7")), Some(Code::TooManyConnections));
    let _others = [from("198.51.100.8").unwrap(), from("2001:db8::1").unwrap(), from("2001:db8::2").unwrap()];
    assert_eq!(code(from("2001:db8::3")), Some(Code::TooManyConnections), "of IPv6 the first 64 bits");
    assert_eq!(code(from("198.51.100.7")), Some(Code::TooManyConnections));
    assert_eq!(code(from("198.51.100.7")), Some(Code::RateLimited), "it has asked too often");
    for many in ["192.0.2.5", "127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        let all: Vec<_> = (0..10).map(|_| from(many)).collect();
        assert!(all.iter().all(Result::is_ok), "{many}");
    }
    config.limits.address_connections = 100;
    config.rates.connect = None;
    denrei.reload(config);
    let more: Vec<_> = (0..50).map(|_| from("198.51.100.7")).collect();
    assert!(more.iter().all(Result::is_ok), "other settings hold at once");
}

#[tokio::test]
async fn a_connection_that_has_not_spoken_does_not_delay_the_stop() {
    let (denrei, mut shards) = limited(10);
    let place = Place { shard: shards[0].handle().clone(), runtime: Handle::current() };
    tokio::spawn(shards.remove(0).run());
    let (listener, address) = listener().await;
    let app = Arc::clone(&denrei.app);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        denrei.serve([listener.into()], vec![place], Router::new(), async { drop(stopped.await) }).await;
    });
    let _silent = TcpStream::connect(address).await.unwrap();
    while app.open() == 0 {
        tokio::task::yield_now().await;
    }
    drop(stop);
    let soon = app.config.shutdown.grace / 2;
    tokio::time::timeout(soon, serving).await.expect("the server stops").unwrap();
}

/// Polls and publishes have no seat in a shard, and all of them were served by the first place.
#[test]
fn plain_connections_are_spread_over_the_places() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let mut runtime = |name| builder.worker_threads(1).enable_all().thread_name(name).build().unwrap();
    let (one, two) = (runtime("one"), runtime("two"));
    let mut config = Config::default();
    config.hub.shards = 2;
    let (denrei, shards) = one.block_on(async { Denrei::with(config, Parts::default()) });
    let places = [&one, &two].into_iter().zip(&shards);
    let places =
        places.map(|(runtime, shard)| Place { shard: shard.handle().clone(), runtime: runtime.handle().clone() });
    let places = places.collect();
    let thread = async || std::thread::current().name().unwrap_or_default().to_owned();
    let others = Router::new().route("/thread", axum::routing::get(thread));
    one.block_on(async {
        let (listener, address) = listener().await;
        tokio::spawn(async move { denrei.serve([listener.into()], places, others, std::future::pending()).await });
        let mut clients = Vec::new();
        for name in ["one", "two", "one", "two"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            ask(&mut client, "GET /thread HTTP/1.1\r\nHost: a\r\n\r\n", &format!("\r\n\r\n{name}")).await;
            clients.push(client);
        }
    });
}
