//! A connection of the daemon's.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::Shutdown;

use crate::queue::Queue;
use crate::session::{Serial, Stream};
use tare_protocol::{self as protocol, Request, Response};

/// What a connection has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Requests and responses in turn.
    Asking,
    /// Gets events.
    Watching,
    /// A raw stream.
    Attached { session: Serial, stdin: bool, stdout: bool, stderr: bool },
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) fd: OwnedFd,
    pub(crate) role: Role,
    /// Received, not understood yet.
    pub(crate) input: Vec<u8>,
    queue: Queue,
    /// It will send no more.
    pub(crate) input_ended: bool,
    /// It has closed both ways.
    pub(crate) hung_up: bool,
    /// Whether a request was ever answered.
    pub(crate) served: bool,
    /// Closed as soon as all is sent.
    closing: bool,
    /// To be dropped now.
    pub(crate) gone: bool,
}

/// What one reading of a peer gave.
pub(crate) enum Input {
    Bytes,
    Nothing,
    End,
}

impl Peer {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            role: Role::Asking,
            input: Vec::new(),
            queue: Queue::default(),
            input_ended: false,
            hung_up: false,
            served: false,
            closing: false,
            gone: false,
        }
    }

    /// What to wait for; `takes_input` says whether its bytes have a place to go.
    pub(crate) fn interest(&self, takes_input: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        if takes_input && !self.input_ended {
            flags |= PollFlags::IN;
        }
        if !self.queue.is_empty() && !self.hung_up {
            flags |= PollFlags::OUT;
        }
        flags
    }

    /// Whether polling it can tell anything: a hang-up is reported even to who did not ask, again and again.
    pub(crate) fn is_polled(&self, interest: PollFlags) -> bool {
        !self.hung_up || interest.contains(PollFlags::IN)
    }

    /// Takes what it has sent.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Input {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *buffer)) {
            Ok(0) => Input::End,
            Ok(n) => {
                self.input.extend_from_slice(&buffer[..n]);
                Input::Bytes
            }
            Err(Errno::AGAIN) => Input::Nothing,
            Err(_) => {
                self.gone = true;
                Input::End
            }
        }
    }

    /// The next request that it has sent whole.
    pub(crate) fn request(&mut self) -> std::io::Result<Option<Request>> {
        let Some((request, used)) = protocol::decode(&self.input)? else { return Ok(None) };
        self.input.drain(..used);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Ok(Some(request))
    }

    /// Sends a message, or cuts a peer to which it cannot be sent.
    pub(crate) fn say(&mut self, response: &Response, spill_in: &Path) {
        match protocol::encode(response) {
            Ok(bytes) => self.push(&bytes, spill_in),
            Err(error) => {
                crate::note!("a response cannot be encoded: {error}");
                self.gone = true;
            }
        }
    }

    /// Whether this stream of this session is for it.
    pub(crate) fn wants(&self, session: Serial, stream: Stream) -> bool {
        matches!(self.role, Role::Attached { session: to, stdout, stderr, .. }
            if to == session && if stream == Stream::Stdout { stdout } else { stderr })
    }

    pub(crate) fn is_attached_to(&self, session: Serial) -> bool {
        matches!(self.role, Role::Attached { session: to, .. } if to == session)
    }

    pub(crate) fn push(&mut self, bytes: &[u8], spill_in: &Path) {
        if !self.closing && !self.gone {
            self.queue.push(bytes, spill_in);
        }
    }

    /// Whether who produces for it should wait. One that has not read for long is cut instead.
    pub(crate) fn holds_up(&mut self) -> bool {
        if self.queue.is_stuck() {
            crate::note!("an attached client does not read: it is cut off");
            self.gone = true;
        }
        !self.gone && self.queue.is_full()
    }

    /// Sends what it takes now; closes it when that was the last.
    pub(crate) fn flush(&mut self) {
        if self.queue.send(&self.fd).is_err() {
            self.gone = true;
        }
        if self.closing && self.queue.is_empty() {
            self.gone = true;
        }
    }

    /// Closes it as soon as all is sent.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.flush();
    }
}

impl Drop for Peer {
    /// Unread input would make the kernel answer the peer's next read by ECONNRESET instead of the end.
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(self.fd.as_fd(), Shutdown::Both);
        let mut rest = [0; 4096];
        while rustix::io::read(&self.fd, &mut rest).is_ok_and(|n| n > 0) {}
    }
}
