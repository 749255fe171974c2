//! Several nodes know one another, and ask one another.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Bus, HubConfig, LocalBus, Message, Node as Id};

use crate::harness::{Connecting, Node, draft, name, until, within};

fn join(bus: &LocalBus, id: &str) -> Node {
    let node: Arc<dyn Bus> = Arc::new(bus.node());
    let lease = Duration::from_secs(2);
    Node::start(
        HubConfig { node: Id::new(name(id), Some("http://here")), lease, ..HubConfig::default() },
        None,
        Some(node),
    )
}

fn known(node: &Node) -> Vec<String> {
    let mut ids: Vec<_> = node.hub.nodes().iter().map(|node| node.id.to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn nodes_know_one_another_until_they_leave_or_fall_silent() {
    let bus = LocalBus::default();
    let (a, b) = (join(&bus, "a"), join(&bus, "b"));
    until(|| known(&a) == ["b"] && known(&b) == ["a"]).await;
    assert_eq!(a.hub.nodes()[0], *b.hub.node());
    let c = join(&bus, "c");
    until(|| known(&a) == ["b", "c"] && known(&b) == ["a", "c"] && known(&c) == ["a", "b"]).await;
    c.hub.leave();
    drop(c);
    until(|| known(&a) == ["b"] && known(&b) == ["a"]).await;
    // One that dies says nothing.
    drop(b);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(known(&a), ["b"], "its lease has not ended");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(known(&a).is_empty());
    // It comes back as another run of itself.
    let again = join(&bus, "b");
    until(|| known(&a) == ["b"]).await;
    assert_eq!(a.hub.nodes()[0].run, again.hub.node().run);
}

#[tokio::test]
async fn a_node_tells_and_asks_the_others() {
    let bus = LocalBus::default();
    let nodes = [join(&bus, "a"), join(&bus, "b"), join(&bus, "c")];
    let heard: [Arc<Mutex<Vec<Bytes>>>; 3] = Default::default();
    for (node, heard) in nodes.iter().zip(&heard) {
        let (heard, id) = (Arc::clone(heard), node.hub.node().id.to_string());
        let tell = Box::new(move |word: denrei_hub::Word| heard.lock().unwrap().push(word.bytes));
        let answer = Box::new(move |word: denrei_hub::Word| {
            let mut bytes = word.bytes.to_vec();
            bytes.extend(id.bytes());
            // c has no answer.
            if let Some(answer) = word.answer.filter(|_| id != "c") {
                answer.with(bytes.into());
            }
        });
        node.hub.listen(vec![("told", tell), ("asked", answer)]);
    }
    until(|| nodes.iter().all(|node| known(node).len() == 2)).await;
    let [a, ..] = &nodes;
    for number in 0..10_u8 {
        a.hub.tell_nodes("told", Bytes::copy_from_slice(&[number]));
    }
    a.hub.tell_node(&name("b"), "told", "for b".into());
    a.hub.tell_nodes("of nobody", "lost".into());
    until(|| heard[1].lock().unwrap().len() == 11 && heard[2].lock().unwrap().len() == 10).await;
    assert!(heard[0].lock().unwrap().is_empty(), "a node does not tell itself");
    assert!(heard[2].lock().unwrap().is_sorted());

    let mut answers = within(a.hub.ask_nodes(None, "asked", "? ".into(), Duration::from_millis(300))).await;
    answers.missing.sort();
    assert_eq!(answers.given, [(name("b"), Bytes::from_static(b"? b"))]);
    assert_eq!(answers.missing, [name("c")]);
    let one = within(a.hub.ask_nodes(Some(&name("b")), "asked", "".into(), Duration::from_secs(60))).await;
    assert_eq!((one.given.len(), one.missing.len()), (1, 0));
    let nobody = within(a.hub.ask_nodes(Some(&name("d")), "asked", "".into(), Duration::from_secs(60))).await;
    assert_eq!((nobody.given.len(), nobody.missing.len()), (0, 0), "who is not there is not waited for");
}

#[tokio::test]
async fn a_message_finds_its_client_and_its_user_on_any_node() {
    let bus = LocalBus::default();
    let (here, mut there) = (join(&bus, "here"), join(&bus, "there"));
    let bob = || Some(name("bob"));
    let phone = there.connect(Connecting { user: bob(), ..Connecting::as_client("phone") });
    let laptop = there.connect(Connecting { user: bob(), ..Connecting::as_client("laptop") });
    until(|| known(&here) == ["there"] && known(&there) == ["here"]).await;
    let message = Arc::new(Message::direct(draft("room", "hello")));
    assert!(within(here.hub.direct_anywhere(&"phone".into(), &message)).await);
    assert!(!within(here.hub.direct_anywhere(&"nobody".into(), &message)).await);
    assert_eq!(within(here.hub.direct_to_user_anywhere(&name("bob"), &message)).await, 2);
    assert_eq!(within(here.hub.direct_to_user_anywhere(&name("eve"), &message)).await, 0);
    until(|| phone.told.lines().len() == 2 && laptop.told.lines().len() == 1).await;
}
