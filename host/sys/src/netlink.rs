//! Options of netlink sockets, which rustix does not have: netlink(7).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// Asks the kernel to say in words why it refuses a message, and to quote of it no more than its header.
///
/// # Errors
/// setsockopt(2)'s; `ENOTSOCK` or `ENOPROTOOPT` where `socket` is something else.
pub fn explain_errors(socket: BorrowedFd<'_>) -> io::Result<()> {
    enable(socket, libc::NETLINK_EXT_ACK)?;
    enable(socket, libc::NETLINK_CAP_ACK)
}

fn enable(socket: BorrowedFd<'_>, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is read from `on`, which lives across the call and is as long as `length` says.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), length)
    };
    check(result.into()).map(drop)
}
