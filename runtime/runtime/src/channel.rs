//! The one conversation between caller and init: a socket that closes when init becomes the user's program.
//!
//! caller → init: `g` go (the ids are yours; only with a user namespace) · `s` start · `k` the start comes by the door.
//! init → caller: `B` born, with my number and a pidfd (only into a user namespace of others) · `C` the terminal · `L` my seccomp listener, by number, then go · `H` call your hooks, then go, and my number · `R` ready, with warnings · `E` failed, with an exit code and one line · end of file.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::failure::Failure;

/// Longer messages are cut.
const LONGEST: usize = 4096;

const GO: u8 = b'g';
const START: u8 = b's';
const KEEP: u8 = b'k';
const BORN: u8 = b'B';
const CONSOLE: u8 = b'C';
const LISTENER: u8 = b'L';
const HOOKS: u8 = b'H';
const READY: u8 = b'R';
const FAILED: u8 = b'E';

/// A pair of connected sockets: the caller's and init's.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// What init said.
#[derive(Debug)]
pub(crate) enum Word {
    Ready {
        warnings: Vec<String>,
    },
    /// The terminal's master.
    Console(OwnedFd),
    /// Its filter is loaded; the listener has this number in init.
    Listener(RawFd),
    Failed(Failure),
    /// init was made by the process that entered a user namespace for it.
    Born {
        pid: i32,
        pidfd: OwnedFd,
    },
    /// It stands before pivot_root.
    Hooks,
    /// The socket was closed: by execve, or because init is dead.
    End,
}

/// Caller: the ids are mapped.
pub(crate) fn go(socket: BorrowedFd<'_>) -> io::Result<()> {
    send(socket, &[GO], None).map(drop)
}

/// Caller: the hooks are done; this is your number.
pub(crate) fn go_on(socket: BorrowedFd<'_>, pid: i32) -> io::Result<()> {
    send(socket, &pid.to_ne_bytes(), None).map(drop)
}

/// Caller: become the program.
pub(crate) fn start(socket: BorrowedFd<'_>) -> io::Result<()> {
    send(socket, &[START], None).map(drop)
}

/// Caller: I go, and somebody else will start you.
pub(crate) fn keep(socket: BorrowedFd<'_>) -> io::Result<()> {
    send(socket, &[KEEP], None).map(drop)
}

/// Waits until something can be read of a descriptor, and says whether it can.
pub(crate) fn is_readable_within(fd: BorrowedFd<'_>, seconds: i64) -> io::Result<bool> {
    let patience = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    Ok(retry_on_intr(|| poll(&mut fds, Some(&patience)))? > 0)
}

/// Caller: waits for init's next word.
pub(crate) fn hear(socket: BorrowedFd<'_>) -> io::Result<Word> {
    let mut text = vec![0; LONGEST];
    let (length, fd) = receive(socket, &mut text)?;
    Ok(match (&text[..length], fd) {
        ([READY, warnings @ ..], _) => {
            let warnings = String::from_utf8_lossy(warnings);
            Word::Ready { warnings: warnings.lines().map(str::to_owned).collect() }
        }
        ([CONSOLE], Some(console)) => Word::Console(console),
        ([LISTENER, a, b, c, d], _) => Word::Listener(RawFd::from_ne_bytes([*a, *b, *c, *d])),
        ([BORN, a, b, c, d], Some(pidfd)) => Word::Born { pid: i32::from_ne_bytes([*a, *b, *c, *d]), pidfd },
        ([HOOKS], _) => Word::Hooks,
        ([FAILED, exit_code, message @ ..], _) => Word::Failed(Failure {
            message: String::from_utf8_lossy(message).into_owned(),
            exit_code: *exit_code,
        }),
        _ => Word::End,
    })
}

/// Who entered a user namespace: there is init.
pub(crate) fn born(socket: BorrowedFd<'_>, pid: i32, pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let [a, b, c, d] = pid.to_ne_bytes();
    send(socket, &[BORN, a, b, c, d], Some(pidfd)).map(drop)
}

/// Init: waits for [`go`]. False when the caller is gone.
pub(crate) fn wait_go(socket: BorrowedFd<'_>) -> bool {
    wait(socket) == Some(GO)
}

/// Init: lets the caller call its hooks, and waits for [`go_on`].
pub(crate) fn call_hooks(socket: BorrowedFd<'_>) -> Option<i32> {
    send(socket, &[HOOKS], None).ok()?;
    let mut pid = [0; size_of::<i32>()];
    let length = retry_on_intr(|| rustix::io::read(socket.as_fd(), &mut pid)).ok()?;
    (length == pid.len()).then(|| i32::from_ne_bytes(pid))
}

/// What the caller lets init do once it is ready.
pub(crate) enum Order {
    Start,
    Keep,
    /// The caller is gone.
    End,
}

/// Init: waits for [`start`] or [`keep`].
pub(crate) fn wait_order(socket: BorrowedFd<'_>) -> Order {
    match wait(socket) {
        Some(START) => Order::Start,
        Some(KEEP) => Order::Keep,
        _ => Order::End,
    }
}

/// Init: the terminal's master.
pub(crate) fn console(socket: BorrowedFd<'_>, console: BorrowedFd<'_>) -> io::Result<()> {
    send(socket, &[CONSOLE], Some(console)).map(drop)
}

/// Init: gives its seccomp listener away, and waits for [`go`]. False when the caller is gone.
pub(crate) fn give_listener(socket: BorrowedFd<'_>, listener: RawFd) -> bool {
    let [a, b, c, d] = listener.to_ne_bytes();
    say(socket, &[LISTENER, a, b, c, d]).is_ok() && wait_go(socket)
}

/// Init: only execve is left to do.
pub(crate) fn ready(socket: BorrowedFd<'_>, warnings: &[String]) -> io::Result<()> {
    let mut text = vec![READY];
    text.extend_from_slice(warnings.join("\n").as_bytes());
    say(socket, &text)
}

/// Init: a step failed, and nothing follows.
pub(crate) fn failed(socket: BorrowedFd<'_>, failure: &Failure) {
    let mut text = vec![FAILED, failure.exit_code];
    text.extend_from_slice(failure.message.as_bytes());
    // Nobody is left to be told when the caller is gone.
    drop(say(socket, &text));
}

/// Init may have its filter already, and every profile lets it write(2).
fn say(socket: BorrowedFd<'_>, text: &[u8]) -> io::Result<()> {
    retry_on_intr(|| rustix::io::write(socket, &text[..text.len().min(LONGEST)]))?;
    Ok(())
}

pub(crate) fn send(socket: BorrowedFd<'_>, text: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let text = &text[..text.len().min(LONGEST)];
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::NOBUFS.into());
    }
    let sent = retry_on_intr(|| sendmsg(socket, &[IoSlice::new(text)], &mut ancillary, SendFlags::NOSIGNAL))?;
    Ok(sent)
}

/// Over a stream, whole, the descriptor with the first byte.
pub(crate) fn send_all(socket: BorrowedFd<'_>, text: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut sent = send(socket, text, Some(fd))?;
    while sent < text.len() {
        sent += send(socket, &text[sent..], None)?;
    }
    Ok(())
}

fn receive(socket: BorrowedFd<'_>, text: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut receive = || {
        retry_on_intr(|| {
            recvmsg(socket, &mut [IoSliceMut::new(text)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })
    };
    let length = match receive() {
        // A peer that ends with our word unread resets the connection, which is told before its last word.
        Err(Errno::CONNRESET) => receive()?.bytes,
        answer => answer?.bytes,
    };
    let mut received = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            received = fds.into_iter().next().or(received);
        }
    }
    Ok((length, received))
}

fn wait(socket: BorrowedFd<'_>) -> Option<u8> {
    let mut text = [0];
    matches!(retry_on_intr(|| rustix::io::read(socket.as_fd(), &mut text)), Ok(1)).then_some(text[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_crosses_whole_and_then_the_end() {
        let (ours, theirs) = pair().unwrap();
        let failure = Failure::exec("exec: \"x\": executable file not found in $PATH", 127);
        failed(theirs.as_fd(), &failure);
        drop(theirs);
        assert!(matches!(hear(ours.as_fd()).unwrap(), Word::Failed(heard) if heard == failure));
        assert!(matches!(hear(ours.as_fd()).unwrap(), Word::End));
    }

    #[test]
    fn a_failure_is_heard_from_who_did_not_wait_for_the_start() {
        let (ours, theirs) = pair().unwrap();
        start(ours.as_fd()).unwrap();
        failed(theirs.as_fd(), &Failure::exec("no", 126));
        drop(theirs);
        assert!(matches!(hear(ours.as_fd()).unwrap(), Word::Failed(heard) if heard.exit_code == 126));
        assert!(matches!(hear(ours.as_fd()).unwrap(), Word::End));
    }

    #[test]
    fn the_terminal_comes_before_ready() {
        let (ours, theirs) = pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        console(theirs.as_fd(), write.as_fd()).unwrap();
        ready(theirs.as_fd(), &["a".into(), "b".into()]).unwrap();
        let Word::Console(console) = hear(ours.as_fd()).unwrap() else { panic!() };
        let Word::Ready { warnings } = hear(ours.as_fd()).unwrap() else { panic!() };
        assert_eq!(warnings, ["a", "b"]);
        rustix::io::write(&console, b"x").unwrap();
        assert_eq!(rustix::io::read(&read, &mut [0; 4]).unwrap(), 1);
    }

    #[test]
    fn a_caller_that_is_gone_is_no_go() {
        let (ours, theirs) = pair().unwrap();
        drop(ours);
        assert!(!wait_go(theirs.as_fd()));
    }
}
