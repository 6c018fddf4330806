//! Figures that are read for who asks for all there are.

use std::ops::RangeInclusive;

use crate::error::Result;
use crate::group::{Cgroup, Dir};
use crate::stats::{CpusetStats, MemoryCounter, Stats};

use super::{number, text, v1_limit};

/// v1's, by their names in `cpuset.NAME`.
const SWITCHES: [&str; 9] = [
    "cpu_exclusive",
    "mem_exclusive",
    "mem_hardwall",
    "memory_migrate",
    "memory_pressure",
    "memory_spread_page",
    "memory_spread_slab",
    "sched_load_balance",
    "sched_relax_domain_level",
];

impl Cgroup {
    /// [`Cgroup::stats`], and what costs a dozen files more: the sets of processors and memory nodes, the kernel's memory
    /// and the modes of each processor.
    pub fn full_stats(&self) -> Result<Stats> {
        let mut stats = self.stats()?;
        stats.cpuset = match self.v1("cpuset").or_else(|| self.unified()) {
            Some(dir) => cpuset(dir)?,
            None => None,
        };
        if let Some(dir) = self.v1("memory") {
            stats.memory.kernel = counter(dir, "memory.kmem")?;
            stats.memory.kernel_tcp = counter(dir, "memory.kmem.tcp")?;
            stats.memory.swap_max_usage = number(dir, "memory.memsw.max_usage_in_bytes")?;
            stats.memory.swap_failures = number(dir, "memory.memsw.failcnt")?;
        } else if let Some(dir) = self.unified() {
            stats.memory.swap_max_usage = stats.memory.max_usage + number(dir, "memory.swap.peak")?;
        }
        if let Some(dir) = self.v1("cpuacct") {
            stats.cpu.per_cpu_modes = modes(&text(dir, "cpuacct.usage_all")?);
        }
        Ok(stats)
    }
}

/// None where the group has no such controller.
fn cpuset(dir: &Dir) -> Result<Option<CpusetStats>> {
    let both = |own: &str, effective: &str| -> Result<Vec<u16>> {
        // An own set that is empty is that of the group above.
        let set = list(&text(dir, own)?);
        if set.is_empty() { Ok(list(&text(dir, effective)?)) } else { Ok(set) }
    };
    let effective = |name: &str| {
        if dir.hierarchy.unified {
            format!("cpuset.{name}.effective")
        } else {
            format!("cpuset.effective_{name}")
        }
    };
    let cpus = both("cpuset.cpus", &effective("cpus"))?;
    let mems = both("cpuset.mems", &effective("mems"))?;
    if cpus.is_empty() && mems.is_empty() {
        return Ok(None);
    }
    let mut switches = std::collections::BTreeMap::new();
    for name in SWITCHES.into_iter().filter(|_| !dir.hierarchy.unified) {
        if let Ok(value) = text(dir, &format!("cpuset.{name}"))?.trim().parse() {
            switches.insert(name.to_owned(), value);
        }
    }
    Ok(Some(CpusetStats { cpus, mems, switches }))
}

/// `0-2,7`.
fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| -> Option<RangeInclusive<u16>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn counter(dir: &Dir, name: &str) -> Result<Option<MemoryCounter>> {
    let usage = text(dir, &format!("{name}.usage_in_bytes"))?;
    let Ok(usage) = usage.trim().parse() else { return Ok(None) };
    Ok(Some(MemoryCounter {
        usage,
        max_usage: number(dir, &format!("{name}.max_usage_in_bytes"))?,
        limit: v1_limit(number(dir, &format!("{name}.limit_in_bytes"))?),
        failures: number(dir, &format!("{name}.failcnt"))?,
    }))
}

/// A line for each processor below a heading: number, user, kernel; nanoseconds.
fn modes(text: &str) -> Vec<(u64, u64)> {
    let line = |line: &str| {
        let mut numbers = line.split(' ').skip(1).map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    text.lines().skip(1).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_lists_of_ranges() {
        assert_eq!(list("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(list("3"), [3]);
        assert!(list("\n").is_empty() && list("a-b,,-").is_empty());
    }

    #[test]
    fn each_processor_has_its_modes() {
        assert_eq!(modes("cpu user system\n0 123 45\n1 6 7\n"), [(123, 45), (6, 7)]);
        assert!(modes("").is_empty() && modes("cpu user system\nx\n").is_empty());
    }
}
