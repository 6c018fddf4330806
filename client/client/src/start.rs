//! Starts the daemon when nobody listens on the default socket.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Error, Result};

/// A daemon that has not said it is ready after so long is not coming.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Whether an error of connect(2) means that no daemon is there, rather than one that does not want us.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Starts a daemon that listens on `socket`, and returns when it does. Of several that try at the same time one starts
/// it, and the others wait for that one: they queue for a lock on a file beside the socket.
pub(crate) fn start(socket: &Path) -> Result<()> {
    let program = find_daemon().ok_or_else(|| failed("tared is neither beside tare nor in PATH"))?;
    let dir = socket.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .map_err(|e| failed(format!("{}: {e}", dir.display())))?;
    let lock = open_append(&dir.join("start.lock"))?;
    flock(&lock, FlockOperation::LockExclusive)
        .map_err(|e| failed(format!("lock of {}: {e}", dir.display())))?;
    if UnixStream::connect(socket).is_ok() {
        return Ok(());
    }
    let log = dir.join("tared.log");
    let notify = Notify::new(dir)?;
    let child = spawn(&program, socket, &log, &notify)?;
    notify.wait(child, &log)
}

fn failed(why: impl Into<String>) -> Error {
    Error::Start { why: why.into(), log: None }
}

/// `tared` beside this program, else the first in PATH.
fn find_daemon() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|me| Some(me.parent()?.join("tared")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("tared"));
    beside.into_iter().chain(in_path).find(|candidate| candidate.is_file())
}

fn open_append(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options.open(path).map_err(|e| failed(format!("{}: {e}", path.display())))
}

fn spawn(program: &Path, socket: &Path, log: &Path, notify: &Notify) -> Result<Child> {
    let out = open_append(log)?;
    let err = out.try_clone().map_err(|e| failed(e.to_string()))?;
    let mut command = Command::new(program);
    command.arg("--host").arg(format!("unix://{}", socket.display()));
    command.env("NOTIFY_SOCKET", &notify.path).current_dir("/");
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    // Out of the terminal's foreground, so that neither a Ctrl-C nor the terminal's end reaches it.
    command.process_group(0);
    command.spawn().map_err(|e| failed(format!("{}: {e}", program.display())))
}

/// A socket on which the daemon says that it is ready, as sd_notify(3) describes.
struct Notify {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notify {
    fn new(dir: &Path) -> Result<Self> {
        let path = dir.join(format!("start-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).map_err(|e| failed(format!("{}: {e}", path.display())))?;
        Ok(Self { socket, path })
    }

    /// Waits until the daemon is ready or has ended, whichever comes first.
    fn wait(&self, mut child: Child, log: &Path) -> Result<()> {
        let with_log = |why: String| Error::Start { why, log: Some(log.to_owned()) };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| with_log("it has no process id".into()))?;
        let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| with_log(e.to_string()))?;
        loop {
            let mut fds = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, Some(&PATIENCE)) {
                Ok(0) => return Err(with_log("it did not get ready within 60 seconds".into())),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(with_log(error.to_string())),
            }
            if fds[0].revents().contains(PollFlags::IN) && self.says_ready() {
                return Ok(());
            }
            if fds[1].revents().contains(PollFlags::IN) {
                let status = child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
                return Err(with_log(format!("it ended before it was ready ({status}){}", last_line(log))));
            }
        }
    }

    fn says_ready(&self) -> bool {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap_or(0);
        message[..length].split(|b| *b == b'\n').any(|line| line == b"READY=1")
    }
}

impl Drop for Notify {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The last thing the daemon said, for the error's text.
fn last_line(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .map(|line| format!(": {line}"))
        .unwrap_or_default()
}
