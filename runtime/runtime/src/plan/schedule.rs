//! Whose turn it is: processors, priorities, time.

use rustix::thread::CpuSet;
use tare_oci::runtime::{CpuAffinity, IoPriority, Process, Scheduler};
use tare_sys::process::Scheduling;

use super::list;
use crate::error::{Error, Result};

/// How a program is scheduled.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Class and level.
    pub(crate) io_priority: Option<(u16, u16)>,
    pub(crate) scheduling: Option<Scheduling>,
    /// Of a program that joins a container, until it is in its cgroup.
    pub(crate) first: Option<CpuSet>,
    /// From then on.
    pub(crate) then: Option<CpuSet>,
}

pub(super) fn plan(process: &Process) -> Result<Schedule> {
    let nothing = CpuAffinity::default();
    let affinity = process.exec_cpu_affinity.as_ref().unwrap_or(&nothing);
    Ok(Schedule {
        io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
        scheduling: process.scheduler.as_ref().map(scheduling).transpose()?,
        first: processors("process.execCPUAffinity.initial", affinity.initial.as_deref())?,
        then: processors("process.execCPUAffinity.final", affinity.after.as_deref())?,
    })
}

fn processors(field: &str, text: Option<&str>) -> Result<Option<CpuSet>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let mut set = CpuSet::new();
    list::numbers(field, text)?.into_iter().for_each(|number| set.set(number));
    Ok(Some(set))
}

fn io_priority(priority: &IoPriority) -> Result<(u16, u16)> {
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => {
            let rule = format!("must be IOPRIO_CLASS_RT, _BE or _IDLE, not \"{other}\"");
            return Err(Error::spec("process.ioPriority.class", rule));
        }
    };
    let level = u16::try_from(priority.priority).ok().filter(|level| *level <= 7);
    level
        .map(|level| (class, level))
        .ok_or_else(|| Error::spec("process.ioPriority.priority", "must be between 0 and 7"))
}

const FIFO: u32 = 1;
const RR: u32 = 2;
const DEADLINE: u32 = 6;
const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", FIFO),
    ("SCHED_RR", RR),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", DEADLINE),
];
const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// The rules that sched(7) has for each policy.
fn scheduling(wanted: &Scheduler) -> Result<Scheduling> {
    let broken = |name: &str, rule: &str| Err(Error::spec(format!("process.scheduler.{name}"), rule));
    let Some((_, policy)) = POLICIES.into_iter().find(|(name, _)| *name == wanted.policy) else {
        let rule = format!(
            "must be one of SCHED_OTHER, _FIFO, _RR, _BATCH, _ISO, _IDLE and _DEADLINE, not \"{}\"",
            wanted.policy
        );
        return broken("policy", &rule);
    };
    let real_time = matches!(policy, FIFO | RR);
    let deadline = policy == DEADLINE;
    if !(-20..=19).contains(&wanted.nice) {
        return broken("nice", "must be between -20 and 19");
    }
    if wanted.nice != 0 && (real_time || deadline) {
        return broken("nice", "means nothing for SCHED_FIFO, SCHED_RR and SCHED_DEADLINE");
    }
    if real_time && !(1..=99).contains(&wanted.priority) {
        return broken("priority", "must be between 1 and 99 for SCHED_FIFO and SCHED_RR");
    }
    if !real_time && wanted.priority != 0 {
        return broken("priority", "is for SCHED_FIFO and SCHED_RR only");
    }
    for (name, time) in
        [("runtime", wanted.runtime), ("deadline", wanted.deadline), ("period", wanted.period)]
    {
        if time != 0 && !deadline {
            return broken(name, "is for SCHED_DEADLINE only");
        }
    }
    if deadline && (wanted.runtime == 0 || wanted.runtime > wanted.deadline) {
        return broken("runtime", "must be positive and not above deadline for SCHED_DEADLINE");
    }
    Ok(Scheduling {
        policy,
        flags: flags(&wanted.flags)?,
        nice: wanted.nice,
        priority: wanted.priority.unsigned_abs(),
        runtime: wanted.runtime,
        deadline: wanted.deadline,
        period: wanted.period,
    })
}

fn flags(names: &[String]) -> Result<u64> {
    names.iter().enumerate().try_fold(0, |all, (i, name)| {
        let known = FLAGS.into_iter().find(|(known, _)| known == name);
        let unknown =
            || Error::spec(format!("process.scheduler.flags[{i}]"), format!("unknown flag \"{name}\""));
        known.map(|(_, bit)| all | bit).ok_or_else(unknown)
    })
}
