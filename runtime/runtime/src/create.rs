//! The caller's side of a container's beginning, and what init needs of the host: opened, written and moved from here.

mod idmap;
mod ids;
mod net_devices;
pub(crate) mod rdt;
pub(crate) mod sources;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use tare_cgroup::Cgroup;
use tare_oci::runtime::Spec;
use tare_sys::clone::{self, Cloned};
use tare_sys::protect;

use crate::channel::{self, Word};
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::hooks::Occasions;
use crate::init::{self, Init};
use crate::join::{self, Joined};
use crate::kept::State;
use crate::plan;
use crate::program::labels;
use crate::seccomp::listener::Listener;
use crate::seccomp::{self, Filter};
use crate::{Created, Launch, Running};
use sources::Sources;

pub(crate) fn clone_init(launch: Launch<'_>) -> Result<Created> {
    let plan = plan::plan(launch.spec, launch.bundle)?;
    labels::check(&plan.process.labels, launch.spec)?;
    rdt::check(plan.rdt.as_ref())?;
    let filter = filter(launch.spec, launch.seccomp_cache)?;
    let foreign = join::open(&plan)?;
    // Who may not mount here leaves it to init, which may once it is root of its user namespace.
    let sources = match Sources::open(&plan, launch.rootfs, launch.cgroup, join::user_namespace(&foreign)) {
        Err(_) if plan.namespaces.has(clone::NEW_USER) && !sources::may_mount() => None,
        opened => Some(opened?),
    };
    let hooks = Occasions::of(launch.spec, launch.id, launch.bundle)?;
    let state = || State::of(launch.spec, launch.id, launch.bundle);
    let listener = Listener::connect(launch.spec, filter.as_ref(), state)?;
    let entrance = launch.cgroup.map(Cgroup::entrance).transpose()?;
    let handed_over = hand_over(&plan, launch.cgroup)?;
    let launch_id = launch.id;
    let (ours, theirs) = channel::pair().map_err(|e| Error::step("make a socket", e))?;
    // Namespaces that a user namespace of others owns are made, and init is born, once that has been entered.
    let twice = plan.namespaces.joins(clone::NEW_USER);
    let joined = if twice { Joined::nothing() } else { Joined::enter(&foreign, &plan.namespaces)? };
    let new = if twice { 0 } else { plan.namespaces.new };
    let group = launch.cgroup;
    let (cloned, is_in) = clone_into(new, group);
    if let Ok(Cloned::Child) = cloned {
        let Launch { stdio, preserve_fds, door, relaxed, .. } = launch;
        let (filter, hooks) = (filter.as_ref(), hooks.as_ref());
        let init = Init {
            plan: &plan,
            entrance,
            sources,
            hosts: (launch.rootfs, launch.cgroup),
            foreign,
            filter,
            stdio,
            preserve_fds,
            door,
            hooks,
            relaxed,
        };
        init::run(init, &theirs);
    }
    // The way back comes before everything else: this process lives on.
    joined.leave()?;
    let Cloned::Parent { pid, pidfd } = cloned? else { unreachable!("the child never returns") };
    drop(theirs);
    let mut created = Created::born(pid, pidfd, ours, listener);
    created.hooks = hooks;
    created.warnings.extend(handed_over);
    if twice {
        become_second(&mut created)?;
    }
    move_into(created.pid, group.filter(|_| !is_in))
        .and_then(|()| admit(&mut created, &plan, launch_id))
        .inspect_err(|_| end(created.pidfd.as_fd()))?;
    Ok(created)
}

/// Clones, if it may be right into the v2 group, and says whether the child is in it. It may not where an unprivileged
/// caller stands outside of what systemd handed over to it.
pub(crate) fn clone_into(flags: u64, group: Option<&Cgroup>) -> (Result<Cloned>, bool) {
    let refused = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
    match clone::clone3(flags, group.and_then(Cgroup::v2_dir)) {
        Err(e) if refused(&e) && group.is_some_and(Cgroup::is_kept_by_systemd) => {
            (clone::clone3(flags, None).map_err(|e| Error::step("clone", e)), false)
        }
        Err(e) => {
            let explained = group.and_then(|group| group.refusal(&e));
            (Err(explained.map_or_else(|| Error::step("clone", e), Error::Cgroup)), false)
        }
        cloned => (cloned.map_err(|e| Error::step("clone", e)), true),
    }
}

/// Makes the group the user's own where config.json asks for that. Who may not give it away keeps it, which is a warning:
/// nothing inside can do more than was asked for.
fn hand_over(plan: &plan::InitPlan, group: Option<&Cgroup>) -> Result<Option<String>> {
    let (Some(owner), Some(group)) = (plan.group_owner(), group) else { return Ok(None) };
    match group.give(owner) {
        Ok(()) => Ok(None),
        Err(error) if error.is_forbidden() => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Moves a process that was not born in its group.
pub(crate) fn move_into(pid: i32, group: Option<&Cgroup>) -> Result<()> {
    Ok(group.map_or(Ok(()), |group| group.add(pid))?)
}

pub(crate) fn filter(spec: &Spec, cache: Option<&std::path::Path>) -> Result<Option<Filter>> {
    let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    profile.map(|profile| seccomp::load_or_compile(cache, profile)).transpose().map_err(Error::Seccomp)
}

/// How many seconds a process may be silent where only a few steps are left to it: others in its pid namespace can stop
/// it, and a file system can keep it.
pub(crate) const PATIENCE: i64 = 10;
/// How many seconds the death of one that was killed is awaited. Some waits in the kernel do not end with a signal.
const DEATH: i64 = 2;

/// The process that was cloned has made init, as another child of ours, and ends.
pub(crate) fn become_second(created: &mut Created) -> Result<()> {
    let heard = hear(created);
    end(created.pidfd.as_fd());
    match heard? {
        Word::Born { pid, pidfd } => (created.pid, created.pidfd) = (pid, pidfd),
        Word::Failed(failure) => return Err(failure.into()),
        _ => return Err(Error::Died),
    }
    Ok(())
}

/// Gives init what only the caller can: a rank before the out-of-memory killer, and ids, which init waits for.
fn admit(created: &mut Created, plan: &plan::InitPlan, id: &str) -> Result<()> {
    created.warnings.extend(plan.process.warnings.iter().cloned());
    created.warnings.extend(rank(&created.pid.to_string(), &plan.process)?);
    if let Some(rdt) = &plan.rdt {
        rdt::enter(rdt, id, created.pid)?;
    }
    if !plan.waits() {
        return Ok(());
    }
    if let Some(maps) = &plan.namespaces.id_maps {
        ids::map(created.pid, maps)?;
    }
    net_devices::move_in(&plan.net_devices, created.pid, created.pidfd.as_fd())?;
    channel::go(created.socket.as_fd()).map_err(|e| Error::step("talk to init", e))
}

/// Sets oom_score_adj of a process, or of `self`. Without CAP_SYS_RESOURCE it cannot be lowered, which is a warning.
pub(crate) fn rank(pid: &str, process: &plan::ProcessPlan) -> Result<Option<String>, Failure> {
    let Some(score) = process.oom_score_adj else { return Ok(None) };
    match fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string()) {
        Ok(()) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            Ok(Some(format!("oom_score_adj {score} is not set: lowering it needs CAP_SYS_RESOURCE")))
        }
        Err(e) => Err(Failure::new("set oom_score_adj", e)),
    }
}

pub(crate) fn ready(created: &mut Created) -> Result<()> {
    let error = match hear(created) {
        Ok(Word::Ready { warnings }) => {
            created.warnings.extend(warnings);
            return Ok(());
        }
        Ok(Word::Failed(failure)) => failure.into(),
        Ok(_) => Error::Died,
        Err(e) => e,
    };
    end(created.pidfd.as_fd());
    Err(error)
}

/// init's next word for us, after what it wants done on the way.
fn hear(created: &mut Created) -> Result<Word> {
    loop {
        let word = next_word(created)?;
        let socket = created.socket.as_fd();
        let answered = match (word, &created.hooks, &mut created.listener) {
            (Word::Console(console), ..) => {
                created.console = Some(console);
                created.prompt = true;
                Ok(())
            }
            (Word::Hooks, Some(hooks), _) => {
                hooks.create_runtime(created.pid)?;
                channel::go_on(socket, created.pid)
            }
            (Word::Listener(number), _, listener @ Some(_)) => {
                // Its end tells the agent that this is all.
                let listener = listener.take().ok_or(Error::Died)?;
                listener.hand_over(created.pid, created.pidfd.as_fd(), number)?;
                channel::go(socket)
            }
            (word, ..) => return Ok(word),
        };
        answered.map_err(|e| Error::step("talk to init", e))?;
    }
}

/// Where init may take its time, the caller can watch the socket; once it has begun to speak, it is waited for here. Hooks
/// have limits of their own.
fn next_word(created: &Created) -> Result<Word> {
    let heard = |e| Error::step("hear from init", e);
    let socket = created.socket.as_fd();
    let limited = created.prompt && created.hooks.is_none();
    if limited && !channel::is_readable_within(socket, PATIENCE).map_err(heard)? {
        return Err(Error::Silent);
    }
    channel::hear(socket).map_err(heard)
}

pub(crate) fn start(created: Created) -> Result<Running> {
    match channel::start(created.socket.as_fd()) {
        Ok(()) => started(created),
        Err(e) => {
            end(created.pidfd.as_fd());
            Err(Error::step("start init", e))
        }
    }
}

/// For who has nothing to do between the two: init need not wait.
pub(crate) fn ready_and_start(mut created: Created) -> Result<Running> {
    // It would take this for the agent's go. One that is gone already has said why.
    let told = created.listener.is_none() && channel::start(created.socket.as_fd()).is_ok();
    ready(&mut created)?;
    if told { started(created) } else { start(created) }
}

/// Waits until init has become the program.
fn started(mut created: Created) -> Result<Running> {
    protect::let_go();
    created.prompt = true;
    let error = match next_word(&created) {
        Ok(Word::End) => {
            let Created { pid, pidfd, console, warnings, .. } = created;
            return Ok(Running { pid, pidfd, console, warnings });
        }
        Ok(Word::Failed(failure)) => failure.into(),
        Ok(_) => Error::Died,
        Err(error) => error,
    };
    end(created.pidfd.as_fd());
    Err(error)
}

/// Leaves init to whoever comes by its door.
pub(crate) fn keep(created: &Created) -> Result<()> {
    channel::keep(created.socket.as_fd()).map_err(|e| Error::step("talk to init", e))
}

/// Kills and reaps. The process may have been reaped by the caller's own loop; one that does not die is left to it.
pub(crate) fn end(pidfd: BorrowedFd<'_>) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    let _ = channel::is_readable_within(pidfd, DEATH);
    let _ = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}
