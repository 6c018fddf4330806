//! Where init of a kept container waits for its start, when the process that made it is gone: two named pipes in the
//! container's own directory. init holds both open for reading and writing, so that it needs nothing but read(2) and
//! write(2) there, which every seccomp profile allows, and its execve is the end of file of the answer.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fcntl_setfl, mknodat, openat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use crate::failure::Failure;

/// Written by who starts the container. Gone once it was started.
pub(crate) const START: &str = "start.fifo";
/// Written by init when it cannot become the program.
const ANSWER: &str = "answer.fifo";

const GO: u8 = b's';

/// init's side.
#[derive(Debug)]
pub struct Door {
    start: OwnedFd,
    answer: OwnedFd,
}

impl Door {
    /// Makes the pipes in a directory.
    pub(crate) fn make(dir: BorrowedFd<'_>) -> io::Result<Self> {
        let pipe = |name: &str| -> io::Result<OwnedFd> {
            mknodat(dir, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
            Ok(openat(dir, name, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
        };
        Ok(Self { start: pipe(START)?, answer: pipe(ANSWER)? })
    }

    /// What init must keep open.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.start.as_fd(), self.answer.as_fd()]
    }

    /// init: waits for [`start`].
    pub(crate) fn wait(&self) -> bool {
        let mut word = [0];
        matches!(retry_on_intr(|| rustix::io::read(&self.start, &mut word)), Ok(1)) && word[0] == GO
    }

    /// init: a step failed, and nothing follows.
    pub(crate) fn failed(&self, failure: &Failure) {
        let mut text = vec![failure.exit_code];
        text.extend_from_slice(failure.message.as_bytes());
        // Nobody is left to be told when the pipe cannot be written.
        let _ = rustix::io::write(&self.answer, &text);
    }
}

/// Lets init go and waits until it has become the program, or has said why not. False when no init waits there.
pub(crate) fn start(dir: BorrowedFd<'_>) -> io::Result<Result<bool, Failure>> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let answer = match openat(dir, ANSWER, OFlags::RDONLY | flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Ok(false)),
        answer => answer?,
    };
    match openat(dir, START, OFlags::WRONLY | flags, Mode::empty()) {
        Ok(start) => retry_on_intr(|| rustix::io::write(&start, &[GO])).map(drop)?,
        // Nobody has it open for reading.
        Err(Errno::NXIO | Errno::NOENT) => return Ok(Ok(false)),
        Err(e) => return Err(e.into()),
    }
    fcntl_setfl(&answer, OFlags::empty())?;
    let mut text = Vec::new();
    File::from(answer).read_to_end(&mut text)?;
    Ok(match text.as_slice() {
        [] => Ok(true),
        [exit_code, message @ ..] => {
            Err(Failure { message: String::from_utf8_lossy(message).into_owned(), exit_code: *exit_code })
        }
    })
}

/// Takes the pipes away: the container was started.
pub(crate) fn remove(dir: BorrowedFd<'_>) -> io::Result<()> {
    for name in [START, ANSWER] {
        match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_comes_through_the_door_and_nobody_behind_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let dir = File::open(dir.path()).unwrap();
        assert_eq!(start(dir.as_fd()).unwrap(), Ok(false), "no door");
        let door = Door::make(dir.as_fd()).unwrap();
        let failure = Failure::exec("exec: \"x\": executable file not found in $PATH", 127);
        door.failed(&failure);
        let heard = std::thread::scope(|scope| {
            let waiting = scope.spawn(move || assert!(door.wait()));
            let heard = start(dir.as_fd()).unwrap();
            waiting.join().unwrap();
            heard
        });
        assert_eq!(heard, Err(failure));
        // A child that another test forks has the pipes too, until its execve.
        assert!((0..1000).any(|_| start(dir.as_fd()).unwrap() == Ok(false)), "init is gone");
        remove(dir.as_fd()).unwrap();
        remove(dir.as_fd()).unwrap();
    }
}
