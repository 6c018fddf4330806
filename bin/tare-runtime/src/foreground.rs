//! Waits for a program as if it were this process: signals go to it, its exit code is ours.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use tare_runtime::Running;
use tare_sys::signal;

use crate::failure::{Failure, Outcome};
use crate::terminal::Relay;

/// Passed on.
const FORWARDED: [i32; 7] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

/// Signals that wait for [`wait`]. To be made before the program is.
pub(crate) fn catch_signals() -> Result<OwnedFd, Failure> {
    signal::signal_fd(&FORWARDED).map_err(|e| Failure::new(format!("cannot catch signals: {e}")))
}

/// Waits for the program's end; its terminal is the caller's meanwhile. 128 and the signal's number for one that was killed.
pub(crate) fn wait(mut running: Running, signals: BorrowedFd<'_>) -> Outcome {
    let lost = |e: io::Error| Failure::new(format!("cannot pass on the program's terminal: {e}"));
    let mut relay = running.console.take().map(Relay::new).transpose().map_err(lost)?;
    loop {
        let happened = next(&running, signals, relay.as_ref())
            .map_err(|e| Failure::new(format!("cannot wait for the program: {e}")))?;
        if happened.signal {
            pass_signals(&running, signals, relay.as_ref());
        }
        if let Some(relay) = &mut relay {
            relay.pass(happened.typing).map_err(lost)?;
        }
        if happened.end {
            let status = waitid(WaitId::PidFd(running.pidfd.as_fd()), WaitIdOptions::EXITED)
                .map_err(|e| Failure::new(format!("cannot wait for the program: {e}")))?;
            return Ok(status.map_or(125, exit_code));
        }
    }
}

/// What one waits for.
struct Happened {
    end: bool,
    signal: bool,
    typing: bool,
}

fn next(running: &Running, signals: BorrowedFd<'_>, relay: Option<&Relay>) -> Result<Happened, Errno> {
    let mut fds =
        vec![PollFd::new(&running.pidfd, PollFlags::IN), PollFd::from_borrowed_fd(signals, PollFlags::IN)];
    fds.extend(relay.iter().flat_map(|relay| relay.interests()));
    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
    let ready = |i: usize| fds.get(i).is_some_and(|fd| !fd.revents().is_empty());
    Ok(Happened { end: ready(0), signal: ready(1), typing: ready(3) })
}

fn pass_signals(running: &Running, signals: BorrowedFd<'_>, relay: Option<&Relay>) {
    while let Ok(Some(signal)) = signal::next_signal(signals) {
        match relay {
            Some(relay) if signal.number == libc::SIGWINCH => relay.resize(),
            // The program may have ended meanwhile.
            _ => drop(signal::send(&running.pidfd, signal.number)),
        }
    }
}

fn exit_code(status: WaitIdStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(125)
}
