//! Which values go into which files: pure, for v1 and for v2. Who applies the plan takes each controller's writes from
//! the plan of the hierarchy that carries it.

mod disk;

use std::borrow::Cow;
use std::fmt::Display;

use tare_oci::runtime::{Cpu, HugepageLimit, Memory, Rdma, Resources};

pub(crate) use self::disk::io_weight;
use self::disk::{v1_block_io, v2_block_io};
use crate::device;
use crate::error::{Error, Result};

/// One value for one control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// `memory`, `cpu`, …
    pub controller: &'static str,
    /// `memory.max`, …
    pub file: Cow<'static, str>,
    /// What is written, in one write(2).
    pub value: String,
    /// Its name in `config.json`, for errors.
    pub field: &'static str,
    /// What to do where the kernel has no such file.
    pub missing: Missing,
}

/// What to do where the kernel has no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Fail: the limit would not hold.
    Fail,
    /// Pass over it: a part of a limit whose main part stands, or a switch that only some kernels have.
    Skip,
    /// Write this value to this file instead.
    Instead(&'static str, String),
}

struct Plan<'a> {
    writes: Vec<Write>,
    has: &'a dyn Fn(&str) -> bool,
}

impl Plan<'_> {
    fn set(
        &mut self,
        controller: &'static str,
        file: &'static str,
        field: &'static str,
        value: &dyn Display,
    ) {
        self.add(controller, file.into(), field, value.to_string(), Missing::Fail);
    }

    fn try_set(
        &mut self,
        controller: &'static str,
        file: &'static str,
        field: &'static str,
        value: &dyn Display,
    ) {
        self.add(controller, file.into(), field, value.to_string(), Missing::Skip);
    }

    fn add(
        &mut self,
        controller: &'static str,
        file: Cow<'static, str>,
        field: &'static str,
        value: String,
        missing: Missing,
    ) {
        if (self.has)(controller) {
            self.writes.push(Write { controller, file, value, field, missing });
        }
    }
}

/// The writes for v1 hierarchies, in order, for the controllers that `has` names. A write that the
/// kernel refuses with EINVAL or EBUSY may depend on a later one (`memsw` before `memory` when raising, quota before
/// period) and is to be tried again at the end.
pub fn v1(resources: &Resources, has: &dyn Fn(&str) -> bool) -> Result<Vec<Write>> {
    let mut plan = Plan { writes: Vec::new(), has };
    if let Some(cpu) = &resources.cpu {
        v1_cpu(&mut plan, cpu);
    }
    if let Some(memory) = resources.memory.as_ref().filter(|_| has("memory")) {
        v1_memory(&mut plan, memory)?;
    }
    if let Some(block_io) = resources.block_io.as_ref().filter(|_| has("blkio")) {
        v1_block_io(&mut plan, block_io)?;
    }
    common(&mut plan, resources, "limit_in_bytes")?;
    v1_network(&mut plan, resources)?;
    for rule in device::rules(resources)? {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        rule.v1_lines().into_iter().for_each(|line| plan.set("devices", file, "devices", &line));
    }
    Ok(plan.writes)
}

/// The writes for the unified hierarchy, in order, for the controllers that `has` names; device rules are a program there, not a file.
pub fn v2(resources: &Resources, has: &dyn Fn(&str) -> bool) -> Result<Vec<Write>> {
    let mut plan = Plan { writes: Vec::new(), has };
    if let Some(cpu) = resources.cpu.as_ref().filter(|_| has("cpu")) {
        v2_cpu(&mut plan, cpu)?;
    }
    if let Some(memory) = resources.memory.as_ref().filter(|_| has("memory")) {
        v2_memory(&mut plan, memory)?;
    }
    if let Some(block_io) = resources.block_io.as_ref().filter(|_| has("io")) {
        v2_block_io(&mut plan, block_io)?;
    }
    common(&mut plan, resources, "max")?;
    for (name, value) in &resources.unified {
        unified(&mut plan, name, value)?;
    }
    Ok(plan.writes)
}

/// What both versions name alike, but for the suffix of huge pages.
fn common(plan: &mut Plan, resources: &Resources, suffix: &str) -> Result<()> {
    if let Some(cpu) = &resources.cpu {
        cpuset(plan, cpu)?;
    }
    pids(plan, resources);
    for limit in &resources.hugepage_limits {
        huge_pages(plan, limit, suffix)?;
    }
    rdma(plan, resources)
}

fn v1_cpu(plan: &mut Plan, cpu: &Cpu) {
    let nonzero = |v: &u64| *v != 0;
    if let Some(shares) = cpu.shares.filter(nonzero) {
        plan.set("cpu", "cpu.shares", "cpu.shares", &shares);
    }
    if let Some(period) = cpu.period.filter(nonzero) {
        plan.set("cpu", "cpu.cfs_period_us", "cpu.period", &period);
    }
    if let Some(quota) = cpu.quota.filter(|q| *q != 0) {
        plan.set("cpu", "cpu.cfs_quota_us", "cpu.quota", &quota.max(-1));
    }
    if let Some(burst) = cpu.burst {
        plan.set("cpu", "cpu.cfs_burst_us", "cpu.burst", &burst);
    }
    if let Some(period) = cpu.realtime_period.filter(nonzero) {
        plan.set("cpu", "cpu.rt_period_us", "cpu.realtimePeriod", &period);
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|r| *r != 0) {
        plan.set("cpu", "cpu.rt_runtime_us", "cpu.realtimeRuntime", &runtime);
    }
    if let Some(idle) = cpu.idle {
        plan.set("cpu", "cpu.idle", "cpu.idle", &idle);
    }
}

fn v2_cpu(plan: &mut Plan, cpu: &Cpu) -> Result<()> {
    if cpu.realtime_runtime.is_some_and(|r| r != 0) || cpu.realtime_period.is_some_and(|p| p != 0) {
        return Err(Error::NoFile {
            field: "cpu.realtimeRuntime",
            file: "real-time limits in cgroup v2".to_owned(),
        });
    }
    if let Some(shares) = cpu.shares.filter(|s| *s != 0) {
        plan.set("cpu", "cpu.weight", "cpu.shares", &weight_of_shares(shares));
    }
    let (quota, period) = (cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0));
    if quota != 0 || period != 0 {
        let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        let period = if period == 0 { 100_000 } else { period };
        plan.set("cpu", "cpu.max", "cpu.quota", &format!("{quota} {period}"));
    }
    if let Some(burst) = cpu.burst {
        plan.set("cpu", "cpu.max.burst", "cpu.burst", &burst);
    }
    if let Some(idle) = cpu.idle {
        plan.set("cpu", "cpu.idle", "cpu.idle", &idle);
    }
    Ok(())
}

/// v1's shares (2 to 262144, default 1024) as v2's weight (1 to 10000, default 100): the curve through the two ends and
/// the two defaults, log10(weight) = (log2(shares)² + 125·log2(shares)) / 612 − 7/34, that current runtimes agree on.
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // Rounding errors must not lift a whole number to the next one.
    (10_f64.powf(exponent) - 1e-9).ceil() as u64
}

fn cpuset(plan: &mut Plan, cpu: &Cpu) -> Result<()> {
    let sets = [(&cpu.cpus, "cpuset.cpus", "cpu.cpus"), (&cpu.mems, "cpuset.mems", "cpu.mems")];
    for (list, file, field) in sets {
        let Some(list) = list.as_deref().filter(|l| !l.is_empty()) else { continue };
        if !list.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'-') {
            return Err(Error::InvalidLimit {
                field,
                reason: format!("{list:?} is no list such as \"0-2,7\""),
            });
        }
        plan.set("cpuset", file, field, &list);
    }
    Ok(())
}

fn v1_memory(plan: &mut Plan, memory: &Memory) -> Result<()> {
    let limit = memory.limit.filter(|l| *l != 0);
    // Memory and swap together may not be less than memory alone: unlimited memory makes the sum unlimited.
    let swap = memory.swap.filter(|s| *s != 0).or(limit.filter(|l| *l < 0));
    swap_fits(limit, swap)?;
    if let Some(limit) = limit {
        plan.set("memory", "memory.limit_in_bytes", "memory.limit", &limit.max(-1));
    }
    if let Some(swap) = swap {
        // Without swap accounting the memory limit holds all the same.
        plan.try_set("memory", "memory.memsw.limit_in_bytes", "memory.swap", &swap.max(-1));
    }
    if let Some(reservation) = memory.reservation.filter(|r| *r != 0) {
        plan.set("memory", "memory.soft_limit_in_bytes", "memory.reservation", &reservation.max(-1));
    }
    if let Some(tcp) = memory.kernel_tcp.filter(|t| *t != 0) {
        plan.try_set("memory", "memory.kmem.tcp.limit_in_bytes", "memory.kernelTCP", &tcp.max(-1));
    }
    if let Some(swappiness) = memory.swappiness {
        swappiness_fits(swappiness)?;
        plan.try_set("memory", "memory.swappiness", "memory.swappiness", &swappiness);
    }
    if memory.disable_oom_killer == Some(true) {
        plan.set("memory", "memory.oom_control", "memory.disableOOMKiller", &1);
    }
    Ok(())
}

fn v2_memory(plan: &mut Plan, memory: &Memory) -> Result<()> {
    let limit = memory.limit.filter(|l| *l != 0);
    // Swap goes first: memory that is lowered pushes pages out at once, into what they may then use.
    if let Some(swap) = swap_alone(limit, memory.swap)? {
        plan.try_set("memory", "memory.swap.max", "memory.swap", &bytes_or_max(swap));
    }
    if let Some(limit) = limit {
        plan.set("memory", "memory.max", "memory.limit", &bytes_or_max(limit));
    }
    if let Some(reservation) = memory.reservation.filter(|r| *r != 0) {
        plan.set("memory", "memory.low", "memory.reservation", &bytes_or_max(reservation));
    }
    if let Some(swappiness) = memory.swappiness {
        // v2 has no swappiness of a group's own.
        swappiness_fits(swappiness)?;
    }
    Ok(())
}

/// v2 counts swap alone where OCI gives memory and swap together; -1 = no limit. None where nothing is to be set:
/// unlimited memory makes swap unlimited too.
pub(crate) fn swap_alone(limit: Option<i64>, swap: Option<i64>) -> Result<Option<i64>> {
    let Some(swap) = swap.filter(|s| *s != 0).or(limit.filter(|l| *l < 0)) else { return Ok(None) };
    swap_fits(limit, Some(swap))?;
    match limit {
        _ if swap < 0 => Ok(Some(-1)),
        Some(limit) if limit > 0 => Ok(Some(swap - limit)),
        _ => Err(Error::InvalidLimit {
            field: "memory.swap",
            reason: "it needs a memory limit beside it".to_owned(),
        }),
    }
}

fn swap_fits(limit: Option<i64>, swap: Option<i64>) -> Result<()> {
    match (limit, swap) {
        (Some(limit), Some(swap)) if limit > 0 && swap > 0 && swap < limit => Err(Error::InvalidLimit {
            field: "memory.swap",
            reason: format!("{swap} is memory and swap together, and less than the memory limit {limit}"),
        }),
        _ => Ok(()),
    }
}

fn swappiness_fits(swappiness: u64) -> Result<()> {
    if swappiness <= 100 {
        return Ok(());
    }
    Err(Error::InvalidLimit {
        field: "memory.swappiness",
        reason: format!("{swappiness} is not within 0 and 100"),
    })
}

fn bytes_or_max(bytes: i64) -> String {
    if bytes < 0 { "max".to_owned() } else { bytes.to_string() }
}

fn pids(plan: &mut Plan, resources: &Resources) {
    // 0 is what engines send when nothing is to be said.
    if let Some(pids) = resources.pids.as_ref().filter(|pids| pids.limit != 0) {
        let value = if pids.limit > 0 { pids.limit.to_string() } else { "max".to_owned() };
        plan.set("pids", "pids.max", "pids.limit", &value);
    }
}

fn huge_pages(plan: &mut Plan, limit: &HugepageLimit, suffix: &str) -> Result<()> {
    let size = &limit.page_size;
    // It becomes part of a file's name.
    if size.is_empty() || !size.bytes().all(|b| b.is_ascii_alphanumeric()) {
        let reason = format!("page size {size:?} is not of the form \"2MB\"");
        return Err(Error::InvalidLimit { field: "hugepageLimits", reason });
    }
    let file = format!("hugetlb.{size}.{suffix}");
    let reserved = format!("hugetlb.{size}.rsvd.{suffix}");
    plan.add("hugetlb", file.into(), "hugepageLimits", limit.limit.to_string(), Missing::Fail);
    plan.add("hugetlb", reserved.into(), "hugepageLimits", limit.limit.to_string(), Missing::Skip);
    Ok(())
}

fn one_word(word: &str, field: &'static str) -> Result<()> {
    if !word.is_empty() && !word.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(Error::InvalidLimit { field, reason: format!("{word:?} is no name") })
}

fn rdma(plan: &mut Plan, resources: &Resources) -> Result<()> {
    for (device, Rdma { hca_handles, hca_objects }) in &resources.rdma {
        one_word(device, "rdma")?;
        let mut value = device.clone();
        for (key, limit) in [("hca_handle", hca_handles), ("hca_object", hca_objects)] {
            if let Some(limit) = limit {
                value.push_str(&format!(" {key}={limit}"));
            }
        }
        plan.set("rdma", "rdma.max", "rdma", &value);
    }
    Ok(())
}

fn v1_network(plan: &mut Plan, resources: &Resources) -> Result<()> {
    let Some(network) = &resources.network else { return Ok(()) };
    if let Some(class) = network.class_id.filter(|c| *c != 0) {
        plan.set("net_cls", "net_cls.classid", "network.classID", &class);
    }
    for priority in &network.priorities {
        one_word(&priority.name, "network.priorities")?;
        plan.set(
            "net_prio",
            "net_prio.ifpriomap",
            "network.priorities",
            &format!("{} {}", priority.name, priority.priority),
        );
    }
    Ok(())
}

/// A file of v2 by its own name: it must name a controller's file and nothing elsewhere.
fn unified(plan: &mut Plan, name: &str, value: &str) -> Result<()> {
    let controller =
        DELEGABLE.into_iter().find(|c| name.strip_prefix(c).is_some_and(|rest| rest.starts_with('.')));
    match controller {
        Some(controller) if !name.contains('/') => {
            // Files that are keyed take a line a write.
            for line in value.trim_end_matches('\n').split('\n') {
                plan.add(controller, name.to_owned().into(), "unified", line.to_owned(), Missing::Fail);
            }
            Ok(())
        }
        _ => {
            let reason = format!("{name:?} is no file of a v2 controller");
            Err(Error::InvalidLimit { field: "unified", reason })
        }
    }
}

const DELEGABLE: [&str; 9] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc", "dmem"];

#[cfg(test)]
mod tests;
