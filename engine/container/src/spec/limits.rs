use serde::{Deserialize, Serialize};

/// The least memory that a container can be limited to, in bytes: below it, not even its start fits.
pub const MINIMUM_MEMORY: i64 = 6 << 20;

/// What a container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory.
    pub memory: MemoryLimits,
    /// Processor time.
    pub cpu: CpuLimits,
    /// Disk.
    pub block_io: BlockIoLimits,
    /// Processes and threads; absent, 0 and negative = no limit.
    pub pids: Option<i64>,
    /// setrlimit(2).
    pub ulimits: Vec<Ulimit>,
    /// `/dev/shm` in bytes; absent = 64 MiB.
    pub shm_size: Option<i64>,
    /// The parent of the container's control group; absent = `/tare`.
    pub cgroup_parent: Option<String>,
}

/// Memory in bytes; 0 = not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryLimits {
    /// Above it, the kernel kills.
    pub limit: i64,
    /// What is kept for the container when memory is short.
    pub reservation: i64,
    /// Memory and swap together; -1 = swap without limit, 0 = twice the memory limit.
    pub swap: i64,
    /// 0 to 100; absent and -1 = the host's.
    pub swappiness: Option<i64>,
    /// Processes wait for memory instead of being killed.
    pub oom_kill_disable: bool,
    /// -1000 to 1000, added to every process's badness.
    pub oom_score_adj: i32,
}

/// Processor time; 0 and empty = not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuLimits {
    /// Billionths of a processor.
    pub nano_cpus: i64,
    /// Relative weight, 2 to 262144.
    pub shares: i64,
    /// Microseconds a period.
    pub quota: i64,
    /// Microseconds.
    pub period: i64,
    /// `0-2,7`.
    pub cpuset_cpus: String,
    /// NUMA nodes, `0,1`.
    pub cpuset_mems: String,
    /// Real-time microseconds a period.
    pub realtime_runtime: i64,
    /// Microseconds.
    pub realtime_period: i64,
}

/// Disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIoLimits {
    /// Relative weight, 10 to 1000; 0 = the host's.
    pub weight: u16,
    /// By device.
    pub weight_device: Vec<DeviceWeight>,
    /// Bytes a second.
    pub read_bps: Vec<DeviceRate>,
    /// Bytes a second.
    pub write_bps: Vec<DeviceRate>,
    /// Operations a second.
    pub read_iops: Vec<DeviceRate>,
    /// Operations a second.
    pub write_iops: Vec<DeviceRate>,
}

/// A device's weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    /// The device on the host, `/dev/sda`.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// A device's rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// The device on the host, `/dev/sda`.
    pub path: String,
    /// A second.
    pub rate: u64,
}

/// One limit of setrlimit(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `core`, …
    pub name: String,
    /// -1 = no limit.
    pub soft: i64,
    /// -1 = no limit.
    pub hard: i64,
}
