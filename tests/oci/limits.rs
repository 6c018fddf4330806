//! config-linux.md: what each controller is told.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::cgroups::directory;
use crate::clause::{clauses, skip};
use crate::runtime::Runtime;

clauses! {
    "config-linux.md#memory" {
        memory_limit_is_set "memory.limit is set"
        memory_reservation_is_set "memory.reservation is set"
        memory_swappiness_is_set "memory.swappiness is set"
        memory_oom_killer_is_disabled "memory.disableOOMKiller is set"
        minus_one_is_no_limit "-1 is no limit"
        kernel_limits_do_not_fail "memory.kernel and kernelTCP, which the kernel has given up, fail no container"
    }
    "config-linux.md#cpu" {
        cpu_shares_are_set "cpu.shares are set"
        cpu_quota_and_period_are_set "cpu.quota and cpu.period are set"
        cpu_burst_is_set "cpu.burst is set"
        cpu_idle_is_set "cpu.idle is set"
        cpus_and_mems_are_set "cpu.cpus and cpu.mems are set"
    }
    "config-linux.md#block-io" {
        throttles_are_set "blockIO: bytes and operations of a device are throttled"
    }
    "config-linux.md#huge-page-limits" {
        huge_pages_are_limited "hugepageLimits are set"
        unknown_page_sizes_are_an_error "A page size that the kernel does not have is an error"
    }
    "config-linux.md#pids" {
        pids_limit_is_set "pids.limit is set"
        pids_limit_holds "No process more than pids.limit can be made"
    }
    "config-linux.md#unified" {
        unified_without_its_controller_is_an_error "unified: a controller that is not there is an error"
    }
}

/// Makes a container with these resources and gives the directory of its group in a controller's hierarchy.
fn made<'r>(runtime: &'r Runtime, controller: &str, name: &str, resources: Value) -> (Bundle<'r>, PathBuf) {
    let mut bundle = Bundle::of(runtime, "sleep 100");
    bundle.linux()["resources"][name] = resources;
    bundle.create();
    let Some(dir) = directory(&bundle.groups(), controller) else {
        skip(&format!("the {controller} controller"))
    };
    (bundle, dir)
}

/// The first of these files that exists must hold this.
#[track_caller]
fn holds(dir: &std::path::Path, files: &[(&str, &str)]) {
    let Some((name, expected)) = files.iter().find(|(name, _)| dir.join(name).exists()) else {
        skip(&format!("the kernel's {}", files[0].0))
    };
    let found = fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(found.trim(), *expected, "{name}");
}

fn memory_limit_is_set(runtime: &Runtime) {
    let (_bundle, dir) = made(runtime, "memory", "memory", json!({"limit": 33_554_432}));
    holds(&dir, &[("memory.limit_in_bytes", "33554432"), ("memory.max", "33554432")]);
}

fn memory_reservation_is_set(runtime: &Runtime) {
    let (_bundle, dir) = made(runtime, "memory", "memory", json!({"reservation": 16_777_216}));
    holds(&dir, &[("memory.soft_limit_in_bytes", "16777216"), ("memory.low", "16777216")]);
}

fn memory_swappiness_is_set(runtime: &Runtime) {
    if !std::path::Path::new("/sys/fs/cgroup/memory/memory.swappiness").exists() {
        skip("the memory controller of v1");
    }
    let (_bundle, dir) = made(runtime, "memory", "memory", json!({"swappiness": 13}));
    holds(&dir, &[("memory.swappiness", "13")]);
}

fn memory_oom_killer_is_disabled(runtime: &Runtime) {
    if !std::path::Path::new("/sys/fs/cgroup/memory/memory.oom_control").exists() {
        skip("the memory controller of v1");
    }
    let (_bundle, dir) =
        made(runtime, "memory", "memory", json!({"limit": 33_554_432, "disableOOMKiller": true}));
    let text = fs::read_to_string(dir.join("memory.oom_control")).unwrap();
    assert!(text.starts_with("oom_kill_disable 1\n"), "{text}");
}

fn minus_one_is_no_limit(runtime: &Runtime) {
    let (_bundle, dir) = made(runtime, "memory", "memory", json!({"limit": -1, "reservation": -1}));
    holds(&dir, &[("memory.limit_in_bytes", "9223372036854771712"), ("memory.max", "max")]);
}

fn kernel_limits_do_not_fail(runtime: &Runtime) {
    let limits = json!({"limit": 67_108_864, "kernel": 33_554_432, "kernelTCP": 33_554_432});
    let (_bundle, dir) = made(runtime, "memory", "memory", limits);
    holds(&dir, &[("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")]);
}

fn cpu_shares_are_set(runtime: &Runtime) {
    let (_bundle, dir) = made(runtime, "cpu", "cpu", json!({"shares": 512}));
    if !dir.join("cpu.shares").exists() {
        skip("the cpu controller of v1");
    }
    holds(&dir, &[("cpu.shares", "512")]);
}

fn cpu_quota_and_period_are_set(runtime: &Runtime) {
    let (_bundle, dir) = made(runtime, "cpu", "cpu", json!({"quota": 20_000, "period": 50_000}));
    holds(&dir, &[("cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 50000")]);
    holds(&dir, &[("cpu.cfs_period_us", "50000"), ("cpu.max", "20000 50000")]);
}

fn cpu_burst_is_set(runtime: &Runtime) {
    let (_bundle, dir) =
        made(runtime, "cpu", "cpu", json!({"quota": 20_000, "period": 50_000, "burst": 10_000}));
    holds(&dir, &[("cpu.cfs_burst_us", "10000"), ("cpu.max.burst", "10000")]);
}

fn cpu_idle_is_set(runtime: &Runtime) {
    let (_bundle, dir) = made(runtime, "cpu", "cpu", json!({"idle": 1}));
    holds(&dir, &[("cpu.idle", "1")]);
}

fn cpus_and_mems_are_set(runtime: &Runtime) {
    let (_bundle, dir) = made(runtime, "cpuset", "cpu", json!({"cpus": "0", "mems": "0"}));
    holds(&dir, &[("cpuset.cpus", "0")]);
    holds(&dir, &[("cpuset.mems", "0")]);
}

/// Major and minor number of any disk.
fn disk() -> (u32, u32) {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok());
    let parsed = numbers.filter_map(|text| {
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    parsed.max().unwrap_or_else(|| skip("a disk"))
}

fn throttles_are_set(runtime: &Runtime) {
    let (major, minor) = disk();
    let rate = |rate: u32| json!([{"major": major, "minor": minor, "rate": rate}]);
    let limits = json!({"throttleReadBpsDevice": rate(1_048_576), "throttleWriteIOPSDevice": rate(100)});
    if !std::path::Path::new("/sys/fs/cgroup/blkio").exists() {
        skip("the blkio controller of v1");
    }
    let (_bundle, dir) = made(runtime, "blkio", "blockIO", limits);
    holds(&dir, &[("blkio.throttle.read_bps_device", &format!("{major}:{minor} 1048576"))]);
    holds(&dir, &[("blkio.throttle.write_iops_device", &format!("{major}:{minor} 100"))]);
}

fn huge_pages_are_limited(runtime: &Runtime) {
    if !std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        skip("huge pages of 2 MB");
    }
    let (_bundle, dir) =
        made(runtime, "hugetlb", "hugepageLimits", json!([{"pageSize": "2MB", "limit": 4_194_304}]));
    holds(&dir, &[("hugetlb.2MB.limit_in_bytes", "4194304"), ("hugetlb.2MB.max", "4194304")]);
}

fn unknown_page_sizes_are_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["resources"]["hugepageLimits"] = json!([{"pageSize": "3MB", "limit": 4_194_304}]);
    bundle.refused();
}

fn pids_limit_is_set(runtime: &Runtime) {
    let (_bundle, dir) = made(runtime, "pids", "pids", json!({"limit": 77}));
    holds(&dir, &[("pids.max", "77")]);
}

fn pids_limit_holds(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo all");
    bundle.linux()["resources"]["pids"] = json!({"limit": 5});
    let ran = bundle.run();
    assert!(!ran.out.contains("all") && ran.err.contains("can't fork"), "{ran:?}");
}

fn unified_without_its_controller_is_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["resources"]["unified"] = json!({"weather.max": "1"});
    bundle.refused();
}
