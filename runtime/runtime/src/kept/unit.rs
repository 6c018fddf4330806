//! A group that systemd makes.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Signal, geteuid, set_parent_process_death_signal};
use tare_cgroup::{Cgroup, Unit};
use tare_oci::runtime::{Resources, Spec};
use tare_sys::clone::{self, Cloned};
use tare_sys::process;

use super::group::Made;
use super::hierarchies;
use crate::create as caller;
use crate::error::{Error, Result};

/// The unit that config.json names, or one named after the container.
pub(super) fn of(spec: &Spec, id: &str) -> Result<Unit> {
    let given = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref());
    Ok(Unit::parse(given, id, !is_systems_root())?)
}

/// Has systemd make the unit's group, with limits.
pub(super) fn make(spec: &Spec, unit: Unit) -> Result<Made> {
    let none = Resources::default();
    let resources = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
    let keeper = Keeper::new()?;
    let (group, path) = Cgroup::create_unit(hierarchies()?, &unit, keeper.pid, resources, &spec.annotations)?;
    Ok(Made { path, group, unit: Some(unit), keeper: Some(keeper) })
}

/// Whether the system's own systemd obeys us. Root of a user namespace is a user to it.
fn is_systems_root() -> bool {
    let everybody = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
    geteuid().is_root() && fs::read_to_string("/proc/self/uid_map").is_ok_and(everybody)
}

/// A process that does nothing: systemd makes no scope without one, and init is only born once its group is there. It
/// goes when this does, or its maker.
#[derive(Debug)]
pub(super) struct Keeper {
    pid: i32,
    pidfd: OwnedFd,
}

impl Keeper {
    fn new() -> Result<Self> {
        match clone::clone3(0, None).map_err(|e| Error::step("clone a process for systemd", e))? {
            Cloned::Parent { pid, pidfd } => Ok(Self { pid, pidfd }),
            Cloned::Child => {
                let _ = set_parent_process_death_signal(Some(Signal::KILL));
                // Its maker may have gone before that; then it has another parent, and nobody to wait for.
                while rustix::process::getppid().is_some_and(|parent| !parent.is_init()) {
                    let _ = rustix::event::poll(&mut [], None);
                }
                process::exit(0)
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        caller::end(self.pidfd.as_fd());
    }
}
