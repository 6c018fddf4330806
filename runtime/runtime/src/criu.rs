//! criu as a servant for one request: `criu swrk FD`, and messages over that socket (criu's images/rpc.proto).

mod message;

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg,
};
use tare_sys::fd::keep_on_exec;

use crate::channel;
use crate::error::{Error, Result};
use crate::failure::Failure;

pub(crate) use message::Message;

/// What is asked of criu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
}

const NOTIFY: u64 = 6;

/// Fields of criu_req and criu_resp.
mod names {
    pub(super) const TYPE: u32 = 1;
    pub(super) const OPTIONS: u32 = 2;
    pub(super) const SUCCESS: u32 = 2;
    pub(super) const NOTIFY_SUCCESS: u32 = 3;
    pub(super) const RESTORED: u32 = 4;
    pub(super) const NOTIFIED: u32 = 5;
    pub(super) const ERRNO: u32 = 7;
}

/// criu tells of a moment: its name, the process that it is about, and perhaps a descriptor.
pub(crate) struct Moment<'a> {
    pub(crate) name: &'a str,
    pub(crate) pid: i32,
    pub(crate) fd: Option<OwnedFd>,
}

/// A criu that waits for its request.
#[derive(Debug)]
pub(crate) struct Criu {
    socket: OwnedFd,
    child: Child,
}

/// criu ends when nobody talks to it any more.
impl Drop for Criu {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

impl Criu {
    /// Starts it. It inherits `fds` under their numbers, and the standard streams if `streams` is set.
    pub(crate) fn start(program: &str, fds: &[&OwnedFd], streams: bool) -> Result<Self> {
        let (ours, theirs) = channel::pair().map_err(|e| Error::step("make a socket", e))?;
        for fd in fds.iter().copied().chain([&theirs]) {
            keep_on_exec(fd.as_raw_fd()).map_err(|e| Error::step("pass a descriptor on", e))?;
        }
        let stream = || if streams { Stdio::inherit() } else { Stdio::null() };
        let mut command = Command::new(program);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let child = command.spawn().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                let rule =
                    format!("cannot run {program}: no such program: install criu, or name it with --criu");
                Failure::rule(rule).into()
            }
            _ => Error::step(&format!("run {program}"), e),
        })?;
        Ok(Self { socket: ours, child })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Asks, and answers what criu wants to be told meanwhile; returns the number of the process that was restored, or 0.
    pub(crate) fn ask(
        &mut self,
        request: Request,
        options: &Message,
        mut at: impl FnMut(Moment<'_>) -> Result<()>,
    ) -> Result<i32> {
        let mut asked = Message::default();
        asked.number(names::TYPE, request as u64);
        asked.message(names::OPTIONS, options);
        self.send(&asked)?;
        loop {
            let (answer, fd) = self.receive()?;
            if message::number(&answer, names::TYPE) == Some(NOTIFY) {
                let notified = message::bytes(&answer, names::NOTIFIED).unwrap_or_default();
                let name = String::from_utf8_lossy(message::bytes(notified, 1).unwrap_or_default());
                let pid = message::number(notified, 2).unwrap_or_default() as i32;
                at(Moment { name: &name, pid, fd })?;
                let mut go_on = Message::default();
                go_on.number(names::TYPE, NOTIFY);
                go_on.flag(names::NOTIFY_SUCCESS, true);
                self.send(&go_on)?;
                continue;
            }
            if message::number(&answer, names::SUCCESS) == Some(1) {
                let restored = message::bytes(&answer, names::RESTORED).unwrap_or_default();
                return Ok(message::number(restored, 1).unwrap_or_default() as i32);
            }
            return Err(Failure::rule(complaint(request, &answer)).into());
        }
    }

    fn send(&self, message: &Message) -> Result<()> {
        let mut nothing = SendAncillaryBuffer::default();
        let text = [IoSlice::new(message.bytes())];
        retry_on_intr(|| sendmsg(&self.socket, &text, &mut nothing, SendFlags::NOSIGNAL))
            .map(drop)
            .map_err(|e| if e == Errno::PIPE { ended() } else { Error::step("talk to criu", e) })
    }

    fn receive(&self) -> Result<(Vec<u8>, Option<OwnedFd>)> {
        let mut text = vec![0; 1 << 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let heard = retry_on_intr(|| {
            let mut place = [IoSliceMut::new(&mut text)];
            recvmsg(self.socket.as_fd(), &mut place, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        });
        let length = match heard {
            // It was gone before it read what was asked.
            Err(Errno::CONNRESET) => 0,
            heard => heard.map_err(|e| Error::step("hear from criu", e))?.bytes,
        };
        if length == 0 {
            return Err(ended());
        }
        text.truncate(length);
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok((text, fd))
    }
}

fn ended() -> Error {
    Failure::rule("criu ended without an answer").into()
}

/// In the words that engines look for.
fn complaint(request: Request, answer: &[u8]) -> String {
    let name = match request {
        Request::Dump => "DUMP",
        Request::Restore => "RESTORE",
        Request::PreDump => "PRE_DUMP",
    };
    let errno = message::number(answer, names::ERRNO).unwrap_or(0);
    format!("criu failed: type {name} errno {errno}")
}

/// The name of criu's log in its working directory.
pub(crate) fn log_name(request: Request) -> &'static str {
    if request == Request::Restore { "restore.log" } else { "dump.log" }
}

/// Says where criu's log is, and what it complained about last.
pub(crate) fn point_to_log(error: Error, request: Request, dir: &Path) -> Error {
    let path = dir.join(log_name(request));
    match error {
        Error::Step(text) => {
            let said = last_complaint(&path).map(|said| format!(": {said}")).unwrap_or_default();
            Error::Step(format!("{text}{said} (log file: {})", path.display()))
        }
        other => other,
    }
}

/// Logs are as long as they like.
const LONGEST_LOG: u64 = 16 << 20;

fn last_complaint(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(LONGEST_LOG).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rfind(|line| line.contains("Error ("))?;
    line.split_once("): ").map(|(_, said)| said.trim().to_owned())
}
