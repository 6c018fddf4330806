//! Waits for a program as if it were this process: signals go to it, its exit code is ours.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use tare_runtime::Running;
use tare_sys::signal;

use crate::failure::{Failure, Outcome};

/// Passed on.
const FORWARDED: [i32; 7] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

/// Signals that wait for [`wait`]. To be made before the program is.
pub(crate) fn catch_signals() -> Result<OwnedFd, Failure> {
    signal::signal_fd(&FORWARDED).map_err(|e| Failure::new(format!("cannot catch signals: {e}")))
}

/// 128 and the signal's number for a program that was killed.
pub(crate) fn wait(running: &Running, signals: BorrowedFd<'_>) -> Outcome {
    let failed = |e: Errno| Failure::new(format!("cannot wait for the program: {e}"));
    loop {
        let mut fds =
            [PollFd::new(&running.pidfd, PollFlags::IN), PollFd::from_borrowed_fd(signals, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None)).map_err(failed)?;
        if !fds[1].revents().is_empty() {
            while let Ok(Some(signal)) = signal::next_signal(signals) {
                // The program may have ended meanwhile.
                drop(signal::send(&running.pidfd, signal.number));
            }
        }
        if !fds[0].revents().is_empty() {
            let status =
                waitid(WaitId::PidFd(running.pidfd.as_fd()), WaitIdOptions::EXITED).map_err(failed)?;
            return Ok(status.map_or(125, exit_code));
        }
    }
}

fn exit_code(status: WaitIdStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(125)
}
