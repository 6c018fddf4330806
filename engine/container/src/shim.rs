//! Speaks with a container's shim over its socket.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tare_model::Id;
use tare_protocol::{self as protocol, Event, Request, Response, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::error::Step;
use crate::{Error, Result};

/// The socket's name in the container's directory.
const SOCKET: &str = "shim.sock";

/// How long an answer may take. The longest that a shim does meanwhile takes it 10 s: to give up a program that does not
/// come to run, or a group that does not freeze.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection over which one request follows the other.
pub(crate) struct Connection {
    container: Id,
    stream: UnixStream,
    received: BytesMut,
}

/// The connection over which the shim tells what happens.
pub(crate) struct Watch(Connection);

/// A path to the socket that is short enough for sun_path, however long the directory's is: unix(7) takes 107 bytes.
fn short_path(dir: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", fd.as_raw_fd()).into();
    Ok((fd, path))
}

/// Binds the socket that the shim of `dir` will accept on, and connects to it: a shim that fails before it was ever asked
/// for anything still answers those who came before its end.
pub(crate) fn bind(dir: &Path) -> Result<(UnixListener, std::os::unix::net::UnixStream)> {
    let (_dir, path) = short_path(dir).step(|| format!("open {}", dir.display()))?;
    let listener = UnixListener::bind(&path).step(|| format!("bind {}/{SOCKET}", dir.display()))?;
    let stream = std::os::unix::net::UnixStream::connect(&path)
        .and_then(|stream| stream.set_nonblocking(true).map(|()| stream))
        .step(|| format!("connect to {}/{SOCKET}", dir.display()))?;
    Ok((listener, stream))
}

/// Connects to the shim of `dir`.
pub(crate) async fn connect(container: &Id, dir: &Path) -> Result<Connection> {
    let lost = |error: io::Error| Error::ShimLost(container.clone(), error.to_string());
    let (_dir, path) = short_path(dir).map_err(lost)?;
    let stream = UnixStream::connect(path).await.map_err(lost)?;
    Ok(Connection::over(container, stream))
}

/// One request over a connection of its own. [`Error::NotRunning`] from a shim that has ended, as it does with its program.
pub(crate) async fn ask(container: &Id, dir: &Path, request: &Request) -> Result<Response> {
    let asked = match connect(container, dir).await {
        Ok(mut connection) => connection.ask(request).await,
        Err(error) => Err(error),
    };
    match asked {
        Err(Error::ShimLost(id, _)) if has_ended(dir).await => Err(Error::NotRunning(id)),
        asked => asked,
    }
}

/// Whether nobody listens any more, which is another thing than to be unable to ask.
async fn has_ended(dir: &Path) -> bool {
    let connected = match short_path(dir) {
        Ok((_dir, path)) => UnixStream::connect(path).await.map(drop),
        Err(error) => Err(error),
    };
    connected.is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
    })
}

impl Connection {
    pub(crate) fn over(container: &Id, stream: UnixStream) -> Self {
        Self { container: container.clone(), stream, received: BytesMut::new() }
    }

    /// Sends a request and reads its answer; an error answer is an error, and so is none for long.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<Response> {
        match tokio::time::timeout(PATIENCE, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.lost(format!("it did not answer within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn exchange(&mut self, request: &Request) -> Result<Response> {
        let bytes = protocol::encode(request).map_err(|error| self.lost(error))?;
        self.stream.write_all(&bytes).await.map_err(|error| self.lost(error))?;
        match self.receive().await? {
            Some(Response::Error { message, kind, exit_code: Some(code) })
                if kind != tare_model::Kind::Internal || code != 125 =>
            {
                Err(Error::Start { message, exit_code: code.into() })
            }
            Some(Response::Error { message, kind, .. }) => Err(Error::Shim { message, kind }),
            Some(response) => Ok(response),
            None => Err(self.lost("it hung up")),
        }
    }

    /// The shim of `dir`, if it is who answers here. The kernel tells who called listen(2), by a number that may have become
    /// another's, so the process is asked for its words as well.
    pub(crate) fn shim(&self, dir: &Path) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.stream.peer_cred().ok()?.pid()?)?;
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let wanted = [b"tare-runtime\0shim\0", dir.as_os_str().as_bytes(), b"\0"].concat();
        (words == wanted).then_some(process)
    }

    /// Turns the connection into the one that events come over, with the state at this moment.
    pub(crate) async fn watch(mut self) -> Result<(Watch, State)> {
        match self.ask(&Request::Watch).await? {
            Response::State(state) => Ok((Watch(self), state)),
            other => Err(self.lost(format!("it answered {other:?} instead of its state"))),
        }
    }

    /// Turns the connection into a raw stream. What was received beyond the answer comes with it.
    pub(crate) async fn attach(mut self, request: &Request) -> Result<(UnixStream, BytesMut)> {
        self.ask(request).await?;
        Ok((self.stream, self.received))
    }

    /// The next message; nothing at the end. May be dropped at any time without losing a byte.
    async fn receive(&mut self) -> Result<Option<Response>> {
        loop {
            if let Some((message, used)) =
                protocol::decode(&self.received).map_err(|error| self.lost(error))?
            {
                self.received.advance(used);
                return Ok(Some(message));
            }
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    fn lost(&self, why: impl std::fmt::Display) -> Error {
        Error::ShimLost(self.container.clone(), why.to_string())
    }
}

impl Watch {
    /// [`Connection::shim`].
    pub(crate) fn shim(&self, dir: &Path) -> Option<OwnedFd> {
        self.0.shim(dir)
    }

    /// The next event; nothing when the shim has ended. Safe to drop at any time.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            match self.0.receive().await? {
                Some(Response::Event(event)) => return Ok(Some(event)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shim_that_has_ended_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let id = Id::from_random([1; 32]);
        let not_running = |asked| matches!(asked, Err(Error::NotRunning(_)));
        assert!(not_running(ask(&id, &dir.path().join("none"), &Request::Pause).await));
        let (listener, first) = bind(dir.path()).unwrap();
        drop(listener.accept().unwrap());
        drop(first);
        let ending = tokio::task::spawn_blocking(move || {
            let (asker, _) = listener.accept().unwrap();
            drop(listener);
            drop(asker);
        });
        // A program that another test starts at this moment has the listener until it is executed.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !not_running(ask(&id, dir.path(), &Request::Pause).await) {
            assert!(tokio::time::Instant::now() < deadline, "it hung up and was gone");
        }
        ending.await.unwrap();
        assert!(not_running(ask(&id, dir.path(), &Request::Pause).await), "its socket is still there");
        std::fs::remove_file(dir.path().join(SOCKET)).unwrap();
        let (listener, _first) = bind(dir.path()).unwrap();
        drop(listener.accept().unwrap());
        let mute = tokio::task::spawn_blocking(move || (drop(listener.accept()), listener));
        assert!(matches!(ask(&id, dir.path(), &Request::Pause).await, Err(Error::ShimLost(..))), "it lives");
        drop(mute.await.unwrap());
    }
}
