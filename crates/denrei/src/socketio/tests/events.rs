//! What clients say, and who hears it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::socketio::{Ack, Failure, Namespace, Raw};

fn root(world: &World) -> Namespace {
    world.io.of("/").expect("a name")
}

#[tokio::test(start_paused = true)]
async fn a_handler_takes_what_it_annotates() {
    #[derive(Deserialize)]
    struct Order {
        item: String,
        #[serde(default)]
        count: Option<u32>,
    }
    let world = World::new();
    world.io.on_connect(async |socket| {
        socket.on("order", async |_, order: Order, ack| {
            ack.send(&json!([order.item, order.count]));
            Ok(())
        });
        socket.on("pair", async |socket, (a, b): (String, u8), ack| {
            socket.emit("got", &(b, a))?;
            ack.send(&());
            Ok(())
        });
        socket.on("bytes", async |socket, data: Bytes, _| {
            let _ = socket.emit("back", &data);
        });
        socket.on("any", async |_, value: Value, ack| ack.send(&value));
        socket.on("raw", async |_, args: Raw, ack| ack.send(&args));
    });
    let mut client = world.client().joined().await;
    client.say(r#"21["order",{"item":"tea"}]"#);
    client.say(r#"22["pair","x",7]"#);
    client.say(r#"23["any",{"x":[]}]"#);
    client.say(r#"24["raw",null,1,{"_placeholder":true}]"#);
    client.decoder.text(r#"51-["bytes",{"_placeholder":true,"num":0}]"#).expect("a header");
    let packet = client.decoder.binary(&[1, 2]).expect("data").expect("a packet");
    let Body::Event { id, name, args } = packet.body else { panic!("an event") };
    client.socket().receive(id, &name, args);
    let heard = client.heard().await;
    assert_eq!(
        heard,
        [
            r#"31[["tea",null]]"#,
            r#"2["got",7,"x"]"#,
            "32[]",
            r#"33[{"x":[]}]"#,
            r#"34[null,1,{"_placeholder":true}]"#,
            r#"51-["back",{"_placeholder":true,"num":0}]"#,
            "binary [1, 2]"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn named_functions_are_handlers_too() {
    async fn hello(socket: Socket, name: String, ack: Ack) -> Result<(), Failure> {
        socket.join(&name)?;
        ack.send("hi");
        Ok(())
    }
    let world = World::new();
    root(&world).on("hello", hello);
    let mut client = world.client().joined().await;
    client.say(r#"21["hello","ada"]"#);
    assert_eq!(client.heard().await, [r#"31["hi"]"#]);
}

#[tokio::test(start_paused = true)]
async fn events_of_one_socket_run_in_order_and_after_its_connect_handler() {
    let world = World::new();
    let notes = Notes::default();
    let (at_connect, at_event) = (notes.clone(), notes.clone());
    root(&world).on_connect(move |_| {
        let notes = at_connect.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            notes.write("connect");
        }
    });
    root(&world).on("n", move |_, n: u64, _| {
        let notes = at_event.clone();
        async move {
            // The first would come last if they ran at the same time.
            tokio::time::sleep(Duration::from_millis(30 - 10 * n)).await;
            notes.write(n.to_string());
        }
    });
    let mut client = world.client().joined().await;
    for n in 0..3 {
        client.say(&format!(r#"2["n",{n}]"#));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(notes.take(), ["connect", "0", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_handler_holds_back_its_own_socket_only() {
    let world = World::new();
    root(&world).on("slow", async |_, (), ack| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        ack.send("late");
    });
    root(&world).on("quick", async |_, (), ack| ack.send("now"));
    let (mut slow, mut other) = (world.client().joined().await, world.client().joined().await);
    slow.say(r#"21["slow"]"#);
    slow.say(r#"22["quick"]"#);
    other.say(r#"21["quick"]"#);
    assert_eq!(other.heard().await, [r#"31["now"]"#]);
    assert!(slow.heard().await.is_empty());
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(slow.heard().await, [r#"31["late"]"#, r#"32["now"]"#]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_more_than_is_run_is_read_no_further_until_there_is_room() {
    let world = World::new();
    root(&world).on("slow", async |_, (), _| tokio::time::sleep(Duration::from_millis(10)).await);
    let mut client = world.client().joined().await;
    let reads: Vec<bool> = (0..300).map(|_| client.say(r#"2["slow"]"#)).collect();
    assert_eq!(reads.iter().filter(|reads| !**reads).count(), 1, "it is told once");
    assert!((256..260).contains(&(reads.iter().position(|reads| !reads).expect("once") + 1)));
    client.heard().await;
    assert!(!client.orders.iter().any(|order| matches!(order, Order::Relieved)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    client.heard().await;
    assert_eq!(client.orders.iter().filter(|order| matches!(order, Order::Relieved)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_wait_are_bounded_too() {
    let world = World::new();
    root(&world).on("slow", async |_, _: String, _| tokio::time::sleep(Duration::from_millis(10)).await);
    let mut client = world.client().joined().await;
    let long = "x".repeat(300_000);
    let reads: Vec<bool> = (0..6).map(|_| client.say(&format!(r#"2["slow","{long}"]"#))).collect();
    assert!(reads.contains(&false));
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_nothing_but_its_own_event() {
    let world = World::new();
    root(&world).on("boom", async |_, (), _| assert_eq!(1, 2, "boom"));
    root(&world).on("fine", async |_, (), ack| ack.send("fine"));
    let mut client = world.client().joined().await;
    client.say(r#"21["boom"]"#);
    client.say(r#"22["fine"]"#);
    assert_eq!(client.heard().await, [r#"31[{"message":"internal error","status":"error"}]"#, r#"32["fine"]"#]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_answers_the_ack_or_comes_as_an_event() {
    let world = World::new();
    let notes = Notes::default();
    root(&world).on("pay", async |_, amount: i64, ack| {
        let amount = u32::try_from(amount)?;
        if amount > 9 {
            return Err(Failure::new("too much").data(&json!({"limit": 9})));
        }
        ack.send(&json!({"status": "ok"}));
        Err("told already".into())
    });
    let at_error = notes.clone();
    root(&world).on_error(move |_, failure| {
        let notes = at_error.clone();
        async move { notes.write(failure.message()) }
    });
    let mut client = world.client().joined().await;
    client.say(r#"21["pay",-1]"#);
    client.say(r#"22["pay",10]"#);
    client.say(r#"2["pay",10]"#);
    client.say(r#"23["pay",5]"#);
    client.say(r#"24["pay","much"]"#);
    let heard = client.heard().await;
    assert_eq!(
        heard,
        [
            r#"31[{"message":"out of range integral type conversion attempted","status":"error"}]"#,
            r#"32[{"data":{"limit":9},"message":"too much","status":"error"}]"#,
            r#"2["error",{"data":{"limit":9},"message":"too much"}]"#,
            r#"33[{"status":"ok"}]"#,
            r#"34[{"message":"invalid type: string \"much\", expected i64","status":"error"}]"#,
        ]
    );
    assert_eq!(notes.take().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn listeners_are_many_for_once_and_off() {
    let world = World::new();
    let notes = Notes::default();
    let note = |text: &'static str| {
        let notes = notes.clone();
        move |_: Socket, (): (), _: Ack| {
            notes.write(text);
            async {}
        }
    };
    root(&world).on("x", note("namespace"));
    let mut client = world.client().joined().await;
    let socket = client.socket();
    socket.on("x", note("first"));
    socket.once("x", note("once"));
    let off = socket.on("x", note("second"));
    client.say(r#"2["x"]"#);
    client.heard().await;
    assert_eq!(notes.take(), ["namespace", "first", "once", "second"]);
    socket.off(off);
    client.say(r#"2["x"]"#);
    client.heard().await;
    assert_eq!(notes.take(), ["namespace", "first"]);
    socket.off_event("x");
    client.say(r#"2["x"]"#);
    client.heard().await;
    assert_eq!(notes.take(), ["namespace"]);
}

#[tokio::test(start_paused = true)]
async fn who_hears_everything_comes_before_middlewares_and_listeners() {
    let world = World::new();
    let notes = Notes::default();
    let (any, middleware, listener) = (notes.clone(), notes.clone(), notes.clone());
    root(&world).on_any(move |_, name, args| {
        any.write(format!("any {name} {}", String::from_utf8_lossy(args.json())));
        async {}
    });
    root(&world).use_event(move |_, name, _| {
        middleware.write("middleware");
        async move {
            match &*name {
                "secret" => Err(Failure::new("unauthorized event").data(&401)),
                _ => Ok(()),
            }
        }
    });
    root(&world).on("x", move |_, (), _| {
        listener.write("listener");
        async {}
    });
    let mut client = world.client().joined().await;
    client.say(r#"2["x",1]"#);
    client.heard().await;
    assert_eq!(notes.take(), ["any x [1]", "middleware", "listener"]);
    client.say(r#"21["secret"]"#);
    client.say(r#"2["secret"]"#);
    assert_eq!(
        client.heard().await,
        [
            r#"31[{"data":401,"message":"unauthorized event","status":"error"}]"#,
            r#"2["error",{"data":401,"message":"unauthorized event"}]"#
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_can_be_heard_once_per_receiver() {
    let world = World::new();
    let notes = Notes::default();
    root(&world);
    let (mut one, _two) = (world.client().joined().await, world.client().joined().await);
    let outgoing = notes.clone();
    let listener = root(&world).on_any_outgoing(move |_, name, args| {
        outgoing.write(format!("{name} {}", String::from_utf8_lossy(args.json())));
    });
    world.io.emit("hello", &1).expect("an event");
    one.socket().emit("you", &2).expect("an event");
    assert_eq!(notes.take(), ["hello [1]", "hello [1]", "you [2]"]);
    root(&world).off(listener);
    world.io.emit("hello", &1).expect("an event");
    assert!(notes.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_nobody_could_know_does_nothing() {
    // CVE-2024-38355: an event `error` without a listener.
    let world = World::new();
    root(&world).on("known", async |_, (), ack| ack.send(&1));
    let mut client = world.client().joined().await;
    client.say(r#"2["error"]"#);
    client.say(r#"21["unknown"]"#);
    client.say(r#"22["known"]"#);
    assert_eq!(client.heard().await, ["32[1]"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_shows_its_client_and_the_applications_state() {
    struct Prices(u32);
    let world = World::new();
    world.io.provide(Prices(7));
    root(&world).on("ask", async |socket, (), ack| {
        let handshake = socket.handshake();
        let token: Value = socket.auth()?;
        let state = socket.state::<Prices>().0;
        ack.send(&(handshake.query("room"), handshake.header("origin"), token, state, socket.user()));
        Ok(())
    });
    root(&world).on("state", async |socket, (), ack| ack.send(&socket.state::<String>().len()));
    let mut client = world.client_of(Some("ada"), Version::V4);
    client.say(r#"0{"token":"x"}"#);
    client.heard().await;
    client.say(r#"21["ask"]"#);
    client.say(r#"22["state"]"#);
    assert_eq!(
        client.heard().await,
        [
            r#"31["a b","https://app.example",{"token":"x"},7,"ada"]"#,
            r#"32[{"message":"internal error","status":"error"}]"#
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn names_that_mean_something_to_clients_are_refused() {
    let world = World::new();
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "", "a\nb"]
    {
        assert!(world.io.emit(name, &()).is_err(), "{name:?}");
    }
    assert!(world.io.emit(&"x".repeat(256), &()).is_err());
    let unspeakable = HashMap::from([(vec![1], 1)]);
    assert!(world.io.emit("map", &unspeakable).is_err());
}
