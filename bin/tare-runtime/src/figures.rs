//! A container's figures in the form that engines read from `events`.

use serde_json::{Map, Value, json};
use tare_cgroup::{BlockIoStats, MemoryCounter, Pressure, Stall, Stats};

/// One event of the kind `stats`.
pub(crate) fn event(id: &str, stats: &Stats) -> Value {
    json!({"type": "stats", "id": id, "data": {
        "cpu": cpu(stats),
        "cpuset": cpuset(stats),
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
    let mut figures = json!({
        "usage": {"total": cpu.total, "percpu": cpu.per_cpu, "kernel": cpu.system, "user": cpu.user},
        "throttling": {
            "periods": cpu.periods,
            "throttledPeriods": cpu.throttled_periods,
            "throttledTime": cpu.throttled,
        },
    });
    if !cpu.per_cpu_modes.is_empty() {
        let (user, kernel): (Vec<u64>, Vec<u64>) = cpu.per_cpu_modes.iter().copied().unzip();
        figures["usage"]["percpu_user"] = json!(user);
        figures["usage"]["percpu_kernel"] = json!(kernel);
    }
    with_pressure(figures, cpu.pressure)
}

/// v1's switches are there on v2 as well, all off, as engines read them.
fn cpuset(stats: &Stats) -> Value {
    let mut figures = json!({
        "cpu_exclusive": 0,
        "mem_hardwall": 0,
        "mem_exclusive": 0,
        "memory_migrate": 0,
        "memory_spread_page": 0,
        "memory_spread_slab": 0,
        "memory_pressure": 0,
        "sched_load_balance": 0,
        "sched_relax_domain_level": 0,
    });
    if let Some(set) = &stats.cpuset {
        figures["cpus"] = json!(set.cpus);
        figures["mems"] = json!(set.mems);
        set.switches.iter().for_each(|(name, value)| figures[name] = json!(value));
    }
    figures
}

fn counter(counter: Option<MemoryCounter>) -> Value {
    let MemoryCounter { usage, max_usage, limit, failures } = counter.unwrap_or_default();
    match counter {
        None => json!({"limit": 0, "failcnt": 0}),
        Some(_) => {
            json!({"limit": limit.unwrap_or(u64::MAX), "usage": usage, "max": max_usage, "failcnt": failures})
        }
    }
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
            "max": memory.swap_max_usage,
            "failcnt": memory.swap_failures,
        },
        "kernel": counter(memory.kernel),
        "kernelTCP": counter(memory.kernel_tcp),
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
        assert_eq!(data["cpuset"]["sched_load_balance"], 0);
        assert_eq!(data["memory"]["kernel"], json!({"limit": 0, "failcnt": 0}));
    }
}
