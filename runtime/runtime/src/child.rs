//! What every process made here does first, and how it reports its end. Nothing in it returns to the caller's code.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rustix::fs::{FileType, OFlags, Uid, fchown, fstat, makedev};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, ioctl_tiocsctty, set_dumpable_behavior, setsid};
use tare_cgroup::Entrance;
use tare_sys::{fd, process};

use crate::Stdio;
use crate::channel;
use crate::failure::{Failure, Step};
use crate::root::RootDir;
use crate::root::devices::Terminal;

/// Runs the steps; whatever goes wrong is said once, and the process ends.
pub(crate) fn end_in(socket: BorrowedFd<'_>, steps: impl FnOnce() -> Result<Infallible, Failure>) -> ! {
    let failure = match catch_unwind(AssertUnwindSafe(steps)) {
        Ok(Ok(never)) => match never {},
        Ok(Err(failure)) => failure,
        Err(_) => Failure::rule("init panicked: this is a bug, please report it"),
    };
    channel::failed(socket, &failure);
    process::exit(1)
}

/// Lets itself into the v1 hierarchies, before there is any other thread or namespace. The clone came into v2 already.
pub(crate) fn enter_cgroup(entrance: Option<Entrance>) -> Result<(), Failure> {
    // The text names the group and what was tried.
    entrance.map_or(Ok(()), |entrance| entrance.enter()).map_err(|error| Failure::rule(error.to_string()))
}

/// Leaves what is the caller's own behind: signals, descriptors, terminal.
pub(crate) fn leave_caller(mut keep: Vec<RawFd>, stdio: &Stdio, preserve_fds: u32) -> Result<(), Failure> {
    process::reset_signals();
    if let Stdio::Fds { stdin, stdout, stderr } = stdio {
        keep.extend([stdin, stdout, stderr].map(AsRawFd::as_raw_fd));
    }
    keep.extend((0..preserve_fds as RawFd).map(|n| n + 3));
    fd::close_all_except(keep).at("close the caller's descriptors")?;
    // Without a session of its own it could push input into the caller's terminal (TIOCSTI).
    setsid().at("start a session").map(drop)
}

/// Leaves the caller's keys behind.
pub(crate) fn leave_keyring() -> Result<(), Failure> {
    match process::join_new_session_keyring() {
        Err(e) if e.raw_os_error() != Some(Errno::NOSYS.raw_os_error()) => {
            Err(Failure::new("join a session keyring", e))
        }
        _ => Ok(()),
    }
}

/// Keeps the container's processes from looking into this one through /proc (CVE-2016-9962).
pub(crate) fn hide_memory() -> Result<(), Failure> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at("hide from ptrace")
}

/// Puts the standard streams in place. Pipes are given to the user, who may open them anew as /dev/stdout.
pub(crate) fn take_streams(stdio: &Stdio, terminal: Option<&Terminal>, owner: u32) -> Result<(), Failure> {
    let streams = match (stdio, terminal) {
        (_, Some(terminal)) => {
            ioctl_tiocsctty(&terminal.peer).at("take the controlling terminal")?;
            [terminal.peer.as_fd(); 3]
        }
        (Stdio::Fds { stdin, stdout, stderr }, None) => {
            let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
            streams.iter().try_for_each(|stream| give(*stream, owner))?;
            streams
        }
        _ => return Ok(()),
    };
    // A stream that has the number of another one's place would be overwritten before its turn.
    let copies = streams.map(|stream| rustix::io::fcntl_dupfd_cloexec(stream, 3));
    for (number, copy) in (0..).zip(copies) {
        copy.map_err(Into::into)
            .and_then(|copy| fd::place(copy.as_fd(), number))
            .at("put the standard streams in place")?;
    }
    Ok(())
}

fn give(stream: BorrowedFd<'_>, owner: u32) -> Result<(), Failure> {
    let found = fstat(stream).at("look at the standard streams")?;
    if found.st_uid == owner || found.st_rdev == makedev(1, 3) {
        return Ok(());
    }
    match fchown(stream, Some(Uid::from_raw(owner)), None) {
        // A file of a user that the container does not know, or on a read-only file system, stays as it is.
        Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => Ok(()),
        Err(e) => Err(Failure::new("give the standard streams to the user", e)),
    }
}

/// More than this of /etc/passwd is not read: a container may hold anything there (moby#38972).
const LONGEST_PASSWD: u64 = 1 << 20;

/// The home directory that the container's /etc/passwd gives a user, else "/".
pub(crate) fn home(root: &RootDir, uid: u32) -> String {
    let file = root.open(Path::new("/etc/passwd"), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok();
    let text = file.and_then(read_bounded).unwrap_or_default();
    home_in(&text, uid).filter(|home| !home.is_empty()).unwrap_or("/").to_owned()
}

fn read_bounded(file: OwnedFd) -> Option<String> {
    let found = fstat(&file).ok()?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    File::from(file).take(LONGEST_PASSWD).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn home_in(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        (fields.next()?.parse() == Ok(uid)).then(|| fields.nth(2)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_the_sixth_field_of_the_users_line() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:33::/var/www:/bin/false\nempty:x:5:5:::\n";
        assert_eq!(home_in(passwd, 33), Some("/var/www"));
        assert_eq!(home_in(passwd, 5), Some(""));
        assert_eq!(home_in(passwd, 7), None);
    }
}
