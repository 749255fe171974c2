//! The records of several nodes as one account.

use std::collections::{BTreeMap, HashMap, VecDeque};

use denrei_hub::Name;
use serde::{Deserialize, Serialize};

use super::Line;

/// What one node has noted, from somewhere on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) lines: Vec<Line>,
    pub(super) dropped: u64,
    /// There is more behind these.
    pub(super) more: bool,
}

pub(super) struct Merged {
    pub(super) lines: Vec<Line>,
    /// After which record of each node it goes on.
    pub(super) after: BTreeMap<Name, u64>,
    pub(super) more: bool,
}

/// Puts records in order: those of each node as they are, those of different nodes by their time, but nothing of a message
/// before it has its number, however much their clocks differ.
pub(super) fn merge(parts: Vec<(Name, Part)>, mut after: BTreeMap<Name, u64>, limit: usize) -> Merged {
    let mut numbered = HashMap::new();
    for line in parts.iter().flat_map(|(_, part)| &part.lines).filter(|line| line.step == "number") {
        numbered.insert((line.room.clone(), line.epoch.clone(), line.seq), line.time);
    }
    let mut heads: Vec<_> = parts
        .into_iter()
        .map(|(node, part)| {
            let mut time = 0;
            let timed = part.lines.into_iter().map(|line| {
                let key = (line.room.clone(), line.epoch.clone(), line.seq);
                time = time.max(line.time).max(numbered.get(&key).copied().unwrap_or_default());
                // At the same time, what the numbering node noted comes first.
                (time, u8::from(line.step != "number" && line.step != "publish"), line)
            });
            (node, timed.collect::<VecDeque<_>>(), part.more)
        })
        .collect();
    let mut lines = Vec::new();
    // A node whose page has ended, but not its records, may have earlier ones than the others.
    while lines.len() < limit && !heads.iter().any(|(_, timed, more)| timed.is_empty() && *more) {
        let first = heads.iter_mut().filter(|(_, timed, _)| !timed.is_empty());
        let first = first.min_by_key(|(_, timed, _)| timed.front().map(|(time, later, _)| (*time, *later)));
        let Some((node, timed, _)) = first else { break };
        let Some((.., line)) = timed.pop_front() else { break };
        after.insert(node.clone(), line.number);
        lines.push(line);
    }
    let more = heads.iter().any(|(_, timed, more)| !timed.is_empty() || *more);
    Merged { lines, after, more }
}

#[cfg(test)]
mod tests;
