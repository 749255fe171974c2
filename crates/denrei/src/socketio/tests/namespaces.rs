//! How clients come in.

use serde_json::json;

use super::*;
use crate::socketio::{Failure, InvalidNamespace};

#[tokio::test(start_paused = true)]
async fn a_namespace_that_nobody_made_is_refused() {
    let world = World::new();
    let mut client = world.client();
    client.say("0/unknown,");
    assert_eq!(client.heard().await, [r#"4/unknown,{"message":"Invalid namespace"}"#]);
    assert!(matches!(&*client.orders, [Order::Refused(name)] if **name == *"/unknown"));
}

#[tokio::test(start_paused = true)]
async fn a_client_has_another_id_in_each_namespace() {
    let world = World::new();
    world.io.of("/").expect("a name");
    world.io.of("/chat").expect("a name").on_connect(async |socket| {
        socket.emit("welcome", &()).expect("an event");
    });
    let mut client = world.client();
    client.say("0");
    let (root, pid) = client.connected().await;
    client.say("0/chat,");
    let heard = client.heard().await;
    let (chat, _) = client.ids(&heard[0]);
    assert_eq!(heard[1..], [r#"2/chat,["welcome"]"#]);
    assert!(root != chat && root.len() == 20 && pid.is_none());
    assert!(*root != **client.lane.outbox.client());
}

#[tokio::test(start_paused = true)]
async fn clients_of_version_3_are_told_in_its_words() {
    let world = World::new();
    world.io.of("/").expect("a name").on("bad", async |_, (), _| Err("no".into()));
    world.io.of("/shut").expect("a name").use_fn(async |_| Err(Failure::new("shut").data(&json!({"till": 9}))));
    let mut client = world.client_of(None, Version::V3);
    client.say("0");
    assert_eq!(client.heard().await, ["0"]);
    client.say("0/none,");
    client.say("0/shut,");
    client.say(r#"2["bad"]"#);
    // Whom a namespace lets in is asked apart from what is said in another.
    assert_eq!(client.heard().await, [r#"4/none,"Invalid namespace""#, r#"4"no""#, r#"4/shut,{"till":9}"#]);
}

#[tokio::test(start_paused = true)]
async fn middlewares_pass_in_order_and_a_refusal_tells_why() {
    let world = World::new();
    let notes = Notes::default();
    let (first, second) = (notes.clone(), notes.clone());
    world.io.use_fn(move |socket| {
        first.write(format!("server {}", socket.namespace().name()));
        async move {
            socket.data().set("seen", &true)?;
            Ok(())
        }
    });
    let chat = world.io.of("/chat").expect("a name");
    chat.use_fn(move |socket| {
        second.write("namespace");
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let auth: Value = socket.auth()?;
            if auth["token"] != "right" {
                return Err(Failure::new("nope \"q\"").data(&json!({"code": 401})));
            }
            socket.join("late joiners")?;
            Ok(())
        }
    });
    chat.use_fn(async |_| {});
    let mut client = world.client();
    client.say("0/chat,");
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(client.heard().await, [r#"4/chat,{"message":"nope \"q\"","data":{"code":401}}"#]);
    assert_eq!(notes.take(), ["server /chat", "namespace"]);
    // It may ask again on the same connection.
    client.say(r#"0/chat,{"token":"right"}"#);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(client.heard().await[0].starts_with(r#"0/chat,{"sid":""#));
    let socket = client.socket();
    assert_eq!(socket.data().get::<bool>("seen"), Some(true));
    assert_eq!(socket.rooms()[1..], ["late joiners"]);
    chat.to("late joiners").emit("x", &()).expect("an event");
    assert_eq!(client.heard().await, [r#"2/chat,["x"]"#]);
}

#[tokio::test(start_paused = true)]
async fn a_middleware_that_panics_refuses() {
    let world = World::new();
    world.io.of("/").expect("a name").use_fn(async |_| assert_eq!(1, 2, "boom"));
    let mut client = world.client();
    client.say("0");
    assert_eq!(client.heard().await, [r#"4{"message":"internal error"}"#]);
}

#[tokio::test(start_paused = true)]
async fn a_middleware_may_send_a_client_away() {
    let world = World::new();
    world.io.of("/").expect("a name").use_fn(async |socket| socket.disconnect(true));
    let mut client = world.client();
    client.say("0");
    assert_eq!(client.heard().await, ["1"]);
    assert!(client.sockets.is_empty());
    assert!(matches!(&*client.orders, [Order::Close(_)]));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_before_its_client_is_let_in_leaves_nothing_behind() {
    let world = World::new();
    let root = world.io.of("/").expect("a name");
    let notes = Notes::default();
    let gone = notes.clone();
    root.use_fn(async |_| tokio::time::sleep(Duration::from_millis(50)).await);
    root.on_disconnect(move |_, reason| {
        gone.write(reason.as_str());
        async {}
    });
    let mut client = world.client();
    client.say("0");
    settle().await;
    client.end(Reason::TransportClose);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(root.socket_count(), 0);
    assert_eq!(world.hub.rooms(), 0);
    // It never was there: neither its coming nor its going is told.
    assert!(notes.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn namespaces_that_fit_a_pattern_share_its_handlers_and_go_with_their_last_socket() {
    let world = World::new();
    let tenants = world.io.of("/tenant-{id}").expect("a pattern");
    tenants.on_connect(async |socket| {
        socket.emit("hello", &socket.namespace().part("id")).expect("an event");
    });
    tenants.use_fn(async |socket| match socket.namespace().part("id") {
        Some("0") => Err("no tenant 0".into()),
        _ => Ok(()),
    });
    let (mut a, mut b) = (world.client(), world.client());
    a.say("0/tenant-7,");
    b.say("0/tenant-8,");
    assert_eq!(a.heard().await[1..], [r#"2/tenant-7,["hello","7"]"#]);
    assert_eq!(b.heard().await[1..], [r#"2/tenant-8,["hello","8"]"#]);
    tenants.emit("all", &()).expect("an event");
    assert_eq!(a.heard().await, [r#"2/tenant-7,["all"]"#]);
    assert_eq!(b.heard().await, [r#"2/tenant-8,["all"]"#]);
    assert_eq!(tenants.fetch_sockets().await.len(), 2);
    assert_eq!(tenants.socket_count(), 2);
    let names = || world.io.namespaces().iter().map(|namespace| namespace.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(), ["/tenant-7", "/tenant-8"]);
    a.say("1/tenant-7,");
    assert_eq!(names(), ["/tenant-8"]);
    a.say("0/tenant-0,");
    assert_eq!(a.heard().await, [r#"4/tenant-0,{"message":"no tenant 0"}"#]);
    assert_eq!(names(), ["/tenant-8"]);
    // One that the application asks for stays, and fits the pattern too.
    let kept = world.io.of("/tenant-9").expect("a name");
    assert_eq!(kept.part("id"), None.or(Some("9")));
    a.say("0/tenant-9,");
    assert_eq!(a.heard().await[1..], [r#"2/tenant-9,["hello","9"]"#]);
    a.say("1/tenant-9,");
    assert_eq!(names(), ["/tenant-8", "/tenant-9"]);
}

#[tokio::test(start_paused = true)]
async fn a_function_says_which_namespaces_there_are() {
    let world = World::new();
    let spaces = world.io.of_fn(async |name, auth| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        name.starts_with("/ours") && auth["token"] == "x"
    });
    world.io.of_fn(async |_, _| panic!("boom"));
    spaces.on("hi", async |_, (), ack| ack.send("hi"));
    let mut client = world.client();
    client.say("0/ours-1,");
    client.say(r#"0/ours-2,{"token":"x"}"#);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let heard = client.heard().await;
    assert!(heard.contains(&r#"4/ours-1,{"message":"Invalid namespace"}"#.into()), "{heard:?}");
    client.say(r#"2/ours-2,1["hi"]"#);
    assert_eq!(client.heard().await, [r#"3/ours-2,1["hi"]"#]);
    // What a client names is no name of a room of somebody else.
    client.say(r#"0/ours:x,{"token":"x"}"#);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(client.heard().await, [r#"4/ours:x,{"message":"Invalid namespace"}"#]);
}

#[test]
fn names_that_would_be_mistaken_are_refused() {
    let (hub, _shards) = Hub::new(HubConfig::default(), wires::encoders(None, 10), Backends::default());
    let io = Io::new(hub, Limits { rooms: 8, acks: 4, attachments: 10 }, Arc::default());
    let invalid = |name: &str| -> InvalidNamespace { io.of(name).expect_err("no name") };
    assert_eq!(invalid("chat").to_string(), r#""chat" is no name of a namespace: it begins with a slash"#);
    invalid("/a:b");
    invalid("/a\nb");
    invalid(&format!("/{}", "x".repeat(128)));
    assert!(io.namespaces().is_empty() && !io.has("/"));
}

#[tokio::test(start_paused = true)]
async fn a_function_is_asked_about_each_client() {
    let world = World::new();
    let tenants = world.io.of_fn(async |name, auth| name.starts_with("/tenant-") && auth["token"] == "ours");
    let mut client = world.client();
    client.say(r#"0/tenant-1,{"token":"ours"}"#);
    assert!(client.heard().await[0].starts_with("0/tenant-1,"));
    let mut other = world.client();
    other.say(r#"0/tenant-1,{"token":"theirs"}"#);
    assert_eq!(other.heard().await, [r#"4/tenant-1,{"message":"Invalid namespace"}"#]);
    let mut third = world.client();
    third.say(r#"0/tenant-1,{"token":"ours"}"#);
    assert!(third.heard().await[0].starts_with("0/tenant-1,"));
    assert_eq!(tenants.socket_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn emitting_to_the_root_does_not_take_it() {
    let world = World::new();
    world.io.emit("hello", &()).expect("an event");
    assert!(world.io.fetch_sockets().await.is_empty());
    assert!(!world.io.takes("/"));
    world.io.use_fn(async |_| Ok(()));
    assert!(world.io.takes("/"), "the built-in rooms would not ask");
}
