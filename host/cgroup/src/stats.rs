//! What a group has used.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A group's figures; zero where the host has no controller that counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Memory.
    pub memory: MemoryStats,
    /// Processor time.
    pub cpu: CpuStats,
    /// Processes.
    pub pids: PidsStats,
    /// Which processors and memory nodes; in full figures only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<CpusetStats>,
    /// Disk, by device.
    pub block_io: Vec<BlockIoStats>,
    /// Waiting for disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_pressure: Option<Pressure>,
    /// Huge pages, by size: `2MB`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub huge_pages: BTreeMap<String, HugePageStats>,
    /// RDMA, by device.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, RdmaStats>,
}

/// Waiting for something that is short; v2 only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// Some processes waited.
    pub some: Stall,
    /// All processes that could have run waited.
    pub full: Stall,
}

/// How long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// Share of the last 10 s, in hundredths of a percent.
    pub percent_10: u32,
    /// Of the last 60 s.
    pub percent_60: u32,
    /// Of the last 300 s.
    pub percent_300: u32,
    /// Since the group was made, in microseconds.
    pub total: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugePageStats {
    /// In use.
    pub usage: u64,
    /// The most that was in use at once; v1 only.
    pub max_usage: u64,
    /// How often the limit was met.
    pub failures: u64,
}

/// One RDMA device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdmaStats {
    /// Handles in use.
    pub handles: u32,
    /// Objects in use.
    pub objects: u32,
    /// Absent = no limit.
    pub handle_limit: Option<u32>,
    /// Absent = no limit.
    pub object_limit: Option<u32>,
}

/// Bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    /// In use, page cache included.
    pub usage: u64,
    /// The most that was in use at once; v2 kernels before 5.19 do not tell.
    pub max_usage: u64,
    /// The hard limit; absent = none.
    pub limit: Option<u64>,
    /// Swapped out.
    pub swap: u64,
    /// Of memory and swap together; absent = none, or the kernel does not count swap.
    pub swap_limit: Option<u64>,
    /// The most of both that was in use at once, at least; in full figures only.
    pub swap_max_usage: u64,
    /// How often the limit of both was met; v1 only, in full figures.
    pub swap_failures: u64,
    /// How often the limit was met.
    pub failures: u64,
    /// Processes that the kernel ended for want of memory.
    pub oom_kills: u64,
    /// Of the kernel, for the group; v1 only, in full figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<MemoryCounter>,
    /// Of the kernel's TCP buffers; v1 only, in full figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_tcp: Option<MemoryCounter>,
    /// The kernel's `memory.stat`, as it is.
    pub details: BTreeMap<String, u64>,
    /// Waiting for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
}

/// A part of the memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryCounter {
    /// In use.
    pub usage: u64,
    /// The most that was in use at once.
    pub max_usage: u64,
    /// Absent = none.
    pub limit: Option<u64>,
    /// How often the limit was met.
    pub failures: u64,
}

/// Processors and memory nodes, and v1's switches for them (cpuset(7)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpusetStats {
    /// The processors that it may use.
    pub cpus: Vec<u16>,
    /// The memory nodes.
    pub mems: Vec<u16>,
    /// v1's files without `cpuset.`: `cpu_exclusive`, …
    pub switches: BTreeMap<String, i64>,
}

/// Nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// All of it.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In kernel mode.
    pub system: u64,
    /// By processor; v1 only.
    pub per_cpu: Vec<u64>,
    /// By processor, in user and in kernel mode; v1 only, in full figures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub per_cpu_modes: Vec<(u64, u64)>,
    /// Periods in which the group ran, with a quota.
    pub periods: u64,
    /// Of these, the ones in which it met its quota.
    pub throttled_periods: u64,
    /// How long it was held back.
    pub throttled: u64,
    /// Waiting for a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// At most; absent = no limit.
    pub limit: Option<u64>,
}

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIoStats {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Bytes.
    pub read_bytes: u64,
    /// Bytes.
    pub write_bytes: u64,
    /// Operations.
    pub reads: u64,
    /// Operations.
    pub writes: u64,
}
