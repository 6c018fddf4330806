//! When and where the program's turn is.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tare_sys::process;

use crate::error::{Error, Result};
use crate::failure::{Failure, Step};
use crate::plan::{MemoryPlan, Schedule};

/// For this process and what becomes of it.
pub(crate) fn apply(schedule: &Schedule) -> Result<(), Failure> {
    if let Some(scheduling) = &schedule.scheduling {
        process::set_scheduling(scheduling).at("set the scheduler")?;
    }
    if let Some((class, level)) = schedule.io_priority {
        process::set_io_priority(class, level).at("set the I/O priority")?;
    }
    Ok(())
}

/// Where this process's memory is to be taken from.
pub(crate) fn place_memory(plan: Option<&MemoryPlan>) -> Result<(), Failure> {
    plan.map_or(Ok(()), |plan| process::set_memory_policy(plan.mode, &plan.nodes)).at("set the memory policy")
}

/// On these processors from here on.
pub(crate) fn pin(processors: Option<&CpuSet>) -> Result<(), Failure> {
    processors.map_or(Ok(()), |set| sched_setaffinity(None, set)).at("set the CPU affinity")
}

/// The caller itself is on other processors just for the time of the clone, so that the child begins there.
pub(crate) struct Pinned(Option<CpuSet>);

impl Pinned {
    pub(crate) fn to(processors: Option<&CpuSet>) -> Result<Self> {
        let Some(_) = processors else { return Ok(Self(None)) };
        let own = sched_getaffinity(None).map_err(|e| Error::step("read the CPU affinity", e))?;
        pin(processors)?;
        Ok(Self(Some(own)))
    }

    /// Back to the own ones.
    pub(crate) fn leave(self) -> Result<()> {
        Ok(pin(self.0.as_ref())?)
    }
}
