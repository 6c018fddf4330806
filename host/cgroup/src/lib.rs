//! # cgroup: a container's group in every hierarchy
//!
//! - **Owns**: the layout of v1, hybrid and v2 hosts, the translation of OCI resources into files and into properties of
//!   systemd's units, the v2 device filter.
//! - **In**: a path below the hierarchies' roots (`/tare/<id>`), [`tare_oci::runtime::Resources`], process ids.
//! - **Out**: limits in force, a frozen or dead group, figures.
//! - **Leans on**: sys (bpf), oci, model.
//! - **Never**: sleeps, starts a program, touches a group that it was not given.
//! - **Invariant**: a group exists in every hierarchy or in none.
//!
//! [`Hierarchies::detect`] finds what the host has; [`Cgroup`] is one group: [`Cgroup::create`], [`Cgroup::apply`],
//! [`Cgroup::add`], [`Cgroup::freeze`], [`Cgroup::stats`], [`Cgroup::kill`], [`Cgroup::remove`]. [`plan`] decides what is
//! written where. [`Unit`] is the other way to a group: systemd makes it, [`Cgroup::create_unit`].

mod allowed;
mod apply;
mod below;
mod detect;
mod device;
mod entrance;
mod error;
mod file;
mod freeze;
mod group;
mod inside;
mod oom;
mod owner;
pub mod plan;
mod read_stats;
mod stats;
mod systemd;

pub use detect::{Hierarchies, Version};
pub use entrance::Entrance;
pub use error::{Error, Result};
pub use group::{Cgroup, MountSource};
pub use oom::OomWatch;
pub use stats::{
    BlockIoStats, CpuStats, CpusetStats, HugePageStats, MemoryCounter, MemoryStats, PidsStats, Pressure,
    RdmaStats, Stall, Stats,
};
pub use systemd::Unit;
