use std::collections::BTreeMap;

use tare_oci::runtime::{
    BlockIo, Cpu, Device, DeviceRule, Memory, Pids, Resources, ThrottleDevice, WeightDevice,
};

use super::{HostDevice, Input};
use crate::spec::{BlockIoLimits, CpuLimits, DeviceRate, MemoryLimits, NetworkMode};

/// Microseconds of the scheduler's period when only `--cpus` is given.
const PERIOD: u64 = 100_000;

/// Limits and device access.
pub(super) fn resources(input: &Input) -> Resources {
    let limits = &input.spec.limits;
    Resources {
        devices: device_rules(input),
        memory: memory(&limits.memory),
        cpu: cpu(&limits.cpu),
        pids: limits.pids.filter(|limit| *limit > 0).map(|limit| Pids { limit }),
        block_io: block_io(&limits.block_io, &input.host.block_devices),
        ..Resources::default()
    }
}

/// Device nodes beside the default ones.
pub(super) fn devices(input: &Input) -> Vec<Device> {
    let node = |device: &HostDevice| Device {
        path: device.path.clone(),
        kind: device.kind.to_string(),
        major: device.major,
        minor: device.minor,
        file_mode: Some(device.mode),
        uid: Some(device.uid),
        gid: Some(device.gid),
    };
    input.host.devices.iter().map(node).collect()
}

/// A container may listen on low ports and send pings without privileges, as both concern its own network alone.
pub(super) fn sysctls(input: &Input) -> BTreeMap<String, String> {
    let mut sysctls = BTreeMap::new();
    if !matches!(input.spec.network.mode, NetworkMode::Host | NetworkMode::Container(_)) {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    sysctls.extend(input.spec.security.sysctls.clone());
    sysctls
}

fn memory(limits: &MemoryLimits) -> Option<Memory> {
    let set = |value: i64| (value != 0).then_some(value);
    // Without a word about swap, a container may swap as much as it has memory, as in Docker.
    let swap =
        if limits.swap == 0 && limits.limit > 0 { limits.limit.saturating_mul(2) } else { limits.swap };
    let memory = Memory {
        limit: set(limits.limit),
        reservation: set(limits.reservation),
        swap: set(swap),
        swappiness: limits.swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: limits.oom_kill_disable.then_some(true),
        ..Memory::default()
    };
    (memory != Memory::default()).then_some(memory)
}

fn cpu(limits: &CpuLimits) -> Option<Cpu> {
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let (quota, period) = match positive(limits.nano_cpus) {
        Some(nano) => (Some((nano * PERIOD / 1_000_000_000) as i64), Some(PERIOD)),
        None => (Some(limits.quota).filter(|quota| *quota != 0), positive(limits.period)),
    };
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let cpu = Cpu {
        shares: positive(limits.shares),
        quota,
        period,
        cpus: text(&limits.cpuset_cpus),
        mems: text(&limits.cpuset_mems),
        realtime_runtime: Some(limits.realtime_runtime).filter(|runtime| *runtime != 0),
        realtime_period: positive(limits.realtime_period),
        ..Cpu::default()
    };
    (cpu != Cpu::default()).then_some(cpu)
}

fn block_io(limits: &BlockIoLimits, numbers: &[(String, i64, i64)]) -> Option<BlockIo> {
    let find = |path: &str| {
        numbers.iter().find(|(known, ..)| known == path).map(|(_, major, minor)| (*major, *minor))
    };
    let rates = |rates: &[DeviceRate]| -> Vec<ThrottleDevice> {
        let device = |rate: &DeviceRate| {
            find(&rate.path).map(|(major, minor)| ThrottleDevice { major, minor, rate: rate.rate })
        };
        rates.iter().filter_map(device).collect()
    };
    let weighted = limits.weight_device.iter().filter_map(|device| {
        let (major, minor) = find(&device.path)?;
        Some(WeightDevice { major, minor, weight: Some(device.weight), leaf_weight: None })
    });
    let block_io = BlockIo {
        weight: Some(limits.weight).filter(|weight| *weight > 0),
        weight_device: weighted.collect(),
        throttle_read_bps_device: rates(&limits.read_bps),
        throttle_write_bps_device: rates(&limits.write_bps),
        throttle_read_iops_device: rates(&limits.read_iops),
        throttle_write_iops_device: rates(&limits.write_iops),
        ..BlockIo::default()
    };
    (block_io != BlockIo::default()).then_some(block_io)
}

/// Nothing, then: making any node, and using those that every program needs.
fn device_rules(input: &Input) -> Vec<DeviceRule> {
    if input.spec.security.privileged {
        return vec![rule(true, Some("a"), None, None, "rwm")];
    }
    let mut rules = vec![rule(false, None, None, None, "rwm")];
    rules.extend(["c", "b"].map(|kind| rule(true, Some(kind), None, None, "m")));
    // null, zero, full, random, urandom, tty, console, ptmx.
    let usual = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];
    rules.extend(usual.map(|(major, minor)| rule(true, Some("c"), Some(major), Some(minor), "rwm")));
    // Pseudo-terminals.
    rules.push(rule(true, Some("c"), Some(136), None, "rwm"));
    // FUSE: named explicitly, so that a wider rule of somebody else does not let it in.
    rules.push(rule(false, Some("c"), Some(10), Some(229), "rwm"));
    let own = |device: &HostDevice| {
        let kind = if device.kind == 'b' { "b" } else { "c" };
        rule(true, Some(kind), Some(device.major.into()), Some(device.minor.into()), &device.access)
    };
    rules.extend(input.host.devices.iter().map(own));
    rules.extend(
        input
            .spec
            .security
            .device_rules
            .iter()
            .map(|r| rule(true, Some(&r.kind), r.major, r.minor, &r.access)),
    );
    rules
}

fn rule(allow: bool, kind: Option<&str>, major: Option<i64>, minor: Option<i64>, access: &str) -> DeviceRule {
    DeviceRule { allow, kind: kind.map(str::to_owned), major, minor, access: Some(access.to_owned()) }
}
