//! Who was cut off from one node comes back to another: nodes with one log, one shelf and a bus between them.

use std::sync::atomic::{AtomicBool, Ordering};

use denrei_hub::{
    Appended, Bus, Classes, Done, Draft, Extent, LocalBus, LocalShelf, Log, LogError, MemoryLimits, MemoryLog, Node,
    Page, Position, Reading, RoomName,
};

use super::*;
use crate::socketio::nodes::{self, Nodes};
use crate::socketio::{Namespace, Recovery};

/// What the nodes share.
struct Cluster {
    bus: LocalBus,
    log: Arc<Shaky>,
    shelf: Arc<LocalShelf>,
}

/// A log that can be reached, or not.
struct Shaky {
    log: MemoryLog,
    is_down: AtomicBool,
}

impl Log for Shaky {
    fn append(&self, draft: Draft, done: Done) {
        if self.is_down.load(Ordering::Relaxed) {
            return done(Err::<Appended, _>(LogError::Unavailable("it is down".into())));
        }
        self.log.append(draft, done);
    }

    fn read(&self, room: &RoomName, extent: Extent) -> Reading<Page> {
        self.log.read(room, extent)
    }

    fn heads(&self, rooms: Vec<RoomName>) -> Reading<Vec<Position>> {
        self.log.heads(rooms)
    }

    fn hold(&self, room: &RoomName) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
        self.log.hold(room)
    }
}

impl Cluster {
    fn new() -> Self {
        let log = MemoryLog::new(Arc::new(Classes::default()), MemoryLimits::default());
        let log = Arc::new(Shaky { log, is_down: AtomicBool::new(false) });
        Self { bus: LocalBus::default(), log, shelf: Arc::new(LocalShelf::new(1000)) }
    }

    fn node(&self, id: &str) -> World {
        let bus: Arc<dyn Bus> = Arc::new(self.bus.node());
        let log: Arc<dyn Log> = Arc::clone(&self.log) as _;
        let node = Node::new(Name::parse(id).expect("a name"), None);
        let (hub, shards) = Hub::new(
            HubConfig { node, ..HubConfig::default() },
            wires::encoders(None, 10),
            Backends { bus: Some(bus), memory: Some(log), ..Backends::default() },
        );
        for shard in shards {
            tokio::spawn(shard.run());
        }
        let io = Io::new(hub.clone(), Limits { rooms: 8, acks: 4, attachments: 10 }, Arc::default());
        io.meet(Arc::new(Nodes::new(hub.clone())));
        io.keep_on(Arc::clone(&self.shelf) as _);
        hub.listen(nodes::listeners(&io));
        tokio::spawn(hub.clone().run());
        World { io, hub }
    }
}

/// Two nodes that know one another, with a namespace whose clients may come back.
async fn two(name: &str) -> (Cluster, [World; 2], [Namespace; 2]) {
    let cluster = Cluster::new();
    let nodes = [cluster.node("one"), cluster.node("two")];
    let namespaces = nodes.each_ref().map(|node| {
        let namespace = node.io.of(name).expect("a name");
        namespace.recovery(Recovery::default()).clone()
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(nodes.iter().all(|node| node.hub.nodes().len() == 1));
    (cluster, nodes, namespaces)
}

/// Time for what is put on the shelf a moment later.
async fn shelved() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

/// The names of events, and `connect`.
fn names(heard: &[String]) -> Vec<String> {
    let name = |packet: &String| match packet.find("[\"") {
        Some(at) => packet[at + 2..].split('"').next().unwrap_or_default().to_owned(),
        None => "connect".to_owned(),
    };
    heard.iter().map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn an_offset_is_the_same_on_all_nodes() {
    let (_cluster, [one, two], [ours, theirs]) = two("/").await;
    let (mut a, mut b) = (one.client().joined().await, two.client().joined().await);
    ours.emit("x", &()).expect("an event");
    settle().await;
    theirs.emit("y", &()).expect("an event");
    settle().await;
    ours.volatile().emit("volatile", &()).expect("an event");
    ours.local().emit("here", &()).expect("an event");
    let (a, b) = (a.heard().await, b.heard().await);
    assert_eq!(
        (names(&a), names(&b)),
        (
            vec!["x".into(), "y".into(), "volatile".into(), "here".into()],
            vec!["x".into(), "y".into(), "volatile".into()]
        )
    );
    assert_eq!(
        a.iter().take(3).map(|x| offset(x)).collect::<Vec<_>>(),
        b.iter().map(|x| offset(x)).collect::<Vec<_>>()
    );
    assert_eq!(offset(&a[1]), offset(&a[2]));
}

#[tokio::test(start_paused = true)]
async fn a_client_comes_back_to_another_node_while_its_own_is_there() {
    let (_cluster, [one, two], [ours, theirs]) = two("/").await;
    let mut client = one.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    let pid = pid.expect("a pid");
    client.socket().join("x").expect("a room");
    client.socket().data().set("name", "ada").expect("JSON");
    ours.to("x").emit("seen", &()).expect("an event");
    let seen = offset(&client.heard().await[0]);
    shelved().await;
    // Its node does not know yet that it is away.
    ours.to("x").emit("missed", &1).expect("an event");
    theirs.to("y").emit("not for it", &()).expect("an event");
    theirs.to(&sid).emit("own", &2).expect("an event");
    settle().await;

    let mut again = two.client();
    again.say(&claim(&pid, Some(&seen)));
    let heard = again.heard().await;
    assert_eq!(names(&heard), ["missed", "own", "connect"]);
    assert!(heard[2].contains(&sid) && heard[2].contains(&pid), "{heard:?}");
    let socket = again.socket();
    assert!(socket.recovered() && socket.rooms() == [sid.clone(), "x".into()]);
    assert_eq!(socket.data().get::<String>("name").as_deref(), Some("ada"));
    // It is in one place, and live there.
    assert_eq!((ours.socket_count(), theirs.socket_count()), (0, 1));
    client.heard().await;
    assert!(matches!(client.orders[..], [Order::Close(Reason::TransportClose)]));
    ours.to("x").emit("live", &()).expect("an event");
    assert_eq!(names(&again.heard().await), ["live"]);

    // And from there back again, where it had been.
    shelved().await;
    again.end(Reason::TransportClose);
    theirs.to("x").emit("later", &()).expect("an event");
    settle().await;
    let mut third = one.client();
    third.say(&claim(&pid, Some(&seen)));
    assert_eq!(names(&third.heard().await), ["missed", "own", "live", "later", "connect"]);
    // It is nobody else's after that.
    let mut stranger = two.client_of(Some("eve"), Version::V4);
    stranger.say(&claim(&pid, None));
    let (other, _) = stranger.connected().await;
    assert_ne!(other, sid);
    assert!(third.socket().is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_client_comes_back_when_its_node_has_died() {
    let (cluster, [one, two], [ours, _]) = two("/").await;
    let mut client = one.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    let pid = pid.expect("a pid");
    client.socket().join("x").expect("a room");
    shelved().await;
    ours.to("x").emit("missed", &1).expect("an event");
    settle().await;
    one.hub.leave();
    drop(one);
    settle().await;
    // A node that has just begun knows what was emitted before it was there.
    let three = cluster.node("three");
    three.io.of("/").expect("a name").recovery(Recovery::default());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut again = three.client();
    again.say(&claim(&pid, None));
    let heard = again.heard().await;
    assert_eq!(names(&heard), ["missed", "connect"]);
    assert!(heard[1].contains(&sid), "{heard:?}");
    // Once.
    let mut other = two.client();
    other.say(&claim("nobody's", None));
    assert_ne!(other.connected().await.0, sid);
}

#[tokio::test(start_paused = true)]
async fn who_was_sent_away_does_not_come_back_elsewhere() {
    let (_cluster, [one, two], _) = two("/").await;
    let mut client = one.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    shelved().await;
    client.socket().disconnect(false);
    shelved().await;
    let mut again = two.client();
    again.say(&claim(&pid.expect("a pid"), None));
    assert_ne!(again.connected().await.0, sid);
}

#[tokio::test(start_paused = true)]
async fn namespaces_of_a_pattern_share_a_log_and_miss_their_own_only() {
    let (_cluster, [one, two], [ours, _]) = two("/dyn-{id}").await;
    let mut client = one.client();
    client.say("0/dyn-1,");
    let (sid, pid) = client.connected().await;
    let pid = pid.expect("a pid");
    shelved().await;
    client.end(Reason::TransportClose);
    one.io.of("/dyn-1").expect("a name").emit("mine", &()).expect("an event");
    one.io.of("/dyn-2").expect("a name").emit("another's", &()).expect("an event");
    ours.emit("all", &()).expect("an event");
    settle().await;
    let mut again = two.client();
    again.say(&format!("0/dyn-1,{}", &claim(&pid, None)[1..]));
    let heard = again.heard().await;
    assert_eq!(names(&heard), ["mine", "all", "connect"]);
    assert!(heard[2].contains(&sid));
}

#[tokio::test(start_paused = true)]
async fn what_the_log_refuses_is_sent_and_who_misses_it_begins_anew() {
    let (cluster, [one, two], [ours, theirs]) = two("/").await;
    let (mut a, mut b) = (one.client(), two.client());
    a.say("0");
    b.say("0");
    let ((sid, pid), _) = (a.connected().await, b.connected().await);
    ours.emit("kept", &()).expect("an event");
    let seen = offset(&a.heard().await[0]);
    b.heard().await;
    cluster.log.is_down.store(true, Ordering::Relaxed);
    ours.emit("unkept", &()).expect("an event");
    assert_eq!((names(&a.heard().await), names(&b.heard().await)), (vec!["unkept".into()], vec!["unkept".into()]));
    cluster.log.is_down.store(false, Ordering::Relaxed);
    shelved().await;
    a.end(Reason::TransportClose);
    let mut again = two.client();
    again.say(&claim(&pid.expect("a pid"), Some(&seen)));
    assert_ne!(again.connected().await.0, sid, "it may have missed it");
    theirs.emit("kept again", &()).expect("an event");
    assert_eq!(names(&b.heard().await), ["kept again"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_once_and_where_it_was() {
    let (_cluster, [one, two], [ours, theirs]) = two("/").await;
    let notes = Notes::default();
    for (node, namespace) in [("one", &ours), ("two", &theirs)] {
        let notes = notes.clone();
        namespace.on_session_expired(move |session| {
            let notes = notes.clone();
            async move { notes.write(format!("{node} {:?}", session.rooms)) }
        });
    }
    let mut client = one.client();
    client.say("0");
    let (sid, pid) = client.connected().await;
    client.socket().join("x").expect("a room");
    shelved().await;
    client.end(Reason::TransportClose);
    tokio::time::sleep(Recovery::default().max_disconnection + Duration::from_secs(1)).await;
    assert_eq!(notes.take(), [r#"one ["x"]"#]);
    let mut again = two.client();
    again.say(&claim(&pid.expect("a pid"), None));
    assert_ne!(again.connected().await.0, sid);
}
