//! Messages from a publisher to many subscribers.

use std::time::Duration;

use super::{OPENING_LIMIT, USUAL_CONNECTIONS, gap, system};
use crate::{
    clock::{Nanos, nanos, now, seconds},
    connection::Role,
    fleet::{Failures, Fleet, Traffic},
    histogram::Histogram,
    ledger::{Counts, Ledger},
    marker,
    options::{Options, Wire},
    report::Report,
    target::Target,
    template::{Template, Values},
    usage::Usage,
    websocket,
};

pub(super) fn run(options: &Options, report: &mut Report) -> Result<Failures, String> {
    let mut wave = Wave::open(options)?;
    let subscribers = wave.fleet.ready_of(Role::Subscriber).count();
    wave.fleet.turn_until(now() + nanos(options.settle));
    wave.fleet.tally.other = 0;
    let (_, lost_early) = wave.publish_for(options.warmup);

    let fleet = &mut wave.fleet;
    fleet.tally.latency = Histogram::new();
    fleet.tally.counts = Counts::default();
    fleet.traffic = Traffic::default();
    let before = Usage::read(options.pid);
    let start = now();
    let (messages, lost) = wave.publish_for(options.secs);
    let after = Usage::read(options.pid);

    let Fleet { tally, traffic, .. } = &wave.fleet;
    let wall = seconds(tally.last_delivery.saturating_sub(start));
    let deliveries = tally.counts.deliveries as f64;
    report.number("n", subscribers as f64);
    report.number("stopped", options.stopped as f64);
    report.number("publishers", wave.publishers.len() as f64);
    report.number("inflight", options.inflight as f64);
    report.number("size", options.size as f64);
    report.number("msgs", messages as f64);
    report.number("deliveries", deliveries);
    report.number("secs", wall);
    report.number("deliveries_per_s", deliveries / wall);
    report.number("msgs_per_s", messages as f64 / wall);
    tally.latency.describe(report);
    after.describe_since(&before, traffic.busy, Some(("cpu_us_per_delivery", deliveries)), report);
    report.number("bytes_per_delivery", traffic.bytes as f64 / deliveries);
    report.number("deliveries_per_read", deliveries / traffic.reads as f64);
    report.number("lost", (lost + lost_early) as f64);
    report.number("gaps", tally.gaps as f64);
    report.number("other_frames", tally.other as f64);
    report.number("deflate_negotiated", wave.fleet.deflate_negotiated as f64);
    report.number("deflated_frames", tally.counts.deflated as f64);
    Ok(wave.fleet.failures)
}

/// Publishers at work.
struct Wave {
    fleet: Fleet<Ledger>,
    publishers: Vec<usize>,
    /// Whose turn it is.
    turn: usize,
    wire: Wire,
    publish: Template,
    window: u64,
    rate: Option<f64>,
    most: u64,
    stall: Nanos,
    message: Vec<u8>,
    frames: Vec<u8>,
}

impl Wave {
    fn open(options: &Options) -> Result<Wave, String> {
        const PUBLISHERS_LIMIT: Duration = Duration::from_secs(10);
        let target = Target::new(options);
        let wire = target.door(Role::Publisher).wire;
        if !matches!(wire, Wire::Ws | Wire::Sio | Wire::Http) || options.proto == Wire::Http {
            return Err("fanout publishes by ws, sio or http, to subscribers by anything but http".into());
        }
        let ledger = Ledger::new(target.rooms);
        let mut fleet = Fleet::new(target, ledger, gap(options, 20)).map_err(system)?;

        let readers = options.n.unwrap_or(USUAL_CONNECTIONS);
        fleet.open(Role::Subscriber, readers + options.stopped, options.conc, OPENING_LIMIT);
        if fleet.stop(options.stopped).map_err(system)? < options.stopped {
            return Err(format!("too few subscribers: {}", fleet.failures.last));
        }
        let rooms: Vec<usize> = fleet.ready_of(Role::Subscriber).map(|connection| connection.room).collect();
        rooms.iter().for_each(|room| fleet.tally.expect_reader(*room));
        let usual = if wire == Wire::Http { 8 } else { 1 };
        fleet.open(Role::Publisher, options.pub_conns.unwrap_or(usual), options.conc, PUBLISHERS_LIMIT);
        let publishers: Vec<usize> = fleet.ready_of(Role::Publisher).map(|connection| connection.id).collect();
        if rooms.is_empty() || publishers.is_empty() {
            return Err(format!("no subscribers or no publisher: {}", fleet.failures.last));
        }
        Ok(Wave {
            fleet,
            publishers,
            turn: 0,
            wire,
            publish: Template::parse(&options.publish, &marker::payload(options.payload, options.size)),
            window: options.inflight,
            rate: Some(options.rate).filter(|rate| *rate > 0.0),
            most: options.msgs,
            stall: nanos(options.stall),
            message: Vec::new(),
            frames: Vec::new(),
        })
    }

    /// Publishes for `length`, then waits for the last deliveries. Returns the messages published, and the
    /// deliveries that never came.
    fn publish_for(&mut self, length: Duration) -> (u64, u64) {
        // Nothing is learnt from a server that drops everything.
        const ENOUGH_LOST: u64 = 50_000_000;
        let first = self.fleet.tally.published();
        let start = now();
        let end = start + nanos(length);
        let mut lost = 0;
        let (mut progress_at, mut progress) = (start, 0);
        loop {
            let time = now();
            let due = self.due(time - start);
            let most = if time < end { self.most.min(due) } else { 0 };
            self.publish_up_to(first + most);

            let ledger = &mut self.fleet.tally;
            let published = ledger.published();
            let over = time >= end || published - first >= self.most;
            if over && ledger.done >= published {
                return (published - first, lost);
            }
            if ledger.counts.deliveries != progress || ledger.done == published {
                (progress_at, progress) = (time, ledger.counts.deliveries);
            } else if time - progress_at > self.stall {
                lost += ledger.write_off(first);
                progress_at = time;
                let silenced = self.fleet.ready_of(Role::Publisher).next().is_none();
                if silenced || lost > ENOUGH_LOST {
                    return (published - first, lost);
                }
            }
            self.fleet.turn(self.until_due(due, start));
        }
    }

    /// Publishes while fewer than `limit` messages are out and the window has room; on a WebSocket, in one write.
    fn publish_up_to(&mut self, limit: u64) {
        self.frames.clear();
        let mut writer = None;
        while self.fleet.tally.published() < limit && self.fleet.tally.published() - self.fleet.tally.done < self.window
        {
            let Some(id) = self.next_publisher() else { break };
            if self.wire == Wire::Http {
                self.post(id);
            } else {
                self.frame();
                writer = Some(id);
            }
        }
        if let Some(id) = writer {
            self.fleet.send(id, &self.frames);
        }
    }

    /// The next publisher that is free. WebSocket publishers do not take turns: one of them keeps the order.
    fn next_publisher(&mut self) -> Option<usize> {
        let count = self.publishers.len();
        let free = |turn: &usize| {
            let connection = &self.fleet.connections[self.publishers[*turn]];
            connection.is_ready() && !connection.posting
        };
        let turn = (0..count).map(|k| (self.turn + k) % count).find(free)?;
        self.turn = if self.wire == Wire::Http { turn + 1 } else { turn };
        Some(self.publishers[turn])
    }

    fn post(&mut self, id: usize) {
        let room = self.render();
        let request = self.fleet.target.publication(room, &self.message);
        self.fleet.connections[id].posting = true;
        self.fleet.send(id, &request);
    }

    fn frame(&mut self) {
        self.render();
        websocket::encode(&mut self.frames, websocket::TEXT, &self.message);
    }

    /// Enters the next message into the ledger and renders it; returns its room.
    fn render(&mut self) -> usize {
        let seq = self.fleet.tally.published();
        let room = seq as usize % self.fleet.target.rooms;
        self.fleet.tally.publish(now());
        self.message.clear();
        self.publish.render(&mut self.message, Values { seq, room, id: seq, ..Values::default() });
        room
    }

    /// Messages that should have been published after this long.
    fn due(&self, elapsed: Nanos) -> u64 {
        self.rate.map_or(self.most, |rate| (seconds(elapsed) * rate) as u64 + 1)
    }

    fn until_due(&self, due: u64, start: Nanos) -> Nanos {
        const LONGEST: Nanos = 50_000_000;
        let Some(rate) = self.rate else { return LONGEST };
        let next = start + (due as f64 / rate * 1e9) as Nanos;
        next.saturating_sub(now()).min(LONGEST)
    }
}
