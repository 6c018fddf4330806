//! Descriptors by number: what a process does just before it becomes another program.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::check;

/// Closes every descriptor from 3 on except those numbered. Only for a process that will not use any other again: the
/// owners of the closed ones must never be dropped, that is, the process must end in execve or
/// [`crate::process::exit`]. (A double close there would be a bug of logic, not of memory.)
///
/// # Errors
/// close_range(2)'s.
pub fn close_all_except(mut numbers: Vec<RawFd>) -> io::Result<()> {
    numbers.retain(|fd| *fd > 2);
    numbers.sort_unstable();
    numbers.dedup();
    let mut first = 3;
    for number in numbers {
        if number > first {
            close_range(first, number - 1, 0)?;
        }
        first = number + 1;
    }
    close_range(first, RawFd::MAX, 0)
}

/// Makes `number` refer to what `fd` refers to, and survive execve.
///
/// # Errors
/// dup3(2)'s.
pub fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        return keep_on_exec(number);
    }
    // SAFETY: both are plain numbers to the kernel; what `number` referred to before is closed, as the caller asks.
    check(unsafe { libc::dup3(fd.as_raw_fd(), number, 0) }.into()).map(drop)
}

/// Lets a descriptor known by its number only survive execve.
///
/// # Errors
/// `EBADF` when it is not open.
pub fn keep_on_exec(number: RawFd) -> io::Result<()> {
    // SAFETY: changes a flag of whatever has that number.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into()).map(drop)
}

/// Duplicates a descriptor known by its number only, such as one inherited from the parent process.
///
/// # Errors
/// `EBADF` when it is not open.
pub fn duplicate(number: RawFd) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: takes any number; asks for a new one from 3 on.
    let new = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) }.into())?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(new as RawFd) })
}

fn close_range(first: RawFd, last: RawFd, flags: u32) -> io::Result<()> {
    // SAFETY: takes plain numbers; see the callers for who owned the descriptors.
    check(unsafe { libc::syscall(libc::SYS_close_range, first as u32, last as u32, flags) }).map(drop)
}
