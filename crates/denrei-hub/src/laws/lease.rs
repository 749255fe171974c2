//! The laws of leases.

use std::sync::Arc;
use std::time::Duration;

use super::{runtime, within};
use crate::{Grant, Lease, Leases, Name, random_token};

/// Checks all laws, on two nodes' views of one implementation, which `make` makes inside a tokio runtime (current thread,
/// time and IO enabled). Takes some seconds, in which leases end.
///
/// # Panics
/// At the first broken law, with its number.
pub fn lease_laws(make: impl Fn() -> [Arc<dyn Leases>; 2]) {
    let runtime = runtime();
    let nodes = {
        let _runtime = runtime.enter();
        make()
    };
    runtime.block_on(async {
        one_has_it_at_a_time(&nodes).await;
        what_is_not_renewed_ends(&nodes).await;
        what_is_given_back_is_free(&nodes).await;
        many_want_it(&nodes).await;
        a_lease_goes_by_the_holder_s_clock(&nodes).await;
    });
}

const LONG: Duration = Duration::from_secs(30);
/// Whole seconds: not every implementation counts in less.
const SHORT: Duration = Duration::from_secs(1);

async fn one_has_it_at_a_time([one, other]: &[Arc<dyn Leases>; 2]) {
    let (thing, another) = (thing(), thing());
    let grant = take(one, &thing, LONG).await.expect("law 1: it is free");
    assert!(take(other, &thing, LONG).await.is_none(), "law 1: another node");
    assert!(take(one, &thing, LONG).await.is_none(), "law 1: the same node, a second time");
    assert!(take(other, &another, LONG).await.is_some(), "law 1: another thing is free");
    assert!(renew(one, &thing, &grant, LONG).await, "law 3: it can be renewed");
    assert!(!renew(other, &thing, &Grant::new(grant.fence), LONG).await, "law 3: not by another grant");
    assert!(take(other, &thing, LONG).await.is_none(), "law 1: after it was renewed");
}

async fn what_is_not_renewed_ends([one, other]: &[Arc<dyn Leases>; 2]) {
    let (left, kept) = (thing(), thing());
    let first = take(one, &left, SHORT).await.expect("it is free");
    let renewed = take(one, &kept, SHORT).await.expect("it is free");
    assert!(renew(one, &kept, &renewed, LONG).await, "law 3");
    tokio::time::sleep(SHORT * 5 / 2).await;
    assert!(!renew(one, &left, &first, LONG).await, "law 3: its time was over");
    assert!(take(other, &kept, LONG).await.is_none(), "law 3: what is renewed lasts");
    let second = take(other, &left, LONG).await.expect("law 3: it is free again");
    assert!(second.fence > first.fence, "law 2: {first:?}, then {second:?}");
    assert!(!renew(one, &left, &first, LONG).await, "law 3: somebody else has it");
    give_back(one, &left, &first).await;
    assert!(renew(other, &left, &second, LONG).await, "law 4: only who has it gives it back");
}

async fn what_is_given_back_is_free([one, other]: &[Arc<dyn Leases>; 2]) {
    let thing = thing();
    let mut fence = 0;
    for node in [one, other, one, one] {
        let grant = take(node, &thing, LONG).await.expect("law 4: it is free");
        assert!(grant.fence > fence, "law 2: {grant:?} after {fence}");
        fence = grant.fence;
        give_back(node, &thing, &grant).await;
        assert!(!renew(node, &thing, &grant, LONG).await, "law 4: it was given back");
    }
}

async fn many_want_it([one, other]: &[Arc<dyn Leases>; 2]) {
    let thing = thing();
    for _ in 0..20 {
        let (a, b, c) = tokio::join!(take(one, &thing, LONG), take(other, &thing, LONG), take(one, &thing, LONG));
        let granted: Vec<_> = [a, b, c].into_iter().flatten().collect();
        assert_eq!(granted.len(), 1, "law 1: {granted:?}");
        give_back(one, &thing, &granted[0]).await;
    }
}

async fn a_lease_goes_by_the_holder_s_clock([one, _]: &[Arc<dyn Leases>; 2]) {
    let lease = within("law 3", Lease::take(one, &thing(), SHORT)).await.expect("an answer").expect("it is free");
    assert!(lease.is_good() && within("law 3", lease.renew()).await.expect("an answer"));
    // As a process that is stopped.
    std::thread::sleep(SHORT);
    assert!(!lease.is_good(), "law 3: a holder does not act beyond its time");
    assert!(!within("law 3", lease.renew()).await.expect("an answer"), "law 3: nor can it have more of it");
}

async fn take(node: &Arc<dyn Leases>, thing: &Name, lasts: Duration) -> Option<Grant> {
    within("law 1", node.take(thing, lasts)).await.expect("an answer")
}

async fn renew(node: &Arc<dyn Leases>, thing: &Name, grant: &Grant, lasts: Duration) -> bool {
    within("law 3", node.renew(thing, grant, lasts)).await.expect("an answer")
}

async fn give_back(node: &Arc<dyn Leases>, thing: &Name, grant: &Grant) {
    within("law 4", node.give_back(thing, grant)).await.expect("an answer");
}

fn thing() -> Name {
    Name::parse(&format!("law *.> {}", random_token(12))).expect("a name")
}
