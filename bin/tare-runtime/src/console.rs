//! Hands a terminal or a pidfd to whoever asked for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use tare_runtime::kept::hand_over;

use crate::failure::Failure;
use crate::flags::Given;

/// Where a command leaves what others wait for.
pub(crate) struct Sockets {
    console: Option<UnixStream>,
    pidfd: Option<UnixStream>,
}

impl Sockets {
    /// Those of `--console-socket` and `--pidfd-socket`, connected before anything is made.
    pub(crate) fn of(given: &Given<'_>) -> Result<Self, Failure> {
        let connect = |name: &str| {
            let path = given.value(name).filter(|path| !path.is_empty());
            let connected = path.map(|path| UnixStream::connect(path).map_err(|e| (path, e)));
            connected
                .transpose()
                .map_err(|(path, e)| Failure::new(format!("cannot connect to --{name} {path}: {e}")))
        };
        Ok(Self { console: connect("console-socket")?, pidfd: connect("pidfd-socket")? })
    }

    /// Whether somebody takes a terminal.
    pub(crate) fn take_terminal(&self) -> bool {
        self.console.is_some()
    }

    /// Sends the terminal, if both it and the socket are there.
    pub(crate) fn send_console(&self, console: Option<OwnedFd>) -> Result<(), Failure> {
        match (console, &self.console) {
            (Some(console), Some(socket)) => Ok(hand_over(console.as_fd(), "/dev/ptmx", socket)?),
            _ => Ok(()),
        }
    }

    /// Sends the process, if somebody waits for it.
    pub(crate) fn send_pidfd(&self, pidfd: BorrowedFd<'_>) -> Result<(), Failure> {
        self.pidfd.as_ref().map_or(Ok(()), |socket| Ok(hand_over(pidfd, "pidfd", socket)?))
    }
}

/// How many sockets this process was given to pass on: sd_listen_fds(3).
pub(crate) fn listen_fds() -> u32 {
    std::env::var("LISTEN_FDS").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
}
