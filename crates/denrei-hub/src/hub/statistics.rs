//! What a hub has done and holds, for metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Hub, Inner, counted};
use crate::class::Class;
use crate::ids::RoomName;
use crate::lock;
use crate::stats::{ClassStatistics, EventNames, HubStatistics, PublishOutcome, add};

impl Hub {
    /// What the hub has done, for metrics.
    pub fn statistics(&self) -> HubStatistics {
        let Inner { reach, counters, cluster, .. } = &*self.0;
        HubStatistics {
            shards: reach.shards.iter().map(|shard| shard.counters().read()).collect(),
            classes: self.class_statistics(),
            took: counters.took(),
            replayed: counters.replayed.iter().map(|counter| counter.load(Ordering::Relaxed)).collect(),
            gaps: counters.gaps.load(Ordering::Relaxed),
            bus: cluster.as_ref().map(|cluster| cluster.statistics()),
        }
    }

    fn class_statistics(&self) -> Vec<ClassStatistics> {
        let classes = self.0.classes.numbered();
        let mut rooms = vec![0; classes.len()];
        for part in &self.0.rooms {
            for room in lock(part).keys() {
                rooms[self.0.classes.find(room).1] += counted(room);
            }
        }
        let of = |((number, (name, class)), rooms): ((usize, (Arc<str>, Class)), usize)| ClassStatistics {
            name,
            keep: class.keep,
            rooms,
            publishes: self.0.counters.publishes(number),
        };
        classes.into_iter().enumerate().zip(rooms).map(of).collect()
    }

    /// The names by which [`Hub::statistics`] counts events.
    pub fn event_names(&self) -> &EventNames {
        &self.0.names
    }

    /// Counts a message that somebody was given who is no reader: in the answer to a poll, for instance.
    pub fn gave(&self, event: &str) {
        add(&self.0.counters.replayed[self.0.names.number(event)], 1);
    }

    /// Connections that bytes are queued for. It looks at each: for somebody who asks now and then, on a thread that may
    /// take its time.
    pub fn waiting(&self) -> usize {
        self.0.reach.registry.everybody().iter().filter(|outbox| outbox.is_blocked()).count()
    }

    /// Counts a publish to a room that its log has answered in another way than to [`Hub::publish`].
    pub fn answered(&self, room: &RoomName, outcome: PublishOutcome, took: Duration) {
        self.0.counters.published(self.0.classes.find(room), outcome, took);
    }
}
