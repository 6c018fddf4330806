//! The way in: what attached peers send to a process.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

/// The write end of a process's stdin, or its terminal.
#[derive(Debug)]
pub(crate) struct Stdin {
    fd: Option<OwnedFd>,
    pending: Vec<u8>,
    /// Closed as soon as all is written.
    ending: bool,
}

impl Stdin {
    /// Over a non-blocking descriptor; none = what comes is thrown away.
    pub(crate) fn new(fd: Option<OwnedFd>) -> Self {
        Self { fd, pending: Vec::new(), ending: false }
    }

    /// Whether peers may send more.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.is_empty()
    }

    /// What to wait for writing on.
    pub(crate) fn waits_on(&self) -> Option<&OwnedFd> {
        self.fd.as_ref().filter(|_| !self.pending.is_empty())
    }

    /// Takes bytes of a peer.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.fd.is_some() && !self.ending {
            self.pending.extend_from_slice(bytes);
            self.write();
        }
    }

    /// Writes as much as the process takes now.
    pub(crate) fn write(&mut self) {
        let mut done = 0;
        while let Some(fd) = self.fd.as_ref().filter(|_| done < self.pending.len()) {
            match rustix::io::write(fd, &self.pending[done..]) {
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Nobody reads any more: the process may go on without.
                Err(_) => self.fd = None,
            }
        }
        self.pending.drain(..done.min(self.pending.len()));
        if self.fd.is_none() {
            self.pending.clear();
        }
        if self.pending.is_empty() {
            self.pending = Vec::new();
            if self.ending {
                self.fd = None;
            }
        }
    }

    /// Ends it, behind all that was sent.
    pub(crate) fn end(&mut self) {
        self.ending = true;
        self.write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn all_is_written_before_the_end() {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        let mut stdin = Stdin::new(Some(write));
        let wanted = vec![7; 300_000];
        stdin.push(&wanted);
        assert!(!stdin.has_room());
        stdin.end();
        let (mut got, mut part) = (Vec::new(), vec![0; 65_536]);
        loop {
            match rustix::io::read(&read, &mut part) {
                Ok(0) => break,
                Ok(n) => got.extend_from_slice(&part[..n]),
                Err(_) => stdin.write(),
            }
        }
        assert!(got == wanted && stdin.has_room());
    }

    #[test]
    fn a_process_that_does_not_read_loses_only_its_input() {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        drop(read);
        let mut stdin = Stdin::new(Some(write));
        stdin.push(b"x");
        assert!(stdin.has_room() && stdin.waits_on().is_none());
        Stdin::new(None).push(b"y");
    }
}
