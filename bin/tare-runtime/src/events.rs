//! `tare-runtime events --stats`: a container's figures, in the form that engines read.

use serde_json::{Value, json};
use tare_cgroup::{BlockIoStats, Stats};

use crate::failure::{Failure, Outcome};
use crate::flags::{Given, switch, value};
use crate::global::Global;

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse(arguments, &[switch("stats", ""), value("interval", "")])?;
    if !given.is("stats") {
        return Err(Failure::new("not supported yet: events without --stats"));
    }
    let id = given.id()?;
    println!("{}", event(id, &global.open(id)?.stats()?));
    Ok(0)
}

fn event(id: &str, stats: &Stats) -> Value {
    let (memory, cpu) = (&stats.memory, &stats.cpu);
    let cache = memory.details.get("total_cache").or(memory.details.get("file"));
    json!({"type": "stats", "id": id, "data": {
        "cpu": {
            "usage": {"total": cpu.total, "percpu": cpu.per_cpu, "kernel": cpu.system, "user": cpu.user},
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled,
            },
        },
        "cpuset": {},
        "memory": {
            "cache": cache.copied().unwrap_or(0),
            "usage": {
                "limit": memory.limit.unwrap_or(u64::MAX),
                "usage": memory.usage,
                "max": memory.max_usage,
                "failcnt": memory.failures,
            },
            "swap": {"limit": 0, "usage": memory.swap, "failcnt": 0},
            "kernel": {"limit": 0, "failcnt": 0},
            "kernelTCP": {"limit": 0, "failcnt": 0},
            "raw": memory.details,
        },
        "pids": {"current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0)},
        "blkio": {
            "ioServiceBytesRecursive": blkio(&stats.block_io, |d| (d.read_bytes, d.write_bytes)),
            "ioServicedRecursive": blkio(&stats.block_io, |d| (d.reads, d.writes)),
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    }})
}

fn blkio(devices: &[BlockIoStats], figures: impl Fn(&BlockIoStats) -> (u64, u64)) -> Vec<Value> {
    let entry = |d: &BlockIoStats, op: &str, value: u64| json!({"major": d.major, "minor": d.minor, "op": op, "value": value});
    let both = |d: &BlockIoStats| {
        let (read, write) = figures(d);
        [entry(d, "Read", read), entry(d, "Write", write)]
    };
    devices.iter().flat_map(both).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_places() {
        let mut stats = Stats::default();
        stats.pids.current = 3;
        stats.block_io.push(BlockIoStats { major: 8, read_bytes: 5, ..BlockIoStats::default() });
        let event = event("x", &stats);
        assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!("x")));
        assert_eq!(event["data"]["pids"]["current"], 3);
        assert_eq!(event["data"]["blkio"]["ioServiceBytesRecursive"][0]["value"], 5);
    }
}
