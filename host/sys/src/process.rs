//! What one process may change about itself.

use std::io;

use crate::check;

/// Whether this process has had one thread only since it began.
pub(crate) fn single_threaded() -> bool {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            static __libc_single_threaded: libc::c_char;
        }
        // SAFETY: glibc 2.32 and later define it; it is a byte that only pthread functions of this process write.
        let flag = unsafe { __libc_single_threaded };
        flag != 0
    }
    #[cfg(not(target_env = "gnu"))]
    {
        std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
    }
}

/// Ends the process at once: no destructors, no exit handlers. For a child that shares open files with its parent.
pub fn exit(code: u8) -> ! {
    // SAFETY: _exit(2) takes any value and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Gives every signal its default action and unblocks all: an ignored or blocked signal would stay so over execve.
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid action for every signal; the kernel refuses SIGKILL, SIGSTOP and glibc's own two.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: all-zero bytes are a valid, empty sigset_t.
    let empty: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `empty` outlives the call and the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut()) };
}

/// personality(2).
///
/// # Errors
/// The kernel's.
pub fn set_personality(persona: u32) -> io::Result<()> {
    // SAFETY: takes a plain number.
    check(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(persona)) }).map(drop)
}

/// Leaves the session keyring that was inherited for a new, anonymous one: keyctl(2), KEYCTL_JOIN_SESSION_KEYRING.
///
/// # Errors
/// `EDQUOT` when the user has too many keys, `ENOSYS` without keys in the kernel.
pub fn join_new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    let name: *const libc::c_char = std::ptr::null();
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) }).map(drop)
}

/// ioprio_set(2) of this process; `class` 1 real-time, 2 best effort, 3 idle; `level` 0 to 7.
///
/// # Errors
/// `EPERM` for the real-time class without privilege.
pub fn set_io_priority(class: u16, level: u16) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let value = libc::c_int::from(class) << 13 | libc::c_int::from(level);
    // SAFETY: takes plain numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) }).map(drop)
}

/// What sched_setattr(2) takes; times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// `SCHED_…`.
    pub policy: u32,
    /// `SCHED_FLAG_…` bits.
    pub flags: u64,
    /// -20 to 19, for the ordinary policies.
    pub nice: i32,
    /// 1 to 99, for the real-time policies.
    pub priority: u32,
    /// Of `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Of `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Of `SCHED_DEADLINE`.
    pub period: u64,
}

/// `struct sched_attr`, as Linux 5.3 has it.
#[repr(C)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    utilization: [u32; 2],
}

/// Schedules the calling thread, and what comes of it, another way.
///
/// # Errors
/// sched_setattr(2)'s.
pub fn set_scheduling(wanted: &Scheduling) -> io::Result<()> {
    let Scheduling { policy, flags, nice, priority, runtime, deadline, period } = *wanted;
    let size = size_of::<SchedulingAttributes>() as u32;
    let utilization = [0; 2];
    let attributes =
        SchedulingAttributes { size, policy, flags, nice, priority, runtime, deadline, period, utilization };
    // SAFETY: `attributes` has the layout of `struct sched_attr` and names its size; it outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
}

/// As many NUMA nodes as Linux can have, one bit each.
pub type NodeMask = [u64; 16];

/// Decides where the memory of the calling thread, and of what comes of it, is taken from; `mode` with its `MPOL_F_…` bits.
///
/// # Errors
/// set_mempolicy(2)'s; `ENOSYS` without NUMA in the kernel.
pub fn set_memory_policy(mode: u32, nodes: &NodeMask) -> io::Result<()> {
    // The kernel takes one bit less than it is told.
    let bits = 64 * nodes.len() + 1;
    let nodes = if nodes.iter().all(|word| *word == 0) { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: `nodes` is null or an array of that many bits, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode as libc::c_int, nodes, bits) }).map(drop)
}
