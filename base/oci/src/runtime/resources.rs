//! `linux.resources`: what a cgroup limits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Device access rules, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceRule>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Processor time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Number of processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<Pids>,
    /// Disk.
    #[serde(rename = "blockIO", skip_serializing_if = "Option::is_none")]
    pub block_io: Option<BlockIo>,
    /// Huge pages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hugepage_limits: Vec<HugepageLimit>,
    /// net_cls and net_prio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkClass>,
    /// RDMA, by device.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, Rdma>,
    /// Files of cgroup v2, written as they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unified: BTreeMap<String, String>,
}

impl Resources {
    /// What holds once `changes` are made to these limits: what they do not name, or name by 0, stays. So a change of
    /// one limit can be written where the kernel wants two at once (quota and period; memory and swap).
    ///
    /// Only groups of limits that `changes` touch are in the answer, and no device rules.
    #[must_use]
    pub fn changed(&self, changes: &Self) -> Self {
        let merged = |old: &BTreeMap<String, String>| {
            old.iter().chain(&changes.unified).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        Self {
            devices: Vec::new(),
            memory: changes.memory.as_ref().map(|new| new.over(self.memory.as_ref())),
            cpu: changes.cpu.as_ref().map(|new| new.over(self.cpu.as_ref())),
            unified: if changes.unified.is_empty() { BTreeMap::new() } else { merged(&self.unified) },
            ..changes.clone()
        }
    }

    /// These limits with what [`Resources::changed`] has answered in their place.
    #[must_use]
    pub fn with(&self, changed: &Self) -> Self {
        let either = |new: &BTreeMap<String, String>, old: &BTreeMap<String, String>| {
            if new.is_empty() { old.clone() } else { new.clone() }
        };
        Self {
            devices: self.devices.clone(),
            memory: changed.memory.clone().or_else(|| self.memory.clone()),
            cpu: changed.cpu.clone().or_else(|| self.cpu.clone()),
            pids: changed.pids.clone().or_else(|| self.pids.clone()),
            block_io: changed.block_io.clone().or_else(|| self.block_io.clone()),
            hugepage_limits: if changed.hugepage_limits.is_empty() {
                self.hugepage_limits.clone()
            } else {
                changed.hugepage_limits.clone()
            },
            network: changed.network.clone().or_else(|| self.network.clone()),
            rdma: if changed.rdma.is_empty() { self.rdma.clone() } else { changed.rdma.clone() },
            unified: either(&changed.unified, &self.unified),
        }
    }
}

impl Memory {
    fn over(&self, old: Option<&Self>) -> Self {
        let Some(old) = old else { return self.clone() };
        let nonzero = |new: Option<i64>, old: Option<i64>| new.filter(|n| *n != 0).or(old);
        Self {
            limit: nonzero(self.limit, old.limit),
            reservation: nonzero(self.reservation, old.reservation),
            // Unlimited memory takes its swap along, unless that is named, too.
            swap: if self.limit.is_some_and(|limit| limit < 0) && self.swap.is_none_or(|swap| swap == 0) {
                Some(-1)
            } else {
                nonzero(self.swap, old.swap)
            },
            kernel: nonzero(self.kernel, old.kernel),
            kernel_tcp: nonzero(self.kernel_tcp, old.kernel_tcp),
            swappiness: self.swappiness.or(old.swappiness),
            disable_oom_killer: self.disable_oom_killer.or(old.disable_oom_killer),
            use_hierarchy: self.use_hierarchy.or(old.use_hierarchy),
            check_before_update: self.check_before_update,
        }
    }
}

impl Cpu {
    fn over(&self, old: Option<&Self>) -> Self {
        let Some(old) = old else { return self.clone() };
        let nonzero = |new: Option<u64>, old: Option<u64>| new.filter(|n| *n != 0).or(old);
        let signed = |new: Option<i64>, old: Option<i64>| new.filter(|n| *n != 0).or(old);
        let text = |new: &Option<String>, old: &Option<String>| {
            new.clone().filter(|text| !text.is_empty()).or_else(|| old.clone())
        };
        Self {
            // Weight and idleness exclude each other in the kernel: the later word counts.
            shares: nonzero(self.shares, old.shares.filter(|_| self.idle != Some(1))),
            quota: signed(self.quota, old.quota),
            burst: self.burst.or(old.burst),
            period: nonzero(self.period, old.period),
            realtime_runtime: signed(self.realtime_runtime, old.realtime_runtime),
            realtime_period: nonzero(self.realtime_period, old.realtime_period),
            cpus: text(&self.cpus, &old.cpus),
            mems: text(&self.mems, &old.mems),
            idle: self.idle.or(old.idle),
        }
    }
}

/// One device access rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// `a`, `b` or `c`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Absent = any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// Absent = any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// Letters of `rwm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
}

/// Memory, in bytes; -1 = no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Hard limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Soft limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<i64>,
    /// Memory and swap together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<i64>,
    /// Accepted and ignored, as runc does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<i64>,
    /// TCP buffers.
    #[serde(rename = "kernelTCP", skip_serializing_if = "Option::is_none")]
    pub kernel_tcp: Option<i64>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swappiness: Option<u64>,
    /// v1 only.
    #[serde(rename = "disableOOMKiller", skip_serializing_if = "Option::is_none")]
    pub disable_oom_killer: Option<bool>,
    /// v1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_hierarchy: Option<bool>,
    /// Refuse a limit below what is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_before_update: Option<bool>,
}

/// Processor time, microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu {
    /// Relative weight, 2 to 262144.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<u64>,
    /// Time a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<i64>,
    /// Time that may be saved up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// The period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    /// v1 real-time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_runtime: Option<i64>,
    /// v1 real-time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_period: Option<u64>,
    /// `0-2,7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    /// NUMA nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mems: Option<String>,
    /// SCHED_IDLE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<i64>,
}

/// Number of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// Below 1 = no limit.
    pub limit: i64,
}

/// Disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockIo {
    /// 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
    /// By device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<WeightDevice>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_bps_device: Vec<ThrottleDevice>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_bps_device: Vec<ThrottleDevice>,
    /// Operations a second.
    #[serde(rename = "throttleReadIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_iops_device: Vec<ThrottleDevice>,
    /// Operations a second.
    #[serde(rename = "throttleWriteIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_iops_device: Vec<ThrottleDevice>,
}

/// A device's weight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// 10 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// 10 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
}

/// A device's rate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// A second.
    pub rate: u64,
}

/// Huge pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HugepageLimit {
    /// `2MB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// net_cls and net_prio.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkClass {
    /// Class id.
    #[serde(rename = "classID", default, skip_serializing_if = "Option::is_none")]
    pub class_id: Option<u32>,
    /// By interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priorities: Vec<InterfacePriority>,
}

/// net_prio of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfacePriority {
    /// The interface.
    pub name: String,
    /// The priority.
    pub priority: u32,
}

/// RDMA limits of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rdma {
    /// Handles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_handles: Option<u32>,
    /// Objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_objects: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Resources {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let old =
            of(r#"{"devices": [{"allow": false}], "memory": {"limit": 100, "swap": 300, "swappiness": 7},
            "cpu": {"quota": 5, "period": 10, "cpus": "0"}, "pids": {"limit": 9}, "unified": {"a.b": "1"}}"#);
        let changed =
            old.changed(&of(r#"{"memory": {"limit": 200, "swap": 0}, "cpu": {"period": 20, "cpus": ""}}"#));
        assert_eq!(
            changed,
            of(
                r#"{"memory": {"limit": 200, "swap": 300, "swappiness": 7}, "cpu": {"quota": 5, "period": 20, "cpus": "0"}}"#
            )
        );
        let new = old.with(&changed);
        assert_eq!((new.devices.len(), new.pids, new.cpu), (1, old.pids.clone(), changed.cpu));
        assert_eq!(new.unified, old.unified);
        let added = old.changed(&of(r#"{"unified": {"c.d": "2"}}"#));
        assert_eq!(added, of(r#"{"unified": {"a.b": "1", "c.d": "2"}}"#));
    }

    #[test]
    fn unlimited_memory_takes_its_swap_along() {
        let old = of(r#"{"memory": {"limit": 100, "swap": 100}}"#);
        let swap = |json: &str| old.changed(&of(json)).memory.unwrap().swap;
        assert_eq!(swap(r#"{"memory": {"limit": -1}}"#), Some(-1));
        assert_eq!(swap(r#"{"memory": {"limit": -1, "swap": 500}}"#), Some(500));
        assert_eq!(swap(r#"{"memory": {"reservation": 5}}"#), Some(100));
    }
}
