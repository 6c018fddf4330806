//! A run of a container: the shim's process, its directory and the connection that tells what happens.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_send_signal};
use tare_model::Id;
use tare_protocol::{Event, Exit, Request, Response};
use tare_sys::spawn::FIRST_FD;

use crate::attachment::Joined;
use crate::error::Step;
use crate::options::AttachOptions;
use crate::shim::{self, Watch};
use crate::{Error, Result};

/// How long a shim that was told to end its container may take before it is killed itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// One run.
pub(crate) struct Run {
    pub container: Id,
    pub dir: PathBuf,
    pub watch: Watch,
    /// Our child; absent when an earlier daemon started it.
    pub shim: Option<i32>,
}

impl Run {
    pub(crate) async fn next_event(&mut self) -> Result<Option<Event>> {
        self.watch.next().await
    }

    pub(crate) async fn ask(&self, request: &Request) -> Result<Response> {
        shim::ask(&self.container, &self.dir, request).await
    }

    pub(crate) async fn attach(&self, options: AttachOptions) -> Result<Joined> {
        attach(&self.container, &self.dir, None, options).await
    }

    /// Ends the container, whatever state it is in, and waits for its shim to have cleaned up.
    pub(crate) async fn abort(mut self) {
        if tokio::time::timeout(PATIENCE, self.end()).await.is_err() {
            self.end_by_force().await;
        }
        let _ = tokio::time::timeout(PATIENCE, reap(self.shim)).await;
    }

    async fn end(&mut self) {
        let _ = self.ask(&Request::Kill { session: None, signal: Signal::KILL.as_raw(), all: true }).await;
        while let Ok(Some(_)) = self.watch.next().await {}
    }

    /// Kills a shim that does not answer, and its container: the end of the watch is what tells of it.
    pub(crate) async fn end_by_force(&self) {
        tracing::warn!(container = %self.container, "the shim does not answer: it is killed, and its container with it");
        let of_others = || self.watch.shim(&self.dir);
        kill(self.shim.and_then(child).or_else(of_others), &self.dir).await;
    }

    /// Lets the shim finish by itself, as it feeds attached clients to the last byte, and collects it.
    pub(crate) fn let_go(mut self) {
        tokio::spawn(async move {
            while let Ok(Some(_)) = self.watch.next().await {}
            reap(self.shim).await;
        });
    }
}

/// Our own child, which is there until it is reaped.
fn child(pid: i32) -> Option<OwnedFd> {
    rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Kills the shim of `dir` and what is in its group. A program that it could not start may have its descriptors: as long as
/// that lives, nobody sees their end.
pub(crate) async fn kill(shim: Option<OwnedFd>, dir: &Path) {
    if let Some(shim) = shim {
        let _ = pidfd_send_signal(shim, Signal::KILL);
    }
    if let Some(cgroup) = cgroup_of(dir) {
        let _ = tokio::task::spawn_blocking(move || sweep(&cgroup)).await;
    }
}

/// Joins the streams of the container's program, or of an exec session.
pub(crate) async fn attach(
    container: &Id,
    dir: &Path,
    session: Option<&Id>,
    options: AttachOptions,
) -> Result<Joined> {
    let AttachOptions { stdin, stdout, stderr } = options;
    let session = session.map(ToString::to_string);
    let connection = shim::connect(container, dir).await?;
    let (stream, received) = connection.attach(&Request::Attach { session, stdin, stdout, stderr }).await?;
    Ok(Joined { stream, received })
}

/// Starts `tare-runtime shim <dir>` with its socket and the container's reserved ports: its process, and the first
/// connection to it. Blocks until the program runs, a fraction of a millisecond.
pub(crate) fn spawn_shim(runtime: BorrowedFd, dir: &Path, reserved: &[OwnedFd]) -> Result<(i32, UnixStream)> {
    let (listener, stream) = shim::bind(dir)?;
    let log = File::create(dir.join("shim.log")).step(|| format!("create {}/shim.log", dir.display()))?;
    let text = |bytes: &[u8]| {
        CString::new(bytes).map_err(|_| Error::State(format!("{} holds a zero byte", dir.display())))
    };
    let fds: Vec<BorrowedFd> =
        std::iter::once(listener.as_fd()).chain(reserved.iter().map(AsFd::as_fd)).collect();
    // Above every number that the child's descriptors get, so that none of them takes its place before execve.
    let lifted = rustix::io::fcntl_dupfd_cloexec(runtime, FIRST_FD + fds.len() as RawFd);
    let runtime = lifted.step(|| "lift the runtime's descriptor".to_owned())?;
    let program = tare_sys::spawn::Program {
        path: &text(format!("/proc/self/fd/{}", runtime.as_raw_fd()).as_bytes())?,
        args: &[c"tare-runtime".to_owned(), c"shim".to_owned(), text(dir.as_os_str().as_bytes())?],
        env: &environment(),
        stdout: None,
        stderr: log.as_fd(),
        fds: &fds,
    };
    let pid = tare_sys::spawn::spawn(&program).step(|| "start tare-runtime".to_owned())?;
    Ok((pid, stream))
}

/// What the shim needs of our environment: nothing but what helps to find a fault in it.
fn environment() -> Vec<CString> {
    let kept = ["RUST_BACKTRACE"];
    let set =
        |name: &&str| std::env::var(name).ok().and_then(|value| CString::new(format!("{name}={value}")).ok());
    kept.iter().filter_map(set).collect()
}

/// Collects our child once it has ended, so that it does not stay as a zombie.
pub(crate) async fn reap(shim: Option<i32>) {
    let Some(pid) = shim.and_then(Pid::from_raw) else { return };
    let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) else { return };
    let Ok(pidfd) = crate::readiness::watch(pidfd) else { return };
    let _ = pidfd.readable().await;
    let _ = rustix::process::waitid(
        WaitId::PidFd(pidfd.get_ref().as_fd()),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    );
}

/// Ends what is left of a container whose shim was killed, and removes its control group. Blocking.
pub(crate) fn sweep(cgroup: &str) {
    let hierarchies = tare_cgroup::Hierarchies::detect();
    let swept =
        hierarchies.and_then(|hierarchies| tare_cgroup::Cgroup::sweep(&hierarchies, Path::new(cgroup)));
    if let Err(error) = swept {
        tracing::warn!("cannot remove the control group {cgroup}: {error}");
    }
}

/// The control group that the shim of `dir` was told to use.
pub(crate) fn cgroup_of(dir: &Path) -> Option<String> {
    let launch: tare_protocol::Launch =
        serde_json::from_slice(&std::fs::read(dir.join("launch.json")).ok()?).ok()?;
    Some(launch.cgroup)
}

/// How the container of `dir` ended, as its shim left it.
pub(crate) fn read_exit(dir: &Path) -> Option<Exit> {
    serde_json::from_slice(&std::fs::read(dir.join("exit.json")).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program must be found whichever numbers the child's sockets get.
    #[test]
    fn a_shim_starts_however_many_ports_it_keeps() {
        tare_sys::descriptors::raise().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let program = File::open("/bin/true").unwrap();
        let null = File::open("/dev/null").unwrap();
        let ports: Vec<OwnedFd> = (0..5000).map(|_| null.try_clone().unwrap().into()).collect();
        // Where the first of the ports, one in their midst, and the last will be.
        for number in [4, 4096, 5003] {
            let runtime = rustix::io::fcntl_dupfd_cloexec(&program, number).unwrap();
            let (pid, _stream) = spawn_shim(runtime.as_fd(), dir.path(), &ports).unwrap();
            let (_, status) =
                rustix::process::waitpid(Pid::from_raw(pid), rustix::process::WaitOptions::empty())
                    .unwrap()
                    .unwrap();
            assert_eq!(status.exit_status(), Some(0));
            std::fs::remove_file(dir.path().join("shim.sock")).unwrap();
        }
    }
}
