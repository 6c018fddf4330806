use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::channel;
use crate::error::{Error, Result};

/// Sends a descriptor, a terminal's master or a pidfd, to who holds the other end of `--console-socket` or
/// `--pidfd-socket`. The name that comes with it is for messages only.
///
/// # Errors
/// When nobody takes it.
pub fn hand_over(what: BorrowedFd<'_>, name: &str, socket: &UnixStream) -> Result<()> {
    channel::send(socket.as_fd(), name.as_bytes(), Some(what))
        .map(drop)
        .map_err(|e| Error::step(&format!("send {name} to its socket"), e))
}
