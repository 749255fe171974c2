//! Handshakes.

use super::{gap, system};
use crate::{
    clock::{Nanos, nanos, now, seconds},
    connection::{Role, State},
    fleet::{Failures, Fleet},
    histogram::Histogram,
    options::Options,
    report::Report,
    tally::Nothing,
    target::Target,
    usage::Usage,
};

pub(super) fn run(options: &Options, report: &mut Report) -> Result<Failures, String> {
    let fleet = Fleet::new(Target::new(options), Nothing, gap(options, 0)).map_err(system)?;
    let mut dialler = Dialler { fleet, at_once: options.conc, dialed: 0, handshakes: 0, latency: Histogram::new() };
    // A server that compiles while it runs needs a second of handshakes before they cost what they will cost.
    dialler.dial_until(now() + nanos(options.warmup), usize::MAX);

    dialler.handshakes = 0;
    dialler.latency = Histogram::new();
    let before = Usage::read(options.pid);
    dialler.fleet.traffic.busy = 0;
    let start = now();
    dialler.dial_until(start + nanos(options.secs), options.n.unwrap_or(usize::MAX));
    let wall = seconds(now() - start);
    let after = Usage::read(options.pid);

    let handshakes = dialler.handshakes as f64;
    report.number("conc", options.conc as f64);
    report.number("handshakes", handshakes);
    report.number("handshakes_per_s", handshakes / wall);
    dialler.latency.describe(report);
    let per = ("cpu_us_per_handshake", handshakes);
    after.describe_since(&before, dialler.fleet.traffic.busy, Some(per), report);
    Ok(dialler.fleet.failures)
}

/// Keeps so many handshakes under way; a connection that is ready is reset, and its slot dialled again.
struct Dialler {
    fleet: Fleet<Nothing>,
    at_once: usize,
    dialed: usize,
    handshakes: usize,
    latency: Histogram,
}

impl Dialler {
    fn dial_until(&mut self, end: Nanos, most: usize) {
        const PATIENCE: u64 = 1000;
        while self.fleet.connections.len() < self.at_once {
            self.dial(None);
        }
        while now() < end && self.fleet.failures.count < PATIENCE && self.handshakes < most {
            self.fleet.turn(20_000_000);
            for slot in 0..self.at_once {
                self.renew(slot);
            }
        }
    }

    fn renew(&mut self, slot: usize) {
        let connection = &self.fleet.connections[slot];
        match connection.state {
            State::Dialing | State::Head | State::Greeting | State::Entering | State::Joining { .. } => return,
            State::Dead => {}
            State::Ready => {
                self.handshakes += 1;
                self.latency.add(now() - connection.born);
                self.fleet.close(slot);
            }
        }
        self.dial(Some(slot));
    }

    fn dial(&mut self, slot: Option<usize>) {
        self.fleet.dial(slot, Role::Subscriber, self.dialed);
        self.dialed += 1;
    }
}
