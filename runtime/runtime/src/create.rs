//! The caller's side of a container's beginning.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use tare_cgroup::Cgroup;
use tare_oci::runtime::Spec;
use tare_sys::clone::{self, Cloned};
use tare_sys::namespace;

use crate::channel::{self, Word};
use crate::error::{Error, Result};
use crate::hooks::Occasions;
use crate::init::{self, Init};
use crate::plan;
use crate::seccomp::{self, Filter};
use crate::sources::Sources;
use crate::{Created, Launch, Running};

pub(crate) fn clone_init(launch: Launch<'_>) -> Result<Created> {
    let plan = plan::plan(launch.spec, launch.bundle)?;
    let filter = filter(launch.spec, launch.seccomp_cache)?;
    let sources = Sources::open(&plan, launch.rootfs, launch.cgroup)?;
    let hooks = Occasions::of(launch.spec, launch.id, launch.bundle)?;
    let entrance = launch.cgroup.map(Cgroup::entrance).transpose()?;
    let (ours, theirs) = channel::pair().map_err(|e| Error::step("make a socket", e))?;
    let joined = Joined::enter(&plan.namespaces.joined)?;
    let cgroup = launch.cgroup.and_then(Cgroup::v2_dir);
    let cloned = clone::clone3(plan.namespaces.new, cgroup).map_err(|e| Error::step("clone init", e));
    if let Ok(Cloned::Child) = cloned {
        let Launch { stdio, preserve_fds, door, .. } = launch;
        let (filter, hooks) = (filter.as_ref(), hooks.as_ref());
        let init = Init { plan: &plan, entrance, sources, filter, stdio, preserve_fds, door, hooks };
        init::run(init, &theirs);
    }
    // The way back comes before everything else: this process lives on.
    joined.leave()?;
    let Cloned::Parent { pid, pidfd } = cloned? else { unreachable!("the child never returns") };
    let mut created = Created { pid, pidfd, console: None, warnings: Vec::new(), socket: ours, hooks };
    admit(&mut created, &plan).inspect_err(|_| end(created.pidfd.as_fd()))?;
    Ok(created)
}

pub(crate) fn filter(spec: &Spec, cache: Option<&std::path::Path>) -> Result<Option<Filter>> {
    let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    profile.map(|profile| seccomp::load_or_compile(cache, profile)).transpose().map_err(Error::Seccomp)
}

/// Gives init what only the caller can: a rank before the out-of-memory killer, and ids, which init waits for.
fn admit(created: &mut Created, plan: &plan::InitPlan) -> Result<()> {
    created.warnings.extend(rank(created.pid, &plan.process)?);
    let Some(maps) = &plan.namespaces.id_maps else { return Ok(()) };
    let proc = PathBuf::from(format!("/proc/{}", created.pid));
    fs::write(proc.join("uid_map"), &maps.uid).map_err(|e| Error::step("map user ids", e))?;
    fs::write(proc.join("gid_map"), &maps.gid).map_err(|e| Error::step("map group ids", e))?;
    channel::go(created.socket.as_fd()).map_err(|e| Error::step("talk to init", e))
}

/// Sets oom_score_adj. Without CAP_SYS_RESOURCE it cannot be lowered, which is a warning.
pub(crate) fn rank(pid: i32, process: &plan::ProcessPlan) -> Result<Option<String>> {
    let Some(score) = process.oom_score_adj else { return Ok(None) };
    match fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string()) {
        Ok(()) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            Ok(Some(format!("oom_score_adj {score} is not set: lowering it needs CAP_SYS_RESOURCE")))
        }
        Err(e) => Err(Error::step("set oom_score_adj", e)),
    }
}

pub(crate) fn ready(created: &mut Created) -> Result<()> {
    let error = match hear(created) {
        Ok(Word::Ready { warnings, console }) => {
            created.warnings.extend(warnings);
            created.console = console;
            return Ok(());
        }
        Ok(Word::Failed(failure)) => failure.into(),
        Ok(Word::End | Word::Hooks) => Error::Died,
        Err(e) => e,
    };
    end(created.pidfd.as_fd());
    Err(error)
}

/// init's next word, after the hooks that it wants called.
fn hear(created: &Created) -> Result<Word> {
    let socket = created.socket.as_fd();
    let word = channel::hear(socket).map_err(|e| Error::step("hear from init", e))?;
    let (Word::Hooks, Some(hooks)) = (&word, &created.hooks) else { return Ok(word) };
    hooks.create_runtime(created.pid)?;
    channel::go_on(socket, created.pid)
        .and_then(|()| channel::hear(socket))
        .map_err(|e| Error::step("talk to init", e))
}

pub(crate) fn start(created: Created) -> Result<Running> {
    let Created { pid, pidfd, console, warnings, socket, .. } = created;
    let heard = channel::start(socket.as_fd()).and_then(|()| channel::hear(socket.as_fd()));
    let error = match heard {
        Ok(Word::End) => return Ok(Running { pid, pidfd, console, warnings }),
        Ok(Word::Failed(failure)) => failure.into(),
        Ok(Word::Ready { .. } | Word::Hooks) => Error::Died,
        Err(e) => Error::step("start init", e),
    };
    end(pidfd.as_fd());
    Err(error)
}

/// Leaves init to whoever comes by its door.
pub(crate) fn keep(created: &Created) -> Result<()> {
    channel::keep(created.socket.as_fd()).map_err(|e| Error::step("talk to init", e))
}

/// Kills and reaps. The process may have been reaped by the caller's own loop.
pub(crate) fn end(pidfd: BorrowedFd<'_>) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    let _ = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED));
}

/// Namespaces that the caller is in just for the time of a clone.
pub(crate) struct Joined(Vec<(u64, OwnedFd)>);

impl Joined {
    /// Remembers the own ones and enters those given.
    pub(crate) fn enter(wanted: &[(u64, PathBuf)]) -> Result<Self> {
        let mut joined = Self(Vec::new());
        for (kind, path) in wanted {
            let step = || format!("join namespace {}", path.display());
            let theirs = File::open(path).map_err(|e| Error::step(&step(), e));
            let entered = theirs
                .and_then(|theirs| joined.add(*kind, theirs.as_fd()).map_err(|e| Error::step(&step(), e)));
            if let Err(error) = entered {
                joined.leave()?;
                return Err(error);
            }
        }
        Ok(joined)
    }

    /// Enters the process id namespace of a running process, for the children to come.
    pub(crate) fn enter_pid_of(pidfd: BorrowedFd<'_>) -> Result<Self> {
        let mut joined = Self(Vec::new());
        joined
            .add(clone::NEW_PID, pidfd)
            .map_err(|e| Error::step("join the container's process id namespace", e))?;
        Ok(joined)
    }

    /// None at all.
    pub(crate) fn nothing() -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, kind: u64, theirs: BorrowedFd<'_>) -> io::Result<()> {
        let own = File::open(format!("/proc/self/ns/{}", file_name(kind)))?;
        namespace::enter(theirs, kind)?;
        self.0.push((kind, own.into()));
        Ok(())
    }

    /// Back to the own ones.
    pub(crate) fn leave(self) -> Result<()> {
        let back = |(kind, own): (u64, OwnedFd)| namespace::enter(own.as_fd(), kind);
        self.0
            .into_iter()
            .map(back)
            .fold(Ok(()), Result::and)
            .map_err(|e| Error::step("leave the joined namespaces", e))
    }
}

fn file_name(kind: u64) -> &'static str {
    match kind {
        clone::NEW_PID => "pid_for_children",
        clone::NEW_NETWORK => "net",
        clone::NEW_IPC => "ipc",
        clone::NEW_UTS => "uts",
        clone::NEW_CGROUP => "cgroup",
        clone::NEW_TIME => "time_for_children",
        _ => "mnt",
    }
}
