//! One process that the shim has started, and its three streams.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};
use tare_oci::runtime::Process;
use tare_runtime::Stdio;

use crate::lines::Lines;
use crate::stdin::Stdin;

/// Names a session as long as the shim lives; init's is 0.
pub(crate) type Serial = u64;

/// Init, or an exec.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) serial: Serial,
    /// An exec's id; absent = init.
    pub(crate) id: Option<String>,
    pub(crate) pid: i32,
    pub(crate) pidfd: Option<OwnedFd>,
    /// The terminal's master.
    pub(crate) console: Option<OwnedFd>,
    pub(crate) stdin: Stdin,
    /// Whether its stdin ends with the first peer's.
    pub(crate) stdin_once: bool,
    pub(crate) outputs: Vec<Output>,
    /// Nothing is read before a peer is attached.
    pub(crate) waits_for_peer: bool,
    /// 128 + n for signals.
    pub(crate) exit_code: Option<i32>,
    /// Its streams were read to the end, its peers told to go.
    pub(crate) ended: bool,
    /// Nobody asks for it any more. It stays until its streams end, so that a child it has left behind can write.
    pub(crate) forgotten: bool,
}

/// A stream that is read.
#[derive(Debug)]
pub(crate) struct Output {
    /// None once it has ended.
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) stream: Stream,
    pub(crate) lines: Lines,
}

/// Which one, with Docker's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout = 1,
    Stderr = 2,
}

impl Stream {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// The header of a part of this stream in Docker's multiplexed form: the stream, three zeros, the length.
    pub(crate) fn header(self, length: usize) -> [u8; 8] {
        let [a, b, c, d] = (length as u32).to_be_bytes();
        [self as u8, 0, 0, 0, a, b, c, d]
    }
}

/// The ends of a process's streams: the process's own, and ours.
pub(crate) struct Streams {
    pub(crate) theirs: Stdio,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) outputs: Vec<Output>,
}

impl Streams {
    /// Pipes, or the wish for a terminal. Without `output` what is written goes to /dev/null.
    pub(crate) fn new(process: &Process, stdin: bool, output: bool) -> rustix::io::Result<Self> {
        if process.terminal {
            let size = process.console_size.unwrap_or_default();
            return Ok(Self { theirs: Stdio::Terminal { size }, stdin: None, outputs: Vec::new() });
        }
        let null = || rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let mut outputs = Vec::with_capacity(2);
        let mut sink = |stream| {
            if !output {
                return null();
            }
            let (read, write) = our_pipe(false)?;
            outputs.push(Output { fd: Some(read), stream, lines: Lines::default() });
            Ok(write)
        };
        let (stdout, stderr) = (sink(Stream::Stdout)?, sink(Stream::Stderr)?);
        let (theirs, ours) = if stdin { our_pipe(true).map(|(r, w)| (r, Some(w)))? } else { (null()?, None) };
        Ok(Self { theirs: Stdio::Fds { stdin: theirs, stdout, stderr }, stdin: ours, outputs })
    }
}

/// A pipe whose one end is ours and does not block; the process's end is as it expects.
fn our_pipe(we_write: bool) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    ioctl_fionbio(if we_write { &write } else { &read }, true)?;
    Ok((read, write))
}

impl Session {
    /// A session whose process is about to exist.
    pub(crate) fn new(
        serial: Serial,
        id: Option<String>,
        stdin: Option<OwnedFd>,
        outputs: Vec<Output>,
    ) -> Self {
        let stdin_once = id.is_some();
        Self {
            serial,
            id,
            pid: 0,
            pidfd: None,
            console: None,
            stdin: Stdin::new(stdin),
            stdin_once,
            outputs,
            waits_for_peer: false,
            exit_code: None,
            ended: false,
            forgotten: false,
        }
    }

    /// Reads from and writes to this terminal from now on.
    pub(crate) fn take_console(&mut self, console: OwnedFd) -> rustix::io::Result<()> {
        ioctl_fionbio(&console, true)?;
        let duplicate = || rustix::io::fcntl_dupfd_cloexec(&console, 3);
        self.stdin = Stdin::new(Some(duplicate()?));
        self.outputs =
            vec![Output { fd: Some(duplicate()?), stream: Stream::Stdout, lines: Lines::default() }];
        self.console = Some(console);
        Ok(())
    }

    /// Whether its output has no frames: a terminal's.
    pub(crate) fn is_raw(&self) -> bool {
        self.console.is_some()
    }

    /// A peer's own stdin has ended.
    pub(crate) fn peer_ended_stdin(&mut self) {
        // A terminal has no end; leaving it is no more than that.
        if self.stdin_once && !self.is_raw() {
            self.stdin.end();
        }
    }

    /// Tells the terminal its size.
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> rustix::io::Result<()> {
        let console = self.console.as_ref().ok_or(Errno::NOTTY)?;
        tcsetwinsize(console, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
    }

    pub(crate) fn is_running(&self) -> bool {
        self.exit_code.is_none()
    }

    /// Whether it can be dropped.
    pub(crate) fn is_over(&self) -> bool {
        self.forgotten && self.outputs.iter().all(|output| output.fd.is_none())
    }

    /// Closes everything that is open for it.
    pub(crate) fn close(&mut self) {
        self.stdin = Stdin::new(None);
        self.outputs = Vec::new();
        self.console = None;
        self.pidfd = None;
    }
}

/// What one reading of a stream gave.
pub(crate) enum Read {
    Bytes(usize),
    Nothing,
    End,
}

impl Output {
    /// Reads once. A terminal that no process has open any more answers EIO.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Read {
        let Some(fd) = &self.fd else { return Read::End };
        loop {
            match rustix::io::read(fd, &mut *buffer) {
                Ok(0) => return Read::End,
                Ok(n) => return Read::Bytes(n),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Read::Nothing,
                Err(_) => return Read::End,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_dockers() {
        assert_eq!(Stream::Stderr.header(0x01_02_03), [2, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(Stream::Stdout.header(5), [1, 0, 0, 0, 0, 0, 0, 5]);
    }
}
