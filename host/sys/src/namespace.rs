//! Entering and leaving namespaces of the calling thread.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// Enters the one namespace that `fd` (a file of /proc/PID/ns) refers to, or those of the `kinds` (`NEW_…` flags of
/// [`crate::clone`]) that the process of a pidfd is in.
///
/// # Errors
/// setns(2)'s. `EINVAL` also for the user namespace one is in already.
pub fn enter(fd: BorrowedFd<'_>, kinds: u64) -> io::Result<()> {
    // SAFETY: takes an open descriptor and plain flags.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), kinds as libc::c_int) }).map(drop)
}

/// What kind of namespace (a `NEW_…` flag of [`crate::clone`]) an open file is: ioctl_nsfs(2), `NS_GET_NSTYPE`, Linux 4.11.
///
/// # Errors
/// `ENOTTY` for a file that is no namespace.
pub fn kind(fd: BorrowedFd<'_>) -> io::Result<u64> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: takes an open descriptor and no argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) }.into()).map(|kind| kind as u64)
}

/// Moves the calling thread into new namespaces of these kinds (`NEW_…` flags of [`crate::clone`]); a new process id or
/// time namespace is for the children.
///
/// # Errors
/// unshare(2)'s.
pub fn unshare(kinds: u64) -> io::Result<()> {
    // SAFETY: only namespace flags are let through, which share nothing of this process's memory or descriptors.
    check(unsafe { libc::syscall(libc::SYS_unshare, (kinds & NAMESPACES) as libc::c_ulong) }).map(drop)
}

const NAMESPACES: u64 = {
    use crate::clone as c;
    c::NEW_MOUNT
        | c::NEW_PID
        | c::NEW_NETWORK
        | c::NEW_UTS
        | c::NEW_IPC
        | c::NEW_USER
        | c::NEW_CGROUP
        | c::NEW_TIME
};
