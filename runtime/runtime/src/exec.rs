//! Another program in a container that runs: one clone3, no helper process.

use std::convert::Infallible;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::umask;
use tare_cgroup::{Cgroup, Entrance};
use tare_oci::runtime::Process;
use tare_sys::clone::{self, Cloned};
use tare_sys::namespace;

use crate::channel;
use crate::child;
use crate::create;
use crate::error::{Error, Result};
use crate::failure::{Failure, Step};
use crate::join::{self, Joined};
use crate::kept::{State, Status};
use crate::plan::{self, Identity, MemoryPlan, ProcessPlan};
use crate::program::schedule::{self, Pinned};
use crate::program::{self, Program, identity, labels};
use crate::root::{RootDir, devices};
use crate::seccomp::Filter;
use crate::seccomp::listener::Listener;
use crate::{Created, Running, Stdio, Target};

pub(crate) fn exec(target: &Target<'_>, process: &Process, stdio: Stdio) -> Result<Running> {
    exec_preserving(target, process, stdio, 0)
}

/// With some of the caller's descriptors from 3 on.
pub(crate) fn exec_preserving(
    target: &Target<'_>,
    process: &Process,
    stdio: Stdio,
    preserve_fds: u32,
) -> Result<Running> {
    let plan = plan::plan_process(process)?;
    labels::check(&plan.labels, target.spec)?;
    let memory = target.spec.linux.as_ref().map(plan::memory_policy).transpose()?.flatten();
    let filter = create::filter(target.spec, target.seccomp_cache)?;
    let running = || State { status: Status::Running, ..State::of(target.spec, target.id, target.bundle) };
    let listener = Listener::connect(target.spec, filter.as_ref(), running)?;
    let kinds = plan::own_namespaces(target.spec);
    let entrance = target.cgroup.map(Cgroup::entrance).transpose()?;
    let root = (kinds & clone::NEW_MOUNT == 0).then(|| root_of(target.pidfd)).transpose()?;
    let (ours, theirs) = channel::pair().map_err(|e| Error::step("make a socket", e))?;
    // Who is not root enters the user namespace first, from which there is no way back: the program is then made inside.
    let twice = kinds & clone::NEW_USER != 0 && !identity::may_administer();
    let joined = if twice || kinds & clone::NEW_PID == 0 {
        Joined::nothing()
    } else {
        Joined::enter_of(target.pidfd, clone::NEW_PID)?
    };
    let pinned = Pinned::to(plan.schedule.first.as_ref());
    let pinned = match pinned {
        Ok(pinned) => pinned,
        Err(error) => return joined.leave().and(Err(error)),
    };
    let (cloned, is_in) = clone_beside(target);
    if let Ok(Cloned::Child) = cloned {
        let entry = Entry {
            target: target.pidfd,
            root,
            kinds,
            twice,
            plan: &plan,
            memory: memory.as_ref(),
            entrance,
            filter: filter.as_ref(),
            stdio,
            preserve_fds,
        };
        child::end_in(theirs.as_fd(), || steps(entry, &theirs));
    }
    joined.leave().and(pinned.leave())?;
    let Cloned::Parent { pid, pidfd } = cloned? else { unreachable!("the child never returns") };
    drop(theirs);
    let mut created = Created::born(pid, pidfd, ours, listener);
    created.prompt = true;
    created.warnings.extend(plan.warnings.iter().cloned());
    if twice {
        create::become_second(&mut created)?;
    }
    if !is_in {
        move_beside(created.pid, target).inspect_err(|_| create::end(created.pidfd.as_fd()))?;
    }
    create::ready_and_start(created)
}

/// Clones into the container's group, or into the one below it that init has moved to if it takes nobody any more.
fn clone_beside(target: &Target<'_>) -> (Result<Cloned>, bool) {
    match create::clone_into(0, target.cgroup) {
        (Err(Error::Cgroup(full)), _) if matches!(full, tare_cgroup::Error::TakesNobody { .. }) => {
            match beside(target) {
                Some(group) => create::clone_into(0, Some(&group)),
                None => (Err(Error::Cgroup(full)), false),
            }
        }
        cloned => cloned,
    }
}

/// The same for a process that could not be born there.
fn move_beside(pid: i32, target: &Target<'_>) -> Result<()> {
    create::move_into(pid, target.cgroup).or_else(|first| match beside(target) {
        Some(group) => create::move_into(pid, Some(&group)).map_err(|_| first),
        None => Err(first),
    })
}

fn beside(target: &Target<'_>) -> Option<Cgroup> {
    target.cgroup?.around(number(target.pidfd)?).ok().flatten()
}

/// As this process's procfs numbers it; none once it has ended.
fn number(process: BorrowedFd<'_>) -> Option<i32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    let number = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (number > 0).then_some(number)
}

/// init's root directory: with no mount namespace to enter, all that keeps a program away from the host's.
fn root_of(init: BorrowedFd<'_>) -> Result<OwnedFd> {
    let before = number(init).ok_or(Error::Died)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(format!("/proc/{before}/root"), flags, Mode::empty());
    let root = root.map_err(|e| Error::step("open the container's root", e))?;
    // Else the number may have become another process's.
    if number(init) == Some(before) { Ok(root) } else { Err(Error::Died) }
}

struct Entry<'a> {
    target: BorrowedFd<'a>,
    /// Where there is no mount namespace that it would come with.
    root: Option<OwnedFd>,
    kinds: u64,
    twice: bool,
    plan: &'a ProcessPlan,
    memory: Option<&'a MemoryPlan>,
    entrance: Option<Entrance>,
    filter: Option<&'a Filter>,
    stdio: Stdio,
    preserve_fds: u32,
}

fn steps(entry: Entry<'_>, socket: &OwnedFd) -> Result<Infallible, Failure> {
    let Entry { target, root, mut kinds, twice, plan, memory, entrance, filter, stdio, preserve_fds } = entry;
    child::enter_cgroup(entrance)?;
    schedule::pin(plan.schedule.then.as_ref())?;
    schedule::place_memory(memory)?;
    let warnings = create::rank("self", plan)?.into_iter().collect();
    let pid_kind = kinds & clone::NEW_PID;
    kinds &= !clone::NEW_PID;
    if twice {
        namespace::enter(target, clone::NEW_USER | pid_kind).at("join the container's user namespace")?;
        join::be_sibling(0, socket.as_fd())?;
        kinds &= !clone::NEW_USER;
    }
    let keep = root.iter().map(AsRawFd::as_raw_fd).chain([target.as_raw_fd(), socket.as_raw_fd()]);
    child::leave_caller(keep.collect(), &stdio, preserve_fds)?;
    child::leave_keyring()?;
    umask(Mode::empty());
    // From here on the container's processes can see this one.
    child::hide_memory()?;
    namespace::enter(target, kinds).at("join the container's namespaces")?;
    if twice || kinds & clone::NEW_USER != 0 {
        identity::become_user(&Identity { uid: 0, gid: 0, groups: Vec::new(), umask: 0 })?;
        child::hide_memory()?;
    }
    if let Some(root) = root {
        RootDir::shared(vec![root])?.enter()?;
    }
    let root = RootDir::current()?;
    let terminal = match stdio {
        Stdio::Terminal { size } => Some(devices::open_terminal(&root, size, plan.identity.uid)?),
        _ => None,
    };
    child::take_streams(&stdio, terminal.as_ref(), plan.identity.uid)?;
    let program = Program {
        plan,
        filter,
        socket: socket.as_fd(),
        terminal: terminal.as_ref(),
        preserve_fds,
        door: None,
        hooks: None,
        warnings,
    };
    program::run(program, &root)
}
