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
    /// Disk, by device.
    pub block_io: Vec<BlockIoStats>,
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
    /// How often the limit was met.
    pub failures: u64,
    /// Processes that the kernel ended for want of memory.
    pub oom_kills: u64,
    /// The kernel's `memory.stat`, as it is.
    pub details: BTreeMap<String, u64>,
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
    /// Periods in which the group ran, with a quota.
    pub periods: u64,
    /// Of these, the ones in which it met its quota.
    pub throttled_periods: u64,
    /// How long it was held back.
    pub throttled: u64,
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
