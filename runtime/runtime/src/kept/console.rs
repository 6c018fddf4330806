use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::channel;
use crate::error::{Error, Result};

/// Sends a terminal's master to who holds the other end of `--console-socket`.
///
/// # Errors
/// When nobody takes it.
pub fn hand_over(console: &OwnedFd, socket: &UnixStream) -> Result<()> {
    // The name that comes with it is for messages only.
    channel::send(socket.as_fd(), b"/dev/ptmx", Some(console.as_fd()))
        .map_err(|e| Error::step("send the terminal to the console socket", e))
}
