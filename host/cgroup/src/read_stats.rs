//! Reads a group's figures: pure parsers, and which file goes to which.

mod full;
mod pages;
mod pressure;

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::file::{self, keyed};
use crate::group::{Cgroup, Dir};
use crate::stats::{BlockIoStats, CpuStats, MemoryStats, PidsStats, Stats};

impl Cgroup {
    /// The figures, as they are now.
    pub fn stats(&self) -> Result<Stats> {
        let unified = |controller| self.unified().filter(|_| self.v1(controller).is_none());
        let mut stats = Stats::default();
        if let Some(dir) = self.v1("memory") {
            stats.memory = memory_v1(dir)?;
        } else if let Some(dir) = unified("memory") {
            stats.memory = memory_v2(dir)?;
        }
        if let Some(dir) = self.v1("cpuacct") {
            stats.cpu = cpu_v1(dir)?;
        } else if let Some(dir) = unified("cpuacct") {
            stats.cpu = cpu_v2(&text(dir, "cpu.stat")?);
        }
        if let Some(dir) = self.v1("cpu") {
            throttled_v1(&text(dir, "cpu.stat")?, &mut stats.cpu);
        }
        if let Some(dir) = self.v1("pids").or(unified("pids")) {
            stats.pids = PidsStats {
                current: number(dir, "pids.current")?,
                limit: text(dir, "pids.max")?.trim().parse().ok(),
            };
        }
        if let Some(dir) = self.v1("blkio") {
            let bytes = text(dir, "blkio.throttle.io_service_bytes_recursive")?;
            let operations = text(dir, "blkio.throttle.io_serviced_recursive")?;
            stats.block_io = block_io_v1(&bytes, &operations);
        } else if let Some(dir) = unified("blkio") {
            stats.block_io = block_io_v2(&text(dir, "io.stat")?);
        }
        self.rarer(&mut stats)?;
        Ok(stats)
    }

    /// What few machines have, or v2 alone.
    fn rarer(&self, stats: &mut Stats) -> Result<()> {
        if let Some(dir) = self.v1("hugetlb").or_else(|| self.unified()) {
            stats.huge_pages = pages::huge_pages(dir)?;
        }
        if let Some(dir) = self.v1("rdma").or_else(|| self.unified()) {
            stats.rdma = pages::rdma(dir)?;
        }
        if let Some(dir) = self.unified() {
            stats.cpu.pressure = pressure::read(dir, "cpu.pressure");
            stats.memory.pressure = pressure::read(dir, "memory.pressure");
            stats.io_pressure = pressure::read(dir, "io.pressure");
        }
        Ok(())
    }
}

/// A file's text; empty where the kernel has none such.
fn text(dir: &Dir, name: &str) -> Result<String> {
    match file::read(dir.fd.as_fd(), name) {
        Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(String::new()),
        Err(e) => Err(Error::file("read", dir.path.join(name), e)),
        Ok(text) => Ok(text),
    }
}

fn number(dir: &Dir, name: &str) -> Result<u64> {
    Ok(text(dir, name)?.trim().parse().unwrap_or(0))
}

fn memory_v1(dir: &Dir) -> Result<MemoryStats> {
    let details = text(dir, "memory.stat")?;
    Ok(MemoryStats {
        usage: number(dir, "memory.usage_in_bytes")?,
        max_usage: number(dir, "memory.max_usage_in_bytes")?,
        limit: v1_limit(number(dir, "memory.limit_in_bytes")?),
        swap: keyed(&details, "swap").unwrap_or(0),
        swap_limit: v1_limit(number(dir, "memory.memsw.limit_in_bytes")?).filter(|limit| *limit != 0),
        failures: number(dir, "memory.failcnt")?,
        oom_kills: keyed(&text(dir, "memory.oom_control")?, "oom_kill").unwrap_or(0),
        details: pairs(&details).collect(),
        ..MemoryStats::default()
    })
}

/// v1 says "no limit" by a number close to 2^63, rounded down to pages.
fn v1_limit(bytes: u64) -> Option<u64> {
    (bytes < (i64::MAX as u64) & !0xffff).then_some(bytes)
}

fn memory_v2(dir: &Dir) -> Result<MemoryStats> {
    let events = text(dir, "memory.events")?;
    let number_or_none = |name| text(dir, name).map(|text| text.trim().parse::<u64>().ok());
    let limit = number_or_none("memory.max")?;
    let swap_alone = number_or_none("memory.swap.max")?;
    Ok(MemoryStats {
        usage: number(dir, "memory.current")?,
        max_usage: number(dir, "memory.peak")?,
        limit,
        swap: number(dir, "memory.swap.current")?,
        swap_limit: limit.zip(swap_alone).map(|(limit, swap)| limit.saturating_add(swap)),
        failures: keyed(&events, "max").unwrap_or(0),
        oom_kills: keyed(&events, "oom_kill").unwrap_or(0),
        details: pairs(&text(dir, "memory.stat")?).collect(),
        ..MemoryStats::default()
    })
}

fn pairs(text: &str) -> impl Iterator<Item = (String, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    })
}

/// A clock tick of `cpuacct.stat` in nanoseconds: USER_HZ is 100 on every architecture that is supported.
const TICK: u64 = 10_000_000;

fn cpu_v1(dir: &Dir) -> Result<CpuStats> {
    let split = text(dir, "cpuacct.stat")?;
    let per_cpu = text(dir, "cpuacct.usage_percpu")?;
    Ok(CpuStats {
        total: number(dir, "cpuacct.usage")?,
        user: keyed(&split, "user").unwrap_or(0) * TICK,
        system: keyed(&split, "system").unwrap_or(0) * TICK,
        per_cpu: per_cpu.split_whitespace().filter_map(|n| n.parse().ok()).collect(),
        ..CpuStats::default()
    })
}

fn throttled_v1(cpu_stat: &str, stats: &mut CpuStats) {
    stats.periods = keyed(cpu_stat, "nr_periods").unwrap_or(0);
    stats.throttled_periods = keyed(cpu_stat, "nr_throttled").unwrap_or(0);
    stats.throttled = keyed(cpu_stat, "throttled_time").unwrap_or(0);
}

/// v2 counts in microseconds.
fn cpu_v2(cpu_stat: &str) -> CpuStats {
    let nanoseconds = |key| keyed(cpu_stat, key).unwrap_or(0) * 1000;
    CpuStats {
        total: nanoseconds("usage_usec"),
        user: nanoseconds("user_usec"),
        system: nanoseconds("system_usec"),
        periods: keyed(cpu_stat, "nr_periods").unwrap_or(0),
        throttled_periods: keyed(cpu_stat, "nr_throttled").unwrap_or(0),
        throttled: nanoseconds("throttled_usec"),
        ..CpuStats::default()
    }
}

fn device_entry<'a>(list: &'a mut Vec<BlockIoStats>, device: &str) -> Option<&'a mut BlockIoStats> {
    let (major, minor) = device.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    let at = list.iter().position(|d| (d.major, d.minor) == (major, minor)).unwrap_or_else(|| {
        list.push(BlockIoStats { major, minor, ..BlockIoStats::default() });
        list.len() - 1
    });
    list.get_mut(at)
}

/// Lines of `8:0 Read 4096`.
fn block_io_v1(bytes: &str, operations: &str) -> Vec<BlockIoStats> {
    let mut list = Vec::new();
    for (text, counts_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [device, operation, value] = words[..] else { continue };
            let (Some(entry), Ok(value)) = (device_entry(&mut list, device), value.parse()) else { continue };
            match (operation, counts_bytes) {
                ("Read", true) => entry.read_bytes = value,
                ("Write", true) => entry.write_bytes = value,
                ("Read", false) => entry.reads = value,
                ("Write", false) => entry.writes = value,
                _ => {}
            }
        }
    }
    list
}

/// Lines of `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn block_io_v2(text: &str) -> Vec<BlockIoStats> {
    let mut list = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(entry) = words.next().and_then(|device| device_entry(&mut list, device)) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => entry.read_bytes = value,
                "wbytes" => entry.write_bytes = value,
                "rios" => entry.reads = value,
                "wios" => entry.writes = value,
                _ => {}
            }
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_figures_of_both_versions() {
        let wanted =
            [BlockIoStats { major: 8, minor: 16, read_bytes: 4096, write_bytes: 512, reads: 2, writes: 1 }];
        let bytes = "8:16 Read 4096\n8:16 Write 512\n8:16 Sync 0\n8:16 Total 4608\nTotal 4608\n";
        assert_eq!(block_io_v1(bytes, "8:16 Read 2\n8:16 Write 1\n"), wanted);
        assert_eq!(block_io_v2("8:16 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0\n"), wanted);
        assert!(block_io_v2("nonsense\n8:x rios=1\n").is_empty());
    }

    #[test]
    fn processor_figures_are_nanoseconds() {
        let cpu = cpu_v2(
            "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 3\nnr_throttled 2\nthrottled_usec 7\n",
        );
        assert_eq!(
            (cpu.total, cpu.user, cpu.system, cpu.periods, cpu.throttled),
            (1_500_000, 1_000_000, 500_000, 3, 7000)
        );
    }

    #[test]
    fn v1s_unlimited_is_no_limit() {
        assert_eq!(v1_limit(9_223_372_036_854_771_712), None);
        assert_eq!(v1_limit(1 << 20), Some(1 << 20));
    }
}
