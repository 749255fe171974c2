//! What connections cost that do nothing.

use std::time::Duration;

use super::{OPENING_LIMIT, USUAL_CONNECTIONS, gap, system};
use crate::{
    clock::{nanos, now, seconds},
    connection::Role,
    fleet::{Failures, Fleet},
    options::Options,
    report::Report,
    tally::Nothing,
    target::Target,
    usage::Usage,
};

// Allocators and runtimes settle in this time; what is read earlier is their garbage.
const SHORTEST_REST: Duration = Duration::from_secs(2);

pub(super) fn run(options: &Options, report: &mut Report) -> Result<Failures, String> {
    let empty = Usage::read(options.pid);
    let mut fleet = Fleet::new(Target::new(options), Nothing, gap(options, 0)).map_err(system)?;
    fleet.open(Role::Subscriber, options.n.unwrap_or(USUAL_CONNECTIONS), options.conc, OPENING_LIMIT);
    let opened = now();
    fleet.turn_until(now() + nanos(options.settle.max(SHORTEST_REST)));

    let before = Usage::read(options.pid);
    fleet.traffic.busy = 0;
    fleet.turn_until(now() + nanos(options.hold));
    let after = Usage::read(options.pid);

    let open = fleet.ready.max(1) as f64;
    let grown = |from: u64, to: u64| (to as f64 - from as f64) / open;
    report.number("open", fleet.ready as f64);
    report.number("open_s", seconds(opened - empty.at));
    report.number("deflate_negotiated", fleet.deflate_negotiated as f64);
    report.number("rss_base_mb", empty.rss_kb as f64 / 1024.0);
    report.number("rss_kb_per_conn", grown(empty.rss_kb, after.rss_kb));
    report.number("pss_kb_per_conn", grown(empty.pss_kb, after.pss_kb));
    report.number("hold_s", options.hold.as_secs_f64());
    after.describe_since(&before, fleet.traffic.busy, None, report);
    Ok(fleet.failures)
}
