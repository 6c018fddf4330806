//! # cgroup: a container's group in every hierarchy
//!
//! - **Owns**: the layout of v1, hybrid and v2 hosts, the translation of OCI resources into files, the v2 device filter.
//! - **In**: a path below the hierarchies' roots (`/tare/<id>`), [`tare_oci::runtime::Resources`], process ids.
//! - **Out**: limits in force, a frozen or dead group, figures.
//! - **Leans on**: sys (bpf), oci, model.
//! - **Never**: sleeps, starts a program, touches a group that it was not given.
//! - **Invariant**: a group exists in every hierarchy or in none.

mod error;
mod stats;

pub use error::{Error, Result};
pub use stats::{BlockIoStats, CpuStats, MemoryStats, PidsStats, Stats};

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use tare_oci::runtime::Resources;

/// How a host mounts its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy a controller, no v2.
    V1,
    /// v1 hierarchies and a v2 one beside them.
    Hybrid,
    /// The unified hierarchy alone.
    V2,
}

/// The mounted hierarchies.
#[derive(Debug)]
pub struct Hierarchies;

impl Hierarchies {
    /// Reads /proc/self/mountinfo.
    pub fn detect() -> Result<Self> {
        panic!("stands soon")
    }
    /// How they are mounted.
    pub fn version(&self) -> Version {
        panic!("stands soon")
    }
}

/// One container's group in every hierarchy.
#[derive(Debug)]
pub struct Cgroup;

/// A directory that a container may see at /sys/fs/cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSource {
    /// The directory's name below /sys/fs/cgroup: `memory`, `cpu,cpuacct`, `systemd`; empty for pure v2, where it is
    /// /sys/fs/cgroup itself.
    pub name: String,
    /// mount(2)'s data for a v1 hierarchy: `memory`, `cpu,cpuacct`, `none,name=systemd`; empty for v2.
    pub options: String,
    /// Whether it is cgroup2.
    pub unified: bool,
    /// The group's directory on the host, to bind where there is no cgroup namespace.
    pub path: PathBuf,
}

impl Cgroup {
    /// Makes the group everywhere.
    pub fn create(_hierarchies: &Hierarchies, _path: &Path) -> Result<Self> {
        panic!("stands soon")
    }
    /// Opens the group.
    pub fn open(_hierarchies: &Hierarchies, _path: &Path) -> Result<Self> {
        panic!("stands soon")
    }
    /// Sets limits and device rules.
    pub fn apply(&self, _resources: &Resources) -> Result<()> {
        panic!("stands soon")
    }
    /// Moves a process into the group in every hierarchy.
    pub fn add(&self, _pid: i32) -> Result<()> {
        panic!("stands soon")
    }
    /// Like [`Cgroup::add`], for a process that `CLONE_INTO_CGROUP` has put into [`Cgroup::v2_dir`] already.
    pub fn add_to_v1(&self, _pid: i32) -> Result<()> {
        panic!("stands soon")
    }
    /// The v2 directory, open, for `CLONE_INTO_CGROUP`.
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        panic!("stands soon")
    }
    /// Stops or continues all processes; returns when it is done.
    pub fn freeze(&self, _frozen: bool) -> Result<()> {
        panic!("stands soon")
    }
    /// Kills all processes; returns when they are gone.
    pub fn kill(&self) -> Result<()> {
        panic!("stands soon")
    }
    /// All processes, sub-groups included.
    pub fn processes(&self) -> Result<Vec<i32>> {
        panic!("stands soon")
    }
    /// The figures.
    pub fn stats(&self) -> Result<Stats> {
        panic!("stands soon")
    }
    /// How many processes the kernel ended for want of memory.
    pub fn oom_kills(&self) -> Result<u64> {
        panic!("stands soon")
    }
    /// Removes the empty group and its sub-groups.
    pub fn remove(&self) -> Result<()> {
        panic!("stands soon")
    }
    /// What to mount at /sys/fs/cgroup inside.
    pub fn mount_sources(&self) -> Vec<MountSource> {
        panic!("stands soon")
    }
}
