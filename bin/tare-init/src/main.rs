//! The first process of a container with `--init`: `tare-init [--] PROGRAM [ARGUMENT…]` runs the program as its child,
//! passes signals on to it, reaps whatever is orphaned, and ends as the program ends.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, getpid, pidfd_open, set_child_subreaper, wait};
use tare_sys::signal::{Received, next_signal, send, signal_fd};

/// What `docker run` exits with when the program is not there, cannot be executed, or anything else goes wrong.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
const FAILED: u8 = 125;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    args.next_if(|first| first == "--");
    let args: Vec<OsString> = args.collect();
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let program = args.first().map_or_else(String::new, |name| format!("{}: ", name.display()));
            eprintln!("tare-init: {program}{error}");
            ExitCode::from(match error.kind() {
                ErrorKind::NotFound => NOT_FOUND,
                ErrorKind::PermissionDenied => NOT_EXECUTABLE,
                _ if error.raw_os_error() == Some(libc::ENOEXEC) => NOT_EXECUTABLE,
                _ => FAILED,
            })
        }
    }
}

fn run(args: &[OsString]) -> io::Result<u8> {
    let [program, rest @ ..] = args else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "usage: tare-init [--] PROGRAM [ARGUMENT…]"));
    };
    let signals = signal_fd(&passed_on())?;
    if getpid() != Pid::INIT {
        // In the host's pid namespace orphans would go to the host's init.
        set_child_subreaper(Some(Pid::INIT))?;
    }
    // The standard library empties the child's signal mask.
    let child = Command::new(program).args(rest).arg0(program).spawn()?;
    let child = Pid::from_child(&child);
    let pidfd = pidfd_open(child, PidfdFlags::empty())?;
    loop {
        if let Some(code) = reap(child) {
            return Ok(code);
        }
        wait_for(&signals)?;
        while let Some(signal) = next_signal(&signals)? {
            pass_on(signal, &pidfd);
        }
    }
}

/// All signals but those that only this process's own mistakes cause, and those that cannot be caught.
fn passed_on() -> Vec<i32> {
    const OWN: [i32; 9] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGSYS,
        libc::SIGKILL,
        libc::SIGSTOP,
    ];
    // 32 and 33 are glibc's own.
    (1..=64).filter(|signal| !OWN.contains(signal) && ![32, 33].contains(signal)).collect()
}

fn pass_on(signal: Received, child: &OwnedFd) {
    // The child is in the same process group: a terminal has sent it to both. A hang-up goes to the session's leader.
    let had_by_both = signal.from_kernel && signal.number != libc::SIGHUP;
    if signal.number != libc::SIGCHLD && !had_by_both {
        // A child that has ended meanwhile is reaped next.
        let _ = send(child, signal.number);
    }
}

/// Reaps all that have ended, and returns the program's exit code if it is among them.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            let signal = status.terminating_signal().map(|signal| 128 + signal);
            code = status.exit_status().or(signal).and_then(|code| u8::try_from(code).ok()).or(Some(FAILED));
        }
    }
    code
}

fn wait_for(signals: &OwnedFd) -> io::Result<()> {
    match poll(&mut [PollFd::new(signals, PollFlags::IN)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
