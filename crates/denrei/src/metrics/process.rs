//! What the kernel says of this process, under the names that all exporters use. Nothing where it does not say.

use std::fs;

use super::text::{Kind, Page};

/// Ticks of the kernel's clock in a second, as it shows them to programs: 100 on every architecture.
const TICKS: f64 = 100.0;

pub(super) fn write(page: &mut Page, started: f64) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| parse_stat(&text)) {
        let Stat { cpu_ticks, threads, virtual_bytes } = stat;
        let seconds = cpu_ticks as f64 / TICKS;
        page.one("process_cpu_seconds_total", Kind::Counter, "Time on processors, user and system.", seconds);
        page.one("process_threads", Kind::Gauge, "Threads.", threads);
        page.one("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory.", virtual_bytes);
    }
    if let Some(resident) = resident() {
        page.one("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", resident);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // One of them is this look.
        let open = files.count().saturating_sub(1);
        page.one("process_open_fds", Kind::Gauge, "Open files; each connection is one.", open);
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let most = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    if let Some(most) = most.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()) {
        page.one("process_max_fds", Kind::Gauge, "The most files that may be open.", most);
    }
    page.one("process_start_time_seconds", Kind::Gauge, "When it was started, in seconds since 1970.", started);
}

struct Stat {
    cpu_ticks: u64,
    threads: u64,
    virtual_bytes: u64,
}

/// `proc_pid_stat(5)`: the second field is the program's name, which may hold anything, in parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<u64> = text.rsplit_once(") ")?.1.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat { cpu_ticks: field(14)? + field(15)?, threads: field(20)?, virtual_bytes: field(23)? })
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
