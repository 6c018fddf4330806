//! What a peer has not taken yet: a little in memory, more on disk, and then no more.
//!
//! A reader that lags must not hold up the container (`docker run … | less`), and what it has not read must not be lost
//! nor pile up in memory. So the overflow goes to an unlinked file. Only when that is full too is the reader asked to
//! show that it reads at all: one that has taken nothing since is cut off; one that is merely slow
//! (`docker run … | gzip`) then sets the pace, as with a pipe.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

/// Bytes that are kept in memory.
const IN_MEMORY: usize = 64 << 10;

/// Bytes that the overflow file may hold.
const ON_DISK: u64 = 64 << 20;

/// Bytes on their way to a peer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    memory: Vec<u8>,
    /// How much of `memory` is sent.
    sent: usize,
    overflow: Option<Overflow>,
    /// What came after the disk was full.
    tail: Vec<u8>,
}

#[derive(Debug)]
struct Overflow {
    file: File,
    read: u64,
    written: u64,
    /// Whether the peer has taken anything since the file was begun.
    moved: bool,
}

impl Queue {
    /// Whether all is sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.memory.len() && self.overflow.is_none()
    }

    /// Whether whoever produces should wait.
    pub(crate) fn is_full(&self) -> bool {
        let disk = self.overflow.as_ref().is_some_and(|o| o.written >= ON_DISK);
        disk || !self.tail.is_empty() || self.memory.len() - self.sent >= 4 * IN_MEMORY
    }

    /// Full, and the peer has not read a byte while 64 MiB went by.
    pub(crate) fn is_stuck(&self) -> bool {
        self.overflow.as_ref().is_some_and(|o| o.written >= ON_DISK && !o.moved)
    }

    /// Adds bytes behind all others. They are taken even when the queue is full: nobody who asks first adds much.
    pub(crate) fn push(&mut self, bytes: &[u8], spill_in: &Path) {
        if self.overflow.is_none() && self.memory.len() - self.sent + bytes.len() > IN_MEMORY {
            self.overflow = Overflow::begin(spill_in);
        }
        match &mut self.overflow {
            Some(overflow) => {
                if !self.tail.is_empty() || !overflow.append(bytes) {
                    self.tail.extend_from_slice(bytes);
                }
            }
            // No file can be made there.
            None => self.memory.extend_from_slice(bytes),
        }
    }

    /// Sends as much as the peer takes now. An error means that it is gone.
    pub(crate) fn send(&mut self, to: &OwnedFd) -> rustix::io::Result<()> {
        loop {
            if self.sent == self.memory.len() {
                self.memory.clear();
                self.sent = 0;
                self.refill();
            }
            if self.memory.is_empty() {
                // A quiet peer costs no memory.
                self.memory = Vec::new();
                return Ok(());
            }
            match send(to, &self.memory[self.sent..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(n) => self.took(n),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn took(&mut self, n: usize) {
        self.sent += n;
        if let Some(overflow) = &mut self.overflow {
            overflow.moved = true;
        }
    }

    /// Moves the file's next part into memory, and drops the file when it is used up.
    fn refill(&mut self) {
        let Some(overflow) = &mut self.overflow else { return };
        let start = self.memory.len();
        self.memory.resize(start + IN_MEMORY, 0);
        let n = rustix::io::pread(&overflow.file, &mut self.memory[start..], overflow.read).unwrap_or(0);
        self.memory.truncate(start + n);
        overflow.read += n as u64;
        if n == 0 || overflow.read >= overflow.written {
            self.overflow = None;
            self.memory.append(&mut self.tail);
        }
    }
}

impl Overflow {
    fn begin(dir: &Path) -> Option<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(dir, flags, Mode::from(0o600)).ok()?;
        Some(Self { file: file.into(), read: 0, written: 0, moved: false })
    }

    /// Whether all of it found room.
    fn append(&mut self, bytes: &[u8]) -> bool {
        let mut at = 0;
        while at < bytes.len() {
            match rustix::io::pwrite(self.file.as_fd(), &bytes[at..], self.written + at as u64) {
                Ok(n) if n > 0 => at += n,
                Err(Errno::INTR) => {}
                _ => return false,
            }
        }
        self.written += bytes.len() as u64;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_lagging_reader_gets_everything_in_order() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours: OwnedFd = ours.into();
        let spill = std::env::temp_dir();
        let mut queue = Queue::default();
        let wanted: Vec<u8> = (0..4_000_000_u32).map(|n| (n >> 8) as u8 ^ n as u8).collect();
        for part in wanted.chunks(10_007) {
            queue.push(part, &spill);
            queue.send(&ours).unwrap();
        }
        assert!(!queue.is_full() && !queue.is_empty());
        assert!(queue.memory.len() <= 2 * IN_MEMORY);
        let mut got = vec![0; wanted.len()];
        let mut at = 0;
        while at < got.len() {
            at += theirs.read(&mut got[at..]).unwrap();
            queue.send(&ours).unwrap();
        }
        assert!(queue.is_empty() && got == wanted);
    }

    #[test]
    fn a_reader_that_never_reads_is_known_as_such() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours: OwnedFd = ours.into();
        let spill = std::env::temp_dir();
        let mut queue = Queue::default();
        let part = vec![0; 32 << 10];
        while !queue.is_full() {
            queue.push(&part, &spill);
            queue.send(&ours).unwrap();
        }
        assert!(queue.memory.len() <= 2 << 20, "{}", queue.memory.len());
        assert!(queue.is_stuck());
        theirs.read_exact(&mut vec![0; 64 << 10]).unwrap();
        queue.send(&ours).unwrap();
        assert!(queue.is_full() && !queue.is_stuck());
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut queue = Queue::default();
        queue.push(b"x", Path::new("/nonexistent"));
        assert!(queue.send(&ours.into()).is_err());
    }
}
