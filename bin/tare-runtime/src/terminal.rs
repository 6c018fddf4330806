//! The caller's own terminal, connected to a program's.

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Passes bytes both ways. What was typed waits here while the program does not read it, so that its output is never
/// held up by its input.
pub(crate) struct Relay {
    console: OwnedFd,
    typed: Vec<u8>,
    open: bool,
    input: bool,
    saved: Option<Termios>,
}

impl Relay {
    /// Puts the caller's terminal, if it is one, into raw mode until the relay is dropped.
    pub(crate) fn new(console: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&console, fcntl_getfl(&console)? | OFlags::NONBLOCK)?;
        let saved = isatty(stdin()).then(|| tcgetattr(stdin())).transpose()?;
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            raw.make_raw();
            tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        }
        let relay = Self { console, typed: Vec::new(), open: true, input: true, saved };
        relay.resize();
        Ok(relay)
    }

    /// The program's terminal gets the size of the caller's.
    pub(crate) fn resize(&self) {
        // Where there is none, it keeps its own.
        let _ = tcgetwinsize(stdin()).and_then(|size| tcsetwinsize(&self.console, size));
    }

    /// What to wait for.
    pub(crate) fn interests(&self) -> Vec<PollFd<'_>> {
        let mut fds = Vec::with_capacity(2);
        if self.open {
            let writes = if self.typed.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            fds.push(PollFd::new(&self.console, PollFlags::IN | writes));
        }
        if self.open && self.input && self.typed.is_empty() {
            fds.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
        fds
    }

    /// Passes on what there is. `typing`: something can be read from the caller without waiting.
    pub(crate) fn pass(&mut self, typing: bool) -> io::Result<()> {
        let mut bytes = [0; 4096];
        if typing && self.typed.is_empty() {
            let length = rustix::io::retry_on_intr(|| rustix::io::read(stdin(), &mut bytes))?;
            self.input = length > 0;
            self.typed.extend_from_slice(&bytes[..length]);
        }
        if !self.typed.is_empty() {
            match rustix::io::write(&self.console, &self.typed) {
                Ok(length) => drop(self.typed.drain(..length)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Nobody has it open on the other side.
                Err(Errno::IO) => self.typed.clear(),
                Err(e) => return Err(e.into()),
            }
        }
        self.print()
    }

    /// Prints all that the program has written so far.
    pub(crate) fn print(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            match rustix::io::read(&self.console, &mut bytes) {
                Ok(0) | Err(Errno::IO) => {
                    self.open = false;
                    return Ok(());
                }
                Ok(length) => {
                    let mut out = io::stdout().lock();
                    out.write_all(&bytes[..length])?;
                    out.flush()?;
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(stdin(), OptionalActions::Now, saved);
        }
    }
}
