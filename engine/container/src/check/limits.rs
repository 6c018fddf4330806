use tare_model::ULIMITS;

use super::invalid;
use crate::spec::{CpuLimits, Limits, MINIMUM_MEMORY, MemoryLimits, Ulimit};
use crate::{Error, Result};

/// Checks what a container may use.
pub(super) fn check(limits: &Limits, cpus: usize, warnings: &mut Vec<String>) -> Result<()> {
    check_memory(&limits.memory, warnings)?;
    check_cpu(&limits.cpu, cpus)?;
    check_rest(limits)
}

fn check_memory(memory: &MemoryLimits, warnings: &mut Vec<String>) -> Result<()> {
    let MemoryLimits { limit, reservation, swap, .. } = *memory;
    if limit != 0 && limit < MINIMUM_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if limit > 0 && swap > 0 && swap < limit {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if limit == 0 && swap > 0 {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if swap < -1 {
        return invalid(format!("Invalid value: {swap}, -1 stands for unlimited swap"));
    }
    if memory.swappiness.is_some_and(|swappiness| !(-1..=100).contains(&swappiness)) {
        return invalid(format!(
            "Invalid value: {}, valid memory swappiness range is 0-100",
            memory.swappiness.unwrap_or(0)
        ));
    }
    if reservation != 0 && reservation < MINIMUM_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if limit > 0 && reservation > limit {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if !(-1000..=1000).contains(&memory.oom_score_adj) {
        return invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            memory.oom_score_adj
        ));
    }
    if memory.oom_kill_disable && limit == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
                .to_owned(),
        );
    }
    Ok(())
}

fn check_cpu(cpu: &CpuLimits, cpus: usize) -> Result<()> {
    if cpu.nano_cpus > 0 && cpu.period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if cpu.nano_cpus > 0 && cpu.quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if cpu.nano_cpus < 0 || cpu.nano_cpus > most || (1..10_000_000).contains(&cpu.nano_cpus) {
        return invalid(format!(
            "Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    if cpu.period != 0 && !(1000..=1_000_000).contains(&cpu.period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if cpu.quota > 0 && cpu.quota < 1000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if cpu.shares < 0 {
        return invalid(format!("invalid CPU shares ({}): value must be a positive integer", cpu.shares));
    }
    check_cpuset("cpus", &cpu.cpuset_cpus, Some(cpus))?;
    check_cpuset("mems", &cpu.cpuset_mems, None)
}

fn check_cpuset(what: &str, list: &str, available: Option<usize>) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let number = |text: &str| text.parse::<usize>().ok().filter(|n| *n < 8192);
    let highest = |part: &str| match part.split_once('-') {
        Some((first, last)) => {
            number(first).zip(number(last)).filter(|(first, last)| first <= last).map(|(_, last)| last)
        }
        None => number(part),
    };
    let highest: Option<Vec<usize>> = list.split(',').map(highest).collect();
    let Some(highest) = highest.and_then(|all| all.into_iter().max()) else {
        return invalid(format!("Invalid value {list} for cpuset {what}"));
    };
    match available {
        Some(cpus) if highest >= cpus => invalid(format!(
            "Requested CPUs are not available - requested {list}, available: 0-{}",
            cpus.saturating_sub(1)
        )),
        _ => Ok(()),
    }
}

fn check_rest(limits: &Limits) -> Result<()> {
    let weights = limits.block_io.weight_device.iter().map(|device| device.weight);
    if std::iter::once(limits.block_io.weight)
        .chain(weights)
        .any(|weight| weight != 0 && !(10..=1000).contains(&weight))
    {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    if limits.shm_size.is_some_and(|size| size < 0) {
        return invalid("SHM size can not be less than 0");
    }
    if limits.cgroup_parent.as_deref().is_some_and(|parent| !parent.starts_with('/')) {
        return Err(Error::NotSupported(
            "a relative or systemd control group parent; use an absolute path".to_owned(),
        ));
    }
    limits.ulimits.iter().try_for_each(check_ulimit)
}

fn check_ulimit(limit: &Ulimit) -> Result<()> {
    if !ULIMITS.contains(&limit.name.as_str()) {
        return invalid(format!("invalid ulimit type: {}", limit.name));
    }
    if limit.hard != -1 && (limit.soft == -1 || limit.soft > limit.hard) {
        return invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {} > {}",
            limit.soft, limit.hard
        ));
    }
    Ok(())
}
