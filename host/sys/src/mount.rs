//! mount_setattr(2), which rustix does not have.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// `MOUNT_ATTR_RDONLY`.
pub const READ_ONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`.
pub const NO_SUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`.
pub const NO_DEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`.
pub const NO_EXEC: u64 = 0x8;
/// `MOUNT_ATTR__ATIME`: the bits that say how access times are kept. They must be cleared together to set one.
pub const ATIME: u64 = 0x70;
/// `MOUNT_ATTR_NOATIME`; relatime is 0.
pub const NO_ATIME: u64 = 0x10;
/// `MOUNT_ATTR_STRICTATIME`.
pub const STRICT_ATIME: u64 = 0x20;
/// `MOUNT_ATTR_NODIRATIME`.
pub const NO_DIRATIME: u64 = 0x80;
/// `MOUNT_ATTR_IDMAP`.
const ID_MAP: u64 = 0x10_0000;
/// `MOUNT_ATTR_NOSYMFOLLOW`.
pub const NO_SYMFOLLOW: u64 = 0x20_0000;

/// Every attribute but the map of ids.
pub const ALL: u64 = READ_ONLY | NO_SUID | NO_DEV | NO_EXEC | ATIME | NO_DIRATIME | NO_SYMFOLLOW;

/// How mounts below a mount spread to its copies: mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Both ways.
    Shared,
    /// From the original only.
    Slave,
    /// Not at all.
    Private,
    /// Not at all, and cannot be bound.
    Unbindable,
}

/// What [`set`] changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear first.
    pub clear: u64,
    /// Propagation to give.
    pub propagation: Option<Propagation>,
}

/// `struct mount_attr`.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Changes the mount that `fd` refers to, and with `recursive` all below it.
///
/// # Errors
/// mount_setattr(2)'s.
pub fn set(fd: BorrowedFd<'_>, recursive: bool, change: Change) -> io::Result<()> {
    set_with(fd, recursive, change, 0)
}

/// Shows the files of a detached mount with the ids that a user namespace maps them to (an id-mapped mount).
///
/// # Errors
/// `EINVAL` where the file system cannot.
pub fn map_ids(fd: BorrowedFd<'_>, recursive: bool, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    let change = Change { set: ID_MAP, ..Change::default() };
    set_with(fd, recursive, change, user_namespace.as_raw_fd() as u64)
}

fn set_with(fd: BorrowedFd<'_>, recursive: bool, change: Change, user_namespace: u64) -> io::Result<()> {
    let attributes = Attributes {
        set: change.set,
        clear: change.clear,
        propagation: change.propagation.map_or(0, propagation_flag),
        user_namespace,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, `attributes` has the layout of `struct mount_attr` and its size is given; both
    // outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    check(result).map(drop)
}

fn propagation_flag(propagation: Propagation) -> u64 {
    match propagation {
        Propagation::Shared => libc::MS_SHARED,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Unbindable => libc::MS_UNBINDABLE,
    }
}
