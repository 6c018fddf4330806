use tare_container::{BlockIoLimits, CpuLimits, DeviceRate, DeviceWeight, Limits, MemoryLimits, Ulimit};
use tare_docker_api::{HostConfig, ThrottleDevice};

use super::given;
use crate::{Error, Result};

pub(super) fn check(host: &HostConfig) -> Result<Limits> {
    Ok(Limits {
        memory: memory(host)?,
        cpu: cpu(host),
        block_io: block_io(host),
        pids: host.pids_limit,
        ulimits: host.ulimits.iter().flatten().map(ulimit).collect::<Result<_>>()?,
        shm_size: (host.shm_size != 0).then_some(host.shm_size),
        cgroup_parent: given(&host.cgroup_parent),
    })
}

fn memory(host: &HostConfig) -> Result<MemoryLimits> {
    let oom_score_adj = i32::try_from(host.oom_score_adj).map_err(|_| {
        Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        ))
    })?;
    Ok(MemoryLimits {
        limit: host.memory,
        reservation: host.memory_reservation,
        swap: host.memory_swap,
        swappiness: host.memory_swappiness,
        oom_kill_disable: host.oom_kill_disable.unwrap_or(false),
        oom_score_adj,
    })
}

fn cpu(host: &HostConfig) -> CpuLimits {
    CpuLimits {
        nano_cpus: host.nano_cpus,
        shares: host.cpu_shares,
        quota: host.cpu_quota,
        period: host.cpu_period,
        cpuset_cpus: host.cpuset_cpus.clone(),
        cpuset_mems: host.cpuset_mems.clone(),
        realtime_runtime: 0,
        realtime_period: 0,
    }
}

fn block_io(host: &HostConfig) -> BlockIoLimits {
    let weights = host.blkio_weight_device.iter().flatten();
    BlockIoLimits {
        weight: host.blkio_weight,
        weight_device: weights.map(|d| DeviceWeight { path: d.path.clone(), weight: d.weight }).collect(),
        read_bps: rates(host.blkio_device_read_bps.as_ref()),
        write_bps: rates(host.blkio_device_write_bps.as_ref()),
        read_iops: rates(host.blkio_device_read_iops.as_ref()),
        write_iops: rates(host.blkio_device_write_iops.as_ref()),
    }
}

fn rates(devices: Option<&Vec<ThrottleDevice>>) -> Vec<DeviceRate> {
    devices.into_iter().flatten().map(|d| DeviceRate { path: d.path.clone(), rate: d.rate }).collect()
}

fn ulimit(limit: &tare_docker_api::Ulimit) -> Result<Ulimit> {
    if limit.soft < -1 || limit.hard < -1 {
        return Err(Error::invalid(format!("invalid ulimit {}: -1 is the least, for no limit", limit.name)));
    }
    Ok(Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
}
