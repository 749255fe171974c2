use std::sync::atomic::{AtomicUsize, Ordering};

use denrei_hub::{Backends, Done, Draft, Epoch, Extent, Log, Page, Position, Reading, Seq};
use denrei_proto::ws::testing::masked;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;

use super::*;
use crate::config::Config;
use crate::{Denrei, Parts};

fn app(backends: Backends) -> Arc<App> {
    let (denrei, shards) = Denrei::with(Config::default(), Parts { backends, ..Parts::default() });
    for shard in shards {
        tokio::spawn(shard.run());
    }
    denrei.app
}

fn opening() -> Opening {
    Opening {
        identity: Identity::default(),
        deflate: None,
        key: String::new(),
        subprotocol: None,
        extensions: None,
        announced: true,
    }
}

/// A session on a stream that is no TCP socket, and the client's end of it.
fn session() -> DuplexStream {
    let app = app(Backends::default());
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let link = Link::foreign(ours, Vec::new(), Box::new(|bytes| bytes));
    tokio::spawn(serve_stream(app.admit().unwrap(), link, app.hub.shard(), opening()));
    theirs
}

fn text(frame: &str) -> Vec<u8> {
    masked(0x81, [1, 2, 3, 4], frame.as_bytes())
}

/// Reads until the server has said all of this, in this order.
async fn hear(client: &mut (impl AsyncRead + Unpin), expected: &[&str]) {
    let mut heard = Vec::new();
    let all = async {
        loop {
            let text = String::from_utf8_lossy(&heard).into_owned();
            let mut rest = &*text;
            let said = |part: &&str| rest.split_once(*part).map(|(_, behind)| rest = behind).is_some();
            if expected.iter().all(said) {
                return;
            }
            assert_ne!(client.read_buf(&mut heard).await.unwrap(), 0, "the server has closed: {text}");
        }
    };
    let soon = tokio::time::timeout(Duration::from_secs(5), all).await;
    assert!(soon.is_ok(), "{}", String::from_utf8_lossy(&heard));
}

const JOIN: &str = r#"{"type":"join","room":"live:a","ref":"join"}"#;
const FIRST: &str = r#"{"type":"broadcast","room":"live:a","payload":1,"ref":"first"}"#;
const SECOND: &str = r#"{"type":"broadcast","room":"live:a","payload":2,"ref":"second"}"#;

#[tokio::test]
async fn what_follows_a_join_in_one_segment_is_done_at_once() {
    let mut client = session();
    client.write_all(&[text(JOIN), text(FIRST)].concat()).await.unwrap();
    hear(&mut client, &[r#""ref":"join""#, r#""ref":"first""#]).await;
}

#[tokio::test]
async fn what_was_put_aside_comes_before_what_arrives_later() {
    let mut client = session();
    let second = text(SECOND);
    client.write_all(&[&text(JOIN)[..], &text(FIRST), &second[..9]].concat()).await.unwrap();
    client.write_all(&second[9..]).await.unwrap();
    hear(&mut client, &[r#""ref":"join""#, r#""ref":"first""#, r#""ref":"second""#]).await;
}

/// A log that says so many times where a room stands, and then never answers again.
struct Silent(AtomicUsize);

impl Log for Silent {
    fn append(&self, _: Draft, _: Done) {}

    fn read(&self, _: &RoomName, _: Extent) -> Reading<Page> {
        Box::pin(std::future::pending())
    }

    fn heads(&self, rooms: Vec<RoomName>) -> Reading<Vec<Position>> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let head = |_| Position { epoch: Epoch::random(), seq: Seq::ZERO };
        let heads: Vec<_> = rooms.iter().map(head).collect();
        Box::pin(async move { if left.is_ok() { Ok(heads) } else { std::future::pending().await } })
    }
}

/// A session on a socket whose log answers so many times, and the client's end of it.
async fn session_of_a_silent_log(answers: usize) -> TcpStream {
    let app = app(Backends { store: Some(Arc::new(Silent(answers.into()))), ..Backends::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    tokio::spawn(serve_socket(app.admit().unwrap(), socket, app.hub.shard(), opening(), Vec::new()));
    client
}

#[tokio::test]
async fn what_comes_before_a_join_is_answered_before_its_log_answers() {
    let mut client = session_of_a_silent_log(0).await;
    let call = text(r#"{"type":"call","method":"echo","payload":1,"ref":"call"}"#);
    let join = text(r#"{"type":"join","room":"feed:a"}"#);
    client.write_all(&[call, join].concat()).await.unwrap();
    hear(&mut client, &[r#""ref":"call""#]).await;
}

#[tokio::test]
async fn who_joins_again_stays_a_member_when_the_log_cannot_be_asked() {
    let mut client = session_of_a_silent_log(1).await;
    let join = |reference| text(&format!(r#"{{"type":"join","room":"feed:a","ref":"{reference}"}}"#));
    client.write_all(&[join("one"), join("two")].concat()).await.unwrap();
    hear(&mut client, &[r#""ref":"one""#, r#""ref":"two""#]).await;
}
