//! What fuzz targets need that write files.

use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

/// A file system in memory that no other process sees, and that is gone with this one. Needs root.
pub fn place() -> &'static Path {
    tare_sys::namespace::unshare(tare_sys::clone::NEW_MOUNT).unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    mount("none", "/mnt", "tmpfs", MountFlags::empty(), None).unwrap();
    Path::new("/mnt")
}
