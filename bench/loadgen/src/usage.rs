//! What a process tree and the machine have used, from `/proc`.

use std::fs;

use crate::{
    clock::{Nanos, now, seconds},
    report::Report,
};

/// One reading; the difference of two is what a measurement cost.
#[derive(Default)]
pub(crate) struct Usage {
    pub(crate) at: Nanos,
    pub(crate) rss_kb: u64,
    pub(crate) pss_kb: u64,
    user_seconds: f64,
    system_seconds: f64,
    generator_seconds: f64,
    cores: Vec<Core>,
}

/// Seconds that a core was busy, and that the hypervisor gave to others.
struct Core {
    busy: f64,
    stolen: f64,
}

impl Usage {
    /// Reads the process `root` and all its descendants, this process and the machine.
    pub(crate) fn read(root: Option<u32>) -> Usage {
        let mut usage = Usage { at: now(), cores: cores(), ..Usage::default() };
        for process in root.map(descendants).unwrap_or_default() {
            let Some(stat) = Stat::read(process) else { continue };
            usage.user_seconds += stat.user_seconds;
            usage.system_seconds += stat.system_seconds;
            usage.rss_kb += field_kb(&format!("/proc/{process}/status"), "VmRSS:");
            usage.pss_kb += field_kb(&format!("/proc/{process}/smaps_rollup"), "Pss:");
        }
        if let Some(stat) = Stat::read(std::process::id()) {
            usage.generator_seconds = stat.user_seconds + stat.system_seconds;
        }
        usage
    }

    /// Reports what was used since `before`. `busy` is the time in which the generator had events to handle;
    /// `per` names a figure and how many operations to divide the server's CPU time by.
    pub(crate) fn describe_since(&self, before: &Usage, busy: Nanos, per: Option<(&str, f64)>, report: &mut Report) {
        let wall = seconds(self.at - before.at);
        let user = self.user_seconds - before.user_seconds;
        let system = self.system_seconds - before.system_seconds;
        report.number("server_cpu_s", user + system);
        report.number("server_user_s", user);
        report.number("server_sys_s", system);
        report.number("server_util", (user + system) / wall);
        report.number("gen_util", (self.generator_seconds - before.generator_seconds) / wall);
        report.number("gen_busy", seconds(busy) / wall);
        if let Some((name, operations)) = per.filter(|(_, operations)| *operations > 0.0) {
            report.number(name, (user + system) * 1e6 / operations);
        }
        let cores = self.cores.iter().zip(&before.cores).map(|(after, before)| {
            format!("[{:.2},{:.2}]", (after.busy - before.busy) / wall, (after.stolen - before.stolen) / wall)
        });
        report.raw("cores_busy_steal", &format!("[{}]", cores.collect::<Vec<_>>().join(",")));
        report.number("rss_before_mb", before.rss_kb as f64 / 1024.0);
        report.number("rss_after_mb", self.rss_kb as f64 / 1024.0);
    }
}

struct Stat {
    parent: u32,
    user_seconds: f64,
    system_seconds: f64,
}

impl Stat {
    fn read(process: u32) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name, in parentheses, may hold spaces and parentheses itself.
        let fields: Vec<&str> = text[text.rfind(')')? + 2..].split(' ').collect();
        Some(Stat {
            parent: fields.get(1)?.parse().ok()?,
            user_seconds: ticks(fields.get(11)?),
            system_seconds: ticks(fields.get(12)?),
        })
    }
}

fn descendants(root: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(u32, u32)> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, Stat::read(process)?.parent)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(process, _)| *process));
        next += 1;
    }
    found
}

fn cores() -> Vec<Core> {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    lines
        .map(|line| {
            let fields: Vec<f64> = line.split_whitespace().skip(1).map(ticks).collect();
            let [user, nice, system, _idle, _wait, interrupts, soft_interrupts, stolen, ..] = fields[..] else {
                return Core { busy: 0.0, stolen: 0.0 };
            };
            Core { busy: user + nice + system + interrupts + soft_interrupts, stolen }
        })
        .collect()
}

fn field_kb(path: &str, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn ticks(field: &str) -> f64 {
    field.parse::<f64>().unwrap_or(0.0) / rustix::param::clock_ticks_per_second() as f64
}
