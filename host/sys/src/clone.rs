//! clone3(2): one call makes the process, its namespaces, its pidfd and its place in the cgroup.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::{check, process};

/// New mount namespace.
pub const NEW_MOUNT: u64 = libc::CLONE_NEWNS as u64;
/// New process id namespace.
pub const NEW_PID: u64 = libc::CLONE_NEWPID as u64;
/// New network namespace.
pub const NEW_NETWORK: u64 = libc::CLONE_NEWNET as u64;
/// New UTS namespace.
pub const NEW_UTS: u64 = libc::CLONE_NEWUTS as u64;
/// New IPC namespace.
pub const NEW_IPC: u64 = libc::CLONE_NEWIPC as u64;
/// New user namespace; it owns all the others made by the same call.
pub const NEW_USER: u64 = libc::CLONE_NEWUSER as u64;
/// New cgroup namespace. Its root is the *caller's* cgroup, also with a target cgroup.
pub const NEW_CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
/// New time namespace, its offsets frozen at once.
pub const NEW_TIME: u64 = libc::CLONE_NEWTIME as u64;

/// Who returned from [`clone3`].
#[derive(Debug)]
pub enum Cloned {
    /// The new process. It must end in execve or [`process::exit`] and must not return to its caller's caller.
    Child,
    /// The caller.
    Parent {
        /// The child, as the caller's process id namespace numbers it.
        pid: i32,
        /// Close-on-exec.
        pidfd: OwnedFd,
    },
}

/// Makes a child that is a copy of the caller (no shared memory), in new namespaces (`NEW_…` flags) and, where a
/// directory of cgroup v2 is given, inside that cgroup. The child's exit is announced by SIGCHLD.
///
/// # Errors
/// `EBUSY` when the caller has threads: the copy of another thread's locks would never be released. Otherwise clone(2)'s.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    make(flags, cgroup)
}

fn make(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    if !process::single_threaded() {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let mut pidfd: RawFd = -1;
    let mut arguments = arguments(flags, &mut pidfd);
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `arguments` and the `pidfd` that it points to outlive the call. Without CLONE_VM the child works on its
    // own copy of memory, and this process has one thread, so nothing that the copy holds is owned by a thread it lacks.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor there, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pid: pid as i32, pidfd })
}

/// As [`clone3`], but the child becomes one of the caller's parent, which reaps it (`CLONE_PARENT`).
///
/// # Errors
/// As for [`clone3`]; `EINVAL` for init of a process id namespace.
pub fn clone3_sibling(flags: u64) -> io::Result<Cloned> {
    make(flags | libc::CLONE_PARENT as u64, None)
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn arguments(flags: u64, pidfd: &mut RawFd) -> libc::clone_args {
    // A sibling announces its end as the caller does, and the kernel takes no signal for it.
    let signal = if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD } else { 0 };
    libc::clone_args {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: signal as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    }
}
