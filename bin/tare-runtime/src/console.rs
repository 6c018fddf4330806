//! Hands a terminal to whoever asked for it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use tare_runtime::kept::hand_over;

use crate::failure::Failure;
use crate::flags::Given;

/// The socket of `--console-socket`, connected before anything is made.
pub(crate) fn socket(given: &Given<'_>) -> Result<Option<UnixStream>, Failure> {
    let connect = |path: &str| {
        UnixStream::connect(path)
            .map_err(|e| Failure::new(format!("cannot connect to console socket {path}: {e}")))
    };
    given.value("console-socket").filter(|path| !path.is_empty()).map(connect).transpose()
}

/// Sends it, if there is one.
pub(crate) fn send(console: Option<OwnedFd>, socket: Option<&UnixStream>) -> Result<(), Failure> {
    match (console, socket) {
        (Some(console), Some(socket)) => Ok(hand_over(&console, socket)?),
        _ => Ok(()),
    }
}
