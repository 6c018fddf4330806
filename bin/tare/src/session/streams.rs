//! Bytes between our own descriptors and a connection.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tare_client::{Answer, Frames, Hijacked, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::detach::DetachKeys;
use crate::failure::{Failure, Result};

/// Why copying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    Output,
    Detached,
}

const CHUNK: usize = 32 << 10;

/// Copies both ways. The end of our input closes the process's input alone; the end of its output ends it all.
pub(super) async fn copy(
    hijacked: Hijacked,
    stdin: bool,
    tty: bool,
    keys: &mut DetachKeys,
) -> Result<Copied> {
    let (reader, writer) = tokio::io::split(hijacked.io);
    let input = async {
        if stdin {
            send_input(writer, tty.then_some(keys)).await
        } else {
            let _open = writer;
            std::future::pending().await
        }
    };
    tokio::select! {
        biased;
        output = receive(reader, tty) => output.map(|()| Copied::Output),
        detached = input => Ok(detached),
    }
}

/// Sends what we read until the person leaves. After the end of input, or when nobody wants it, there is nothing to do.
async fn send_input(mut writer: impl AsyncWrite + Unpin, mut keys: Option<&mut DetachKeys>) -> Copied {
    let mut typed = read_stdin();
    while let Some(bytes) = typed.recv().await {
        let (bytes, detached) = match &mut keys {
            Some(keys) => keys.pass(&bytes),
            None => (bytes, false),
        };
        if !bytes.is_empty() && writer.write_all(&bytes).await.is_err() {
            break;
        }
        if detached {
            return Copied::Detached;
        }
    }
    let _ = writer.shutdown().await;
    std::future::pending().await
}

/// Reads standard input on a thread of its own: it may be a terminal, a pipe or a file, is shared with other programs and
/// must stay blocking for them.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    let read = move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; CHUNK];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) if sender.blocking_send(buffer[..length].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    };
    // Without a thread there is no input, as if it had ended at once.
    let _ = std::thread::Builder::new().name("stdin".into()).spawn(read);
    receiver
}

async fn receive(mut reader: impl AsyncRead + Unpin, tty: bool) -> Result<()> {
    let mut output = Output::new(tty);
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(length) => output.write(&buffer[..length]).await?,
            Err(error) => {
                return Err(Failure::new(format!("the connection to the container broke: {error}")));
            }
        }
    }
}

/// Copies a log.
pub(crate) async fn copy_log(mut answer: Answer, tty: bool) -> Result<()> {
    let mut output = Output::new(tty);
    while let Some(bytes) = answer.chunk().await? {
        output.write(&bytes).await?;
    }
    Ok(())
}

/// Where a process's output goes.
struct Output {
    frames: Option<Frames>,
}

impl Output {
    fn new(tty: bool) -> Self {
        Self { frames: (!tty).then(Frames::new) }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(frames) = &mut self.frames else { return write(&io::stdout(), bytes).await };
        let mut rest = bytes;
        while let Some(piece) = frames.next(&mut rest) {
            match piece.map_err(|error| Failure::new(error.to_string()))? {
                (Stream::Stdin | Stream::Stdout, bytes) => write(&io::stdout(), bytes).await?,
                (Stream::Stderr | Stream::System, bytes) => write(&io::stderr(), bytes).await?,
            }
        }
        Ok(())
    }
}

/// A pipe that poll(2) calls writable takes so much without blocking (pipe(7)).
const PIPE_BUF: usize = 4096;

/// Writes everything, and leaves the thread to others while the reader of a full pipe sleeps: signals and input go on.
async fn write(to: &impl AsFd, bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        if !is_writable(to.as_fd(), true) {
            let copy = to.as_fd().try_clone_to_owned()?;
            let wait = move || is_writable(copy.as_fd(), false);
            tokio::task::spawn_blocking(wait).await.map_err(|error| Failure::new(error.to_string()))?;
        }
        match rustix::io::write(to, &rest[..rest.len().min(PIPE_BUF)]) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether a write would not block; with `now` as it stands, otherwise once it is so. Errors show in the write.
fn is_writable(fd: BorrowedFd<'_>, now: bool) -> bool {
    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        match poll(&mut fds, now.then_some(&AT_ONCE)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}
