//! The container's life: made, started, ended, cleaned up after.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::process::{Signal, pidfd_send_signal};
use tare_cgroup::{Cgroup, Hierarchies, OomWatch};
use tare_model::Timestamp;
use tare_oci::runtime::Spec;
use tare_runtime::Created;

use crate::error::{Error, Result};
use crate::session::{Session, Streams};
use tare_protocol::{Exit, Launch, Phase};

/// Init, as far as it is.
#[derive(Debug)]
pub(crate) enum Init {
    /// Not made.
    Absent,
    /// It prepares itself, or waits for the start.
    Created(Box<Created>),
    /// The program runs.
    Running(OwnedFd),
}

/// The container, without its streams.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) bundle: PathBuf,
    pub(crate) seccomp_cache: Option<PathBuf>,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) oom: Option<OomWatch>,
    pub(crate) oom_kills: u64,
    pub(crate) init: Init,
    pub(crate) phase: Phase,
    pub(crate) pid: Option<i32>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) paused: bool,
    pub(crate) failed: Option<(String, u8)>,
    pub(crate) exit: Option<Exit>,
}

/// Why the container could not be made or started, and what `docker run` would exit with.
pub(crate) type Failure = (String, u8);

pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

fn of_runtime(error: &tare_runtime::Error) -> Failure {
    (error.to_string(), error.exit_code())
}

fn of_cgroup(error: &tare_cgroup::Error) -> Failure {
    (error.to_string(), 125)
}

/// config.json. It is read again for every exec: kept, it would be the shim's largest possession.
pub(crate) fn read_spec(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let bytes = fs::read(&path).map_err(|e| Error::file("read", &path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::file("read", &path, std::io::Error::from(e)))
}

impl Container {
    pub(crate) fn new(launch: &Launch) -> Self {
        Self {
            bundle: launch.bundle.clone(),
            seccomp_cache: launch.seccomp_cache.clone(),
            cgroup: None,
            oom: None,
            oom_kills: 0,
            init: Init::Absent,
            phase: Phase::Creating,
            pid: None,
            started_at: None,
            paused: false,
            failed: None,
            exit: None,
        }
    }

    /// Makes the cgroup and clones init, which prepares itself from here on. What is half made at a failure is
    /// undone by [`Container::clean_up`].
    pub(crate) fn create(&mut self, launch: &Launch) -> std::result::Result<Session, Failure> {
        let spec = read_spec(&launch.bundle).map_err(|e| (e.to_string(), 125))?;
        let hierarchies = Hierarchies::detect().map_err(|e| of_cgroup(&e))?;
        let cgroup = Cgroup::create(&hierarchies, Path::new(&launch.cgroup)).map_err(|e| of_cgroup(&e))?;
        let cgroup = self.cgroup.insert(cgroup);
        if let Some(resources) = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref()) {
            cgroup.apply(resources).map_err(|e| of_cgroup(&e))?;
        }
        let process = spec.process.clone().unwrap_or_default();
        let streams =
            Streams::new(&process, launch.open_stdin, true).map_err(|e| (format!("make pipes: {e}"), 125))?;
        let created = tare_runtime::clone_init(tare_runtime::Launch {
            id: &launch.id,
            bundle: &launch.bundle,
            spec: &spec,
            rootfs: &launch.rootfs,
            stdio: streams.theirs,
            seccomp_cache: launch.seccomp_cache.as_deref(),
            cgroup: Some(cgroup),
            preserve_fds: 0,
            door: None,
            relaxed: tare_runtime::Relaxed::default(),
        });
        let created = created.map_err(|e| of_runtime(&e))?;
        let mut session = Session::new(0, None, streams.stdin, streams.outputs);
        session.stdin_once = launch.stdin_once;
        session.pid = created.pid;
        self.pid = Some(created.pid);
        self.init = Init::Created(Box::new(created));
        // Init mounts meanwhile. Without the watch the killings are still counted, at the end.
        self.oom = self.cgroup.as_ref().and_then(|cgroup| cgroup.watch_oom().ok().flatten());
        Ok(session)
    }

    /// Readable when init is ready or has failed.
    pub(crate) fn sync_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.init {
            Init::Created(created) if self.phase == Phase::Creating => Some(created.sync_fd()),
            _ => None,
        }
    }

    /// Init has reported.
    pub(crate) fn ready(&mut self) -> std::result::Result<(), Failure> {
        let Init::Created(created) = &mut self.init else { return Ok(()) };
        created.ready().map_err(|e| of_runtime(&e))?;
        self.phase = Phase::Ready;
        Ok(())
    }

    /// Lets init execute the program, and returns the terminal if it has one.
    pub(crate) fn start(&mut self) -> std::result::Result<Option<OwnedFd>, Failure> {
        let Init::Created(created) = std::mem::replace(&mut self.init, Init::Absent) else { return Ok(None) };
        let running = created.start().map_err(|e| of_runtime(&e))?;
        running.warnings.iter().for_each(|warning| crate::note!("{warning}"));
        self.init = Init::Running(running.pidfd);
        self.phase = Phase::Running;
        self.started_at = Some(now());
        Ok(running.console)
    }

    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.init {
            Init::Absent => None,
            Init::Created(created) => Some(created.pidfd.as_fd()),
            Init::Running(pidfd) => Some(pidfd.as_fd()),
        }
    }

    /// Kills init and, with it, all that is in its pid namespace; what follows is told by SIGCHLD.
    pub(crate) fn kill_init(&self) {
        if let Some(pidfd) = self.pidfd() {
            // It may be a zombie already: then there is nothing to do.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }

    /// Whether a process was ended by the kernel since the last question.
    pub(crate) fn new_oom_kills(&mut self) -> bool {
        let kills = self.cgroup.as_ref().and_then(|cgroup| cgroup.oom_kills().ok()).unwrap_or(0);
        kills > std::mem::replace(&mut self.oom_kills, kills)
    }

    /// Kills whatever is left in the group.
    pub(crate) fn kill_rest(&self) {
        if let Some(Err(error)) = self.cgroup.as_ref().map(Cgroup::kill) {
            crate::note!("{error}");
        }
    }

    /// Removes the group.
    pub(crate) fn clean_up(&mut self) {
        self.oom = None;
        self.init = Init::Absent;
        if let Some(Err(error)) = self.cgroup.take().as_ref().map(Cgroup::remove) {
            crate::note!("{error}");
        }
    }

    /// Writes `exit.json`, whole or not at all.
    pub(crate) fn record(&self, dir: &Path, exit: &Exit) -> Result<()> {
        let (temporary, path) = (dir.join("exit.json.tmp"), dir.join("exit.json"));
        let bytes =
            serde_json::to_vec(exit).map_err(|e| Error::file("write", &path, std::io::Error::from(e)))?;
        fs::write(&temporary, bytes).map_err(|e| Error::file("write", &temporary, e))?;
        fs::rename(&temporary, &path).map_err(|e| Error::file("write", &path, e))
    }
}
