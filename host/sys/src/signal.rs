//! Signals as a descriptor that can be polled: signalfd(2).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Blocks these signals for the calling thread and gives a non-blocking descriptor from which they are read. Children
/// inherit the blocked set: it is for who starts them to empty it (`process::reset_signals`).
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = set_of(signals)?;
    // SAFETY: both sets are valid for the call; the old one is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })?;
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let fd = check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub number: i32,
    /// Whether the kernel sent it: a terminal's go to its whole foreground process group.
    pub from_kernel: bool,
}

/// Takes the next pending signal off a descriptor of [`signal_fd`]; none where none is pending.
pub fn next_signal(fd: impl AsFd) -> io::Result<Option<Received>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer has the size that is given.
    let read = unsafe { libc::read(fd.as_fd().as_raw_fd(), info.as_mut_ptr().cast(), size) };
    if read == size as isize {
        // SAFETY: the kernel has filled it whole.
        let info = unsafe { info.assume_init() };
        return Ok(Some(Received {
            number: info.ssi_signo as i32,
            from_kernel: info.ssi_code == libc::SI_KERNEL,
        }));
    }
    match io::Error::last_os_error() {
        e if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => Ok(None),
        e => Err(e),
    }
}

/// Sends a signal, real-time ones included, to the process of a pidfd: pidfd_send_signal(2).
pub fn send(process: impl AsFd, signal: i32) -> io::Result<()> {
    let fd = process.as_fd().as_raw_fd();
    // SAFETY: no memory is passed but the null pointer that means "as kill(2) would".
    let answer = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_of(signals: &[i32]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises what it is given.
    check(unsafe { libc::sigemptyset(set.as_mut_ptr()) })?;
    // SAFETY: initialised by the line above.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: the set is initialised; a number that is no signal is answered by EINVAL.
        check(unsafe { libc::sigaddset(&raw mut set, *signal) })?;
    }
    Ok(set)
}

fn check(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
