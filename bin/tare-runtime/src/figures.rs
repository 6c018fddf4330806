//! A container's figures in the form that engines read from `events`.

use serde_json::{Map, Value, json};
use tare_cgroup::{BlockIoStats, Pressure, Stall, Stats};

/// One event of the kind `stats`.
pub(crate) fn event(id: &str, stats: &Stats) -> Value {
    json!({"type": "stats", "id": id, "data": {
        "cpu": cpu(stats),
        "cpuset": {},
        "memory": memory(stats),
        "pids": {"current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0)},
        "blkio": with_pressure(json!({
            "ioServiceBytesRecursive": blkio(&stats.block_io, |d| (d.read_bytes, d.write_bytes)),
            "ioServicedRecursive": blkio(&stats.block_io, |d| (d.reads, d.writes)),
        }), stats.io_pressure),
        "hugetlb": huge_pages(stats),
        "rdma": rdma(stats),
        "intel_rdt": {},
        "network_interfaces": null,
    }})
}

fn cpu(stats: &Stats) -> Value {
    let cpu = &stats.cpu;
    let figures = json!({
        "usage": {"total": cpu.total, "percpu": cpu.per_cpu, "kernel": cpu.system, "user": cpu.user},
        "throttling": {
            "periods": cpu.periods,
            "throttledPeriods": cpu.throttled_periods,
            "throttledTime": cpu.throttled,
        },
    });
    with_pressure(figures, cpu.pressure)
}

/// Swap is memory and swap together, as v1 counts it and engines expect it of v2, too.
fn memory(stats: &Stats) -> Value {
    let memory = &stats.memory;
    let cache = memory.details.get("total_cache").or(memory.details.get("file"));
    let figures = json!({
        "cache": cache.copied().unwrap_or(0),
        "usage": {
            "limit": memory.limit.unwrap_or(u64::MAX),
            "usage": memory.usage,
            "max": memory.max_usage,
            "failcnt": memory.failures,
        },
        "swap": {
            "limit": memory.swap_limit.unwrap_or(u64::MAX),
            "usage": memory.usage.saturating_add(memory.swap),
            "failcnt": 0,
        },
        "kernel": {"limit": 0, "failcnt": 0},
        "kernelTCP": {"limit": 0, "failcnt": 0},
        "raw": memory.details,
    });
    with_pressure(figures, memory.pressure)
}

fn huge_pages(stats: &Stats) -> Map<String, Value> {
    let figures = stats.huge_pages.iter().map(|(size, pages)| {
        (size.clone(), json!({"usage": pages.usage, "max": pages.max_usage, "failcnt": pages.failures}))
    });
    figures.collect()
}

fn rdma(stats: &Stats) -> Value {
    let list = |pick: &dyn Fn(&tare_cgroup::RdmaStats) -> (u32, u32)| -> Vec<Value> {
        let entry = |(device, rdma): (&String, &tare_cgroup::RdmaStats)| {
            let (handles, objects) = pick(rdma);
            json!({"device": device, "hcaHandles": handles, "hcaObjects": objects})
        };
        stats.rdma.iter().map(entry).collect()
    };
    let limit = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
    json!({
        "current": list(&|rdma| (rdma.handles, rdma.objects)),
        "limit": list(&|rdma| (limit(rdma.handle_limit), limit(rdma.object_limit))),
    })
}

fn blkio(devices: &[BlockIoStats], figures: impl Fn(&BlockIoStats) -> (u64, u64)) -> Vec<Value> {
    let entry = |d: &BlockIoStats, op: &str, value: u64| json!({"major": d.major, "minor": d.minor, "op": op, "value": value});
    let both = |d: &BlockIoStats| {
        let (read, write) = figures(d);
        [entry(d, "Read", read), entry(d, "Write", write)]
    };
    devices.iter().flat_map(both).collect()
}

/// Shares of time in percent, as the kernel prints them; nothing where it does not count.
fn with_pressure(mut figures: Value, pressure: Option<Pressure>) -> Value {
    let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
    let stall = |stall: Stall| {
        json!({
            "avg10": percent(stall.percent_10),
            "avg60": percent(stall.percent_60),
            "avg300": percent(stall.percent_300),
            "total": stall.total,
        })
    };
    if let Some(Pressure { some, full }) = pressure {
        figures["psi"] = json!({"some": stall(some), "full": stall(full)});
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_places() {
        let mut stats = Stats::default();
        stats.pids.current = 3;
        stats.block_io.push(BlockIoStats { major: 8, read_bytes: 5, ..BlockIoStats::default() });
        (stats.memory.usage, stats.memory.swap) = (100, 7);
        let some = Stall { percent_10: 1234, total: 9, ..Stall::default() };
        stats.memory.pressure = Some(Pressure { some, full: Stall::default() });
        stats
            .huge_pages
            .insert("2MB".to_owned(), tare_cgroup::HugePageStats { usage: 4, ..Default::default() });
        let event = event("x", &stats);
        assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!("x")));
        let data = &event["data"];
        assert_eq!(data["pids"]["current"], 3);
        assert_eq!(data["blkio"]["ioServiceBytesRecursive"][0]["value"], 5);
        assert_eq!(data["memory"]["swap"]["usage"], 107);
        assert_eq!(data["memory"]["psi"]["some"]["avg10"], 12.34);
        assert_eq!(data["hugetlb"]["2MB"]["usage"], 4);
        assert!(data["cpu"].get("psi").is_none());
    }
}
