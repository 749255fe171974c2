//! Redis: the laws, on one server and on a cluster, and what happens when it goes.

mod faults;
mod laws;
mod rates;
mod rooms;
mod server;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use denrei_bus::{Joined, Options, join};
use denrei_hub::{Appended, Class, Classes, Draft, Keep, Log, LogError, Name, RoomName, Window, random_token};
use tokio::sync::oneshot;

/// Joins at once: no broker is waited for.
fn joined(address: &str) -> Joined {
    joined_with(address, Window::default())
}

/// The same, with rooms of class `feed` that keep this much.
fn joined_with(address: &str, window: Window) -> Joined {
    let mut classes = Classes::default();
    classes.set("feed", Class { keep: Keep::Memory(window) });
    let options = Options { node: name(&random_token(20)), prefix: "denrei".into(), classes: Arc::new(classes) };
    match pin!(join(address, options)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(joined) => joined.expect("the address can be understood"),
        Poll::Pending => panic!("joining waits for nobody"),
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn room() -> RoomName {
    name(&format!("feed:{}", random_token(12)))
}

fn draft(room: &RoomName, payload: &str) -> Draft {
    Draft::new(room.clone(), name("message"), payload.to_owned().into(), 1)
}

fn submit(log: &Arc<dyn Log>, draft: Draft) -> oneshot::Receiver<Result<Appended, LogError>> {
    let (tell, told) = oneshot::channel();
    log.append(draft, Box::new(move |outcome| drop(tell.send(outcome))));
    told
}

async fn append(log: &Arc<dyn Log>, draft: Draft) -> Result<Appended, LogError> {
    within(submit(log, draft)).await.expect("every draft is answered")
}

/// Longer than any time-out of ours.
async fn within<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), answer).await.expect("nothing hangs")
}

/// Tries until it works.
async fn eventually<T>(what: &str, attempt: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(done) = attempt().await {
            return done;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not in time");
}
