//! What the machine gives: time, files, ports, memory.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

use super::{Report, amount};
use crate::config::Settings;

/// Compares this machine's clock with the database's.
pub(super) fn clock(report: &mut Report, ahead_ms: Option<i64>) {
    // Of this program: no clock that is right shows less.
    const AT_LEAST: u64 = 1_750_000_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match ahead_ms {
        _ if now < AT_LEAST => {
            report.error("clock", "is years behind: every token is early", "set it; run an NTP client");
        }
        Some(ahead) if ahead.abs() > 1000 => {
            let finding = format!("differs from the database's by {ahead} ms");
            report.warn("clock", finding, "run an NTP client on both machines");
        }
        Some(ahead) => report.ok("clock", format!("differs from the database's by {ahead} ms")),
        None => report.ok("clock", "is of this age; there is no other to compare it with"),
    }
}

/// Whether there may be as many files as connections, each of which is one.
pub(super) fn files(report: &mut Report, connections: Option<usize>) {
    /// The database, the broker, the listener, logs.
    const OTHERS: u64 = 128;
    let limit = getrlimit(Resource::Nofile);
    let (Some(hard), soft) = (limit.maximum, limit.current.unwrap_or(u64::MAX)) else {
        return report.ok("files", "as many as there are");
    };
    let wanted = connections.map_or(0, |connections| connections as u64 + OTHERS);
    let advice = "LimitNOFILE= in the systemd unit, or ulimit -Hn; or lower limits.connections";
    let finding = format!("{hard} may be open (the server raises its limit from {soft} by itself)");
    match connections {
        Some(connections) if hard < 1024.min(wanted) => {
            report.error("files", format!("{finding}; {connections} connections are allowed"), advice);
        }
        Some(connections) if hard < wanted => {
            report.warn("files", format!("{finding}; {connections} connections are allowed"), advice);
        }
        _ => report.ok("files", finding),
    }
}

/// What the kernel does with connections that come and go.
pub(super) fn kernel(report: &mut Report, listen: SocketAddr) {
    /// What the listener asks for.
    const BACKLOG: u64 = 4096;
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap_or_default();
    if let Ok(most) = read("core/somaxconn").trim().parse::<u64>()
        && most < BACKLOG
    {
        let finding = format!("{most} connections may wait to be accepted, and {BACKLOG} are asked for");
        report.warn("kernel", finding, format!("sysctl net.core.somaxconn={BACKLOG}"));
    }
    let range = read("ipv4/ip_local_port_range");
    let range: Vec<u16> = range.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    if let [first, last] = *range {
        let (port, finding) = (listen.port(), format!("outgoing connections have the ports {first} to {last}"));
        if port != 0 && (first..=last).contains(&port) {
            let advice = format!("another port, or sysctl net.ipv4.ip_local_reserved_ports={port}");
            report.warn("kernel", format!("{finding}: one of them may have {port} when the server starts"), advice);
        } else {
            report.ok("kernel", finding);
        }
    }
}

/// Whether what may be kept in memory fits into what the process may have.
pub(super) fn memory(report: &mut Report, settings: &Settings) {
    let hub = &settings.config.hub;
    // Memory rooms of several nodes are the broker's.
    let rooms = if settings.bus.is_some() { 0 } else { hub.memory.bytes };
    let budget = (rooms + hub.tails + settings.config.limits.bodies) as u64;
    let finding = format!("rooms, their newest messages and bodies may take {}", amount(budget));
    match limit() {
        Some(limit) if budget > limit / 4 * 3 => {
            let advice = "a higher limit, or a lower memory.bytes: connections take memory too";
            report.warn("memory", format!("{finding}, of {} that the process may have", amount(limit)), advice);
        }
        Some(limit) => report.ok("memory", format!("{finding}, of {} that the process may have", amount(limit))),
        None => report.ok("memory", format!("{finding}; the process has no limit of its own")),
    }
}

/// What the control groups above the process leave it (version 2 of them, then version 1).
fn limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let mut limits: Vec<u64> = std::path::Path::new(own)
        .ancestors()
        .filter_map(|group| {
            let file = std::path::Path::new("/sys/fs/cgroup").join(group).join("memory.max");
            std::fs::read_to_string(file).ok()?.trim().parse().ok()
        })
        .collect();
    let first = std::fs::read_to_string("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    // Without a limit version 1 says a number that no machine has.
    limits.extend(first.ok().and_then(|limit| limit.trim().parse::<u64>().ok()).filter(|limit| *limit < 1 << 60));
    limits.into_iter().min()
}
