//! The laws of shelves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{runtime, within};
use crate::{Name, Shelf, random_token};

/// Checks all laws, on two nodes' views of one shelf, which `make` makes inside a tokio runtime (current thread, time and
/// IO enabled).
///
/// # Panics
/// At the first broken law, with its number.
pub fn shelf_laws(make: impl Fn() -> [Arc<dyn Shelf>; 2]) {
    let runtime = runtime();
    let [one, other] = {
        let _runtime = runtime.enter();
        make()
    };
    runtime.block_on(async {
        what_is_put_is_there_until_it_is_taken(&*one, &*other).await;
        one_taker_gets_it(&*one, &*other).await;
        names_are_apart(&*one, &*other).await;
        what_is_old_is_gone(&*one, &*other).await;
    });
}

const LONG: Duration = Duration::from_secs(30);
/// Whole seconds: not every shelf counts in less.
const SHORT: Duration = Duration::from_secs(1);

async fn what_is_put_is_there_until_it_is_taken(one: &dyn Shelf, other: &dyn Shelf) {
    let name = named("value");
    assert_eq!(get(other, &name).await, None, "law 1: nothing was put");
    put(one, &name, "first", LONG).await;
    put(one, &name, "second\0\r\n", LONG).await;
    for shelf in [one, other] {
        assert_eq!(get(shelf, &name).await.as_deref(), Some(&b"second\0\r\n"[..]), "law 1: the last one counts");
    }
    assert_eq!(take(other, &name).await.as_deref(), Some(&b"second\0\r\n"[..]), "law 2");
    assert_eq!((get(one, &name).await, take(one, &name).await), (None, None), "law 2: it was taken");
    put(other, &name, "again", LONG).await;
    assert_eq!(get(one, &name).await.as_deref(), Some(&b"again"[..]), "law 1");
}

async fn one_taker_gets_it(one: &dyn Shelf, other: &dyn Shelf) {
    let name = named("wanted");
    for _ in 0..20 {
        put(one, &name, "value", LONG).await;
        let (a, b, c) = tokio::join!(take(one, &name), take(other, &name), take(one, &name));
        assert_eq!([a, b, c].iter().flatten().count(), 1, "law 2");
    }
}

async fn names_are_apart(one: &dyn Shelf, other: &dyn Shelf) {
    let token = random_token(12);
    let names = ["a.b", "a.*", "a.>", "a b", "a*", "a%2Eb", "A.B", "ä:b", "a{b}", "a/b"];
    let names: Vec<_> = names.iter().map(|name| Name::parse(&format!("{name}{token}")).expect("a name")).collect();
    for name in &names {
        put(one, name, name.as_str(), LONG).await;
    }
    for name in &names {
        assert_eq!(get(other, name).await.as_deref(), Some(name.as_str().as_bytes()), "law 3");
    }
}

async fn what_is_old_is_gone(one: &dyn Shelf, other: &dyn Shelf) {
    let (left, renewed) = (named("left"), named("renewed"));
    put(one, &left, "value", SHORT).await;
    put(one, &renewed, "value", SHORT).await;
    put(one, &renewed, "value", LONG).await;
    tokio::time::sleep(SHORT * 5 / 2).await;
    assert_eq!((get(other, &left).await, take(other, &left).await), (None, None), "law 1: its time is over");
    assert!(get(other, &renewed).await.is_some(), "law 1: the last one put counts");
}

async fn put(shelf: &dyn Shelf, name: &Name, value: &str, lasts: Duration) {
    let value = Bytes::copy_from_slice(value.as_bytes());
    within("law 1", shelf.put(name, value, lasts)).await.expect("an answer");
}

async fn get(shelf: &dyn Shelf, name: &Name) -> Option<Bytes> {
    within("law 1", shelf.get(name)).await.expect("an answer")
}

async fn take(shelf: &dyn Shelf, name: &Name) -> Option<Bytes> {
    within("law 2", shelf.take(name)).await.expect("an answer")
}

fn named(text: &str) -> Name {
    Name::parse(&format!("{text}-{}", random_token(12))).expect("a name")
}
