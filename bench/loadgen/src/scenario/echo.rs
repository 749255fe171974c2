//! Messages that come back to their sender.

use std::collections::VecDeque;

use super::{OPENING_LIMIT, USUAL_CONNECTIONS, gap, system};
use crate::{
    clock::{Nanos, nanos, now, seconds},
    connection::{Connection, Role},
    fleet::{Failures, Fleet},
    histogram::Histogram,
    marker,
    options::{Options, Wire},
    report::Report,
    tally::Tally,
    target::Target,
    template::{Template, Values},
    usage::Usage,
    websocket::{self, Frame},
};

pub(super) fn run(options: &Options, report: &mut Report) -> Result<Failures, String> {
    if !matches!(options.proto, Wire::Ws | Wire::Sio) {
        return Err("echo needs --proto ws or sio".into());
    }
    let connections = options.n.unwrap_or(USUAL_CONNECTIONS);
    let payload = marker::payload(options.payload, options.size);
    let echoes = Echoes::new(Template::parse(&options.publish, &payload), connections, options.depth);
    let mut fleet = Fleet::new(Target::new(options), echoes, gap(options, 0)).map_err(system)?;
    fleet.open(Role::Subscriber, connections, options.conc, OPENING_LIMIT);
    if fleet.ready == 0 {
        return Err(format!("no connection: {}", fleet.failures.last));
    }
    fleet.turn_until(now() + nanos(options.settle));
    for id in 0..connections {
        fleet.start_echo(id);
    }
    fleet.turn_until(now() + nanos(options.warmup));

    fleet.tally.latency = Histogram::new();
    fleet.tally.count = 0;
    fleet.tally.other = 0;
    let before = Usage::read(options.pid);
    fleet.traffic.busy = 0;
    let start = now();
    fleet.turn_until(start + nanos(options.secs));
    let (wall, messages) = (seconds(now() - start), fleet.tally.count as f64);
    let after = Usage::read(options.pid);

    report.number("n", fleet.ready as f64);
    report.number("depth", f64::from(options.depth));
    report.number("msgs", messages);
    report.number("msgs_per_s", messages / wall);
    fleet.tally.latency.describe(report);
    report.number("other_frames", fleet.tally.other as f64);
    after.describe_since(&before, fleet.traffic.busy, Some(("cpu_us_per_msg", messages)), report);
    Ok(fleet.failures)
}

impl Fleet<Echoes> {
    /// Sends a connection's first messages; the answers to them keep it going.
    fn start_echo(&mut self, id: usize) {
        if !self.connections[id].is_ready() {
            return;
        }
        let first = self.tally.answer(&self.connections[id]).map(<[u8]>::to_vec);
        self.send(id, &first.unwrap_or_default());
    }
}

/// Messages under way, per connection.
struct Echoes {
    count: u64,
    /// Frames that bring no outstanding message back: a refusal is no echo.
    other: u64,
    latency: Histogram,
    publish: Template,
    next_id: u64,
    lanes: Vec<Lane>,
    frames: Vec<u8>,
    message: Vec<u8>,
}

struct Lane {
    /// The number of each outstanding message, and when it was sent.
    sent: VecDeque<(u64, Nanos)>,
    /// Messages to send after this read, in one write.
    owed: u32,
}

impl Echoes {
    fn new(publish: Template, connections: usize, depth: u32) -> Echoes {
        Echoes {
            count: 0,
            other: 0,
            latency: Histogram::new(),
            publish,
            next_id: 0,
            lanes: (0..connections).map(|_| Lane { sent: VecDeque::new(), owed: depth }).collect(),
            frames: Vec::new(),
            message: Vec::new(),
        }
    }
}

impl Lane {
    /// When the message was sent that comes back with this frame.
    fn answered(&mut self, frame: &Frame<'_>) -> Option<Nanos> {
        if frame.deflated() {
            return self.sent.pop_front().map(|(_, at)| at);
        }
        let (_, number) = marker::find(frame.payload)?;
        // The first, but where a server runs a task for each message.
        let place = self.sent.iter().position(|(sent, _)| *sent == number)?;
        self.sent.remove(place).map(|(_, at)| at)
    }
}

impl Tally for Echoes {
    #[inline]
    fn frame(&mut self, on: &mut Connection, frame: &Frame<'_>, at: Nanos) {
        let lane = &mut self.lanes[on.id];
        match lane.answered(frame) {
            Some(sent_at) => {
                self.latency.add(at.saturating_sub(sent_at));
                self.count += 1;
                lane.owed += 1;
            }
            None => self.other += 1,
        }
    }

    fn stretch(&mut self, _on: &mut Connection, bytes: &[u8], _at: Nanos) -> usize {
        bytes.len()
    }

    fn answer(&mut self, on: &Connection) -> Option<&[u8]> {
        // Numbers stay short, so that every message has nearly the same size.
        const IDS: u64 = 10_000;
        let lane = &mut self.lanes[on.id];
        if lane.owed == 0 || !on.is_ready() {
            return None;
        }
        let at = now();
        self.frames.clear();
        for _ in 0..std::mem::take(&mut lane.owed) {
            self.next_id = (self.next_id + 1) % IDS;
            let id = self.next_id;
            self.message.clear();
            self.publish
                .render(&mut self.message, Values { seq: id, id, room: on.room, i: on.number, ..Values::default() });
            websocket::encode(&mut self.frames, websocket::TEXT, &self.message);
            lane.sent.push_back((id, at));
        }
        Some(&self.frames)
    }
}

#[cfg(test)]
mod tests;
