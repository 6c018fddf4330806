//! A procfs that nobody else sees, so that no mount can stand in for what is written to (CVE-2019-16884, CVE-2025-52881).

use std::io;
use std::os::fd::OwnedFd;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use tare_sys::mount::Propagation;

use crate::plan::{Mount, MountKind};

const SOURCE: &str = "proc";
const ATTRIBUTES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Of the caller's process id namespace, mounted nowhere.
pub(crate) fn private() -> io::Result<OwnedFd> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", SOURCE)?;
    fsconfig_create(&fs)?;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, ATTRIBUTES)?)
}

/// Whether a private one is just what a mount asks for, as the usual one does.
pub(crate) fn serves(wanted: &Mount) -> bool {
    let attributes = wanted.attributes.set | wanted.recursive.set;
    matches!(&wanted.kind, MountKind::New { fs, source, parameters, .. }
        if fs == "proc" && source == SOURCE && parameters.is_empty())
        && attributes == u64::from(ATTRIBUTES.bits())
        && wanted.propagation == Propagation::Private
}
