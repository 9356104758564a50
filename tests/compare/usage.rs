//! What a tree of processes used, from `/proc`.

use std::fs;

use crate::figures::float;

/// A process as `/proc/PID/stat` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    /// User and system ticks of its own.
    ticks: u64,
    /// Those of children that it has reaped.
    reaped_ticks: u64,
    threads: u64,
}

/// This process and everything below it, itself first.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    below(root, &processes())
        .map(|process| process.pid)
        .collect()
}

/// CPU seconds of the whole tree so far, of children that have ended too.
pub(crate) fn cpu_seconds(root: u32) -> f64 {
    let processes = processes();
    below(root, &processes).map(Process::cpu_seconds).sum()
}

/// KiB of memory of the tree: what is each process's own, and once what they share.
pub(crate) fn resident_kib(root: u32) -> u64 {
    let (mut own, mut shared) = (0, 0);
    for pid in tree(root) {
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
            continue;
        };
        own += kib(&status, "RssAnon:");
        shared = shared.max(kib(&status, "RssFile:") + kib(&status, "RssShmem:"));
    }
    own + shared
}

impl Process {
    fn cpu_seconds(self) -> f64 {
        let seconds = |ticks| float(ticks) / float(rustix::param::clock_ticks_per_second());
        // Ticks are cut off at whole ones, which of many small processes leaves nothing.
        let exact = (self.threads == 1)
            .then(|| exact_seconds(self.pid))
            .flatten();
        exact.unwrap_or_else(|| seconds(self.ticks)) + seconds(self.reaped_ticks)
    }
}

/// What the scheduler says of a process with one thread, to the nanosecond.
fn exact_seconds(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let nanos: u64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(float(nanos) / 1e9)
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = entries.filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.parse::<u32>().ok()?;
        fs::read_to_string(entry.path().join("stat")).ok()
    });
    stats.filter_map(|stat| parse(&stat)).collect()
}

fn below(root: u32, all: &[Process]) -> impl Iterator<Item = Process> + use<> {
    let mut found: Vec<Process> = Vec::new();
    let mut next: Vec<Process> = all.iter().copied().filter(|one| one.pid == root).collect();
    while let Some(process) = next.pop() {
        next.extend(all.iter().filter(|one| one.parent == process.pid));
        found.push(process);
    }
    found.into_iter()
}

/// Fields 1, 4, 14 to 17 and 20. The name in field 2 may hold blanks and brackets.
fn parse(stat: &str) -> Option<Process> {
    let (head, behind_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Process {
        pid: head.split_ascii_whitespace().next()?.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: field(11)? + field(12)?,
        reaped_ticks: field(13)? + field(14)?,
        threads: field(17)?,
    })
}

fn kib(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok());
    number.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_that_were_reaped_count_and_any_name_is_read() {
        let stat = "42 (a ) b) S 7 2 3 4 5 6 7 8 9 10 100 20 3 1 20 0 1 0 99";
        let process = Process {
            pid: 42,
            parent: 7,
            ticks: 120,
            reaped_ticks: 4,
            threads: 1,
        };
        assert_eq!(parse(stat), Some(process));
        assert_eq!(parse("garbage"), None);
    }

    #[test]
    fn a_tree_is_the_root_and_all_below_it() {
        let one = |pid, parent| Process {
            pid,
            parent,
            ticks: 1,
            reaped_ticks: 0,
            threads: 1,
        };
        let all = [one(1, 0), one(5, 1), one(6, 5), one(7, 6), one(8, 1)];
        let mut pids: Vec<_> = below(5, &all).map(|process| process.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [5, 6, 7]);
    }

    #[test]
    fn memory_is_read_from_what_the_kernel_says() {
        assert_eq!(kib("RssAnon:\t  282112 kB\n", "RssAnon:"), 282_112);
        assert_eq!(kib("Name:\tx\n", "RssAnon:"), 0);
    }
}
