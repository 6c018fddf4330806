//! What one process may change about itself.

use std::io;

use crate::check;

/// Whether this process has had one thread only since it began.
pub fn single_threaded() -> bool {
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
