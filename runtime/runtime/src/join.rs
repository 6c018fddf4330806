//! Namespaces of others. The caller opens and verifies them all before anything is made, and enters most of them just
//! for the time of the clone. There is no way back from a user namespace, so that one is entered by a process of its own,
//! which makes init inside and ends.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fstat, open as open_file, stat};
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, pipe_with};
use tare_sys::clone::{self, Cloned};
use tare_sys::{namespace, process};

use crate::channel;
use crate::error::{Error, Result};
use crate::failure::{Failure, Step};
use crate::plan::{IdMaps, InitPlan, Namespaces};

/// An open namespace.
#[derive(Debug)]
pub(crate) struct Foreign {
    kind: u64,
    path: String,
    fd: OwnedFd,
}

/// Opens what config.json names, each of the kind that it says.
pub(crate) fn open(plan: &InitPlan) -> Result<Vec<Foreign>> {
    plan.namespaces
        .joined
        .iter()
        .map(|join| {
            let path = join.path.display().to_string();
            // A pipe under that name must not make this wait.
            let fd =
                open_file(&join.path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
            let fd = fd.map_err(|e| Error::step(&format!("open namespace {path}"), e))?;
            if namespace::kind(fd.as_fd()).ok() != Some(join.kind) {
                let rule = format!("must be a namespace of that type, which {path} is not");
                return Err(Error::spec(join.field.as_str(), rule));
            }
            if is_own(join.kind, fd.as_fd()).map_err(|e| Error::step("look at the namespaces", e))?
                && let Some(why) = not_the_own(plan, join.kind)
            {
                return Err(Error::spec(join.field.as_str(), format!("is the runtime's own: {why}")));
            }
            Ok(Foreign { kind: join.kind, path, fd })
        })
        .collect()
}

/// Why a container cannot share a namespace with the runtime, as far as it cannot.
fn not_the_own(plan: &InitPlan, kind: u64) -> Option<String> {
    let would_change = |what: &str| Some(format!("{what} would change the host"));
    let sysctl = || plan.sysctls.iter().find(|sysctl| sysctl.namespace == kind);
    match kind {
        clone::NEW_MOUNT | clone::NEW_USER => Some("leave it out to share it".to_owned()),
        clone::NEW_NETWORK if !plan.net_devices.is_empty() => {
            Some("interfaces cannot be moved to where they are".to_owned())
        }
        clone::NEW_UTS if plan.names.host.is_some() => would_change("hostname"),
        clone::NEW_UTS if plan.names.domain.is_some() => would_change("domainname"),
        _ => sysctl().and_then(|sysctl| would_change(&format!("linux.sysctl {}", sysctl.path.display()))),
    }
}

fn is_own(kind: u64, fd: BorrowedFd<'_>) -> io::Result<bool> {
    let (theirs, own) = (fstat(fd)?, stat(format!("/proc/self/ns/{}", file_name(kind)))?);
    Ok((theirs.st_dev, theirs.st_ino) == (own.st_dev, own.st_ino))
}

/// The one that init enters itself, since its root and working directory go with it.
pub(crate) fn mount_namespace(foreign: &[Foreign]) -> Option<BorrowedFd<'_>> {
    foreign.iter().find(|one| one.kind == clone::NEW_MOUNT).map(|one| one.fd.as_fd())
}

/// Whether init enters a cgroup namespace itself, once it is in its group: below the root of systemd's hierarchy (`nsdelegate`) nobody
/// is born or moved into a group that lies outside the namespace which the one who does it is in (cgroups(7)). With a user
/// namespace of its own it could not.
pub(crate) fn is_for_init(kind: u64, namespaces: &Namespaces) -> bool {
    kind == clone::NEW_CGROUP && !namespaces.has(clone::NEW_USER)
}

/// Has init enter what is left to it.
pub(crate) fn enter_in_init(foreign: &[Foreign], namespaces: &Namespaces) -> Result<(), Failure> {
    for one in foreign.iter().filter(|one| is_for_init(one.kind, namespaces)) {
        namespace::enter(one.fd.as_fd(), one.kind).step(|| format!("join namespace {}", one.path))?;
    }
    Ok(())
}

/// The one that init is born in.
pub(crate) fn user_namespace(foreign: &[Foreign]) -> Option<BorrowedFd<'_>> {
    foreign.iter().find(|one| one.kind == clone::NEW_USER).map(|one| one.fd.as_fd())
}

/// Enters the user namespace and those that belong to it, and makes init there, in those that are new; returns as init.
/// The process that began this reports and ends.
pub(crate) fn be_born_inside(
    plan: &Namespaces,
    foreign: &[Foreign],
    socket: BorrowedFd<'_>,
) -> Result<(), Failure> {
    enter_all(foreign)?;
    if let Some(known) = &plan.known_maps {
        check_maps(known)?;
    }
    be_sibling(plan.new, socket)
}

/// Makes another child of the caller's, in new namespaces (`NEW_…` flags), and returns as that one; the process that was
/// there reports and ends.
pub(crate) fn be_sibling(new: u64, socket: BorrowedFd<'_>) -> Result<(), Failure> {
    let (told, telling) = pipe_with(PipeFlags::CLOEXEC).at("make a pipe")?;
    match clone::clone3_sibling(new).at("clone inside the user namespace")? {
        Cloned::Child => {
            // The caller hears of this process before it hears from it.
            drop(telling);
            let _ = retry_on_intr(|| rustix::io::read(&told, &mut [0]));
            Ok(())
        }
        Cloned::Parent { pid, pidfd } => {
            channel::born(socket, pid, pidfd.as_fd()).at("report")?;
            process::exit(0)
        }
    }
}

/// Some may be entered with the rights that one has outside of the user namespace only, others with those inside only.
fn enter_all(foreign: &[Foreign]) -> Result<(), Failure> {
    let enter = |one: &Foreign| namespace::enter(one.fd.as_fd(), one.kind);
    let (user, others): (Vec<&Foreign>, Vec<&Foreign>) = foreign
        .iter()
        .filter(|one| one.kind != clone::NEW_MOUNT)
        .partition(|one| one.kind == clone::NEW_USER);
    let left: Vec<&Foreign> = others.into_iter().filter(|one| enter(one).is_err()).collect();
    for one in user.into_iter().chain(left) {
        enter(one).step(|| format!("join namespace {}", one.path))?;
    }
    Ok(())
}

/// config.json may repeat the maps of the namespace, but not contradict them.
fn check_maps(known: &IdMaps) -> Result<(), Failure> {
    for (field, file, known) in
        [("linux.uidMappings", "uid_map", &known.uid), ("linux.gidMappings", "gid_map", &known.gid)]
    {
        let text = fs::read_to_string(format!("/proc/self/{file}")).step(|| format!("read {file}"))?;
        if text.split_whitespace().ne(known.split_whitespace()) {
            return Err(Failure::rule(format!(
                "invalid {field}: are not those of the user namespace that is joined"
            )));
        }
    }
    Ok(())
}

/// Namespaces that the caller is in just for the time of a clone.
pub(crate) struct Joined(Vec<(u64, OwnedFd)>);

impl Joined {
    /// Remembers the own ones and enters those given, but what init enters itself.
    pub(crate) fn enter(wanted: &[Foreign], namespaces: &Namespaces) -> Result<Self> {
        let mut joined = Self(Vec::new());
        let now = |one: &&Foreign| one.kind != clone::NEW_MOUNT && !is_for_init(one.kind, namespaces);
        for one in wanted.iter().filter(now) {
            if let Err(e) = joined.add(one.kind, one.fd.as_fd()) {
                joined.leave()?;
                return Err(Error::step(&format!("join namespace {}", one.path), e));
            }
        }
        Ok(joined)
    }

    /// Enters namespaces of a running process that the caller can leave again, such as that of process ids, which is
    /// for the children to come.
    pub(crate) fn enter_of(pidfd: BorrowedFd<'_>, kind: u64) -> Result<Self> {
        let mut joined = Self(Vec::new());
        let step = || format!("join the container's namespace {}", file_name(kind));
        joined.add(kind, pidfd).map_err(|e| Error::step(&step(), e))?;
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

/// Below /proc/PID/ns.
fn file_name(kind: u64) -> &'static str {
    match kind {
        clone::NEW_PID => "pid_for_children",
        clone::NEW_NETWORK => "net",
        clone::NEW_IPC => "ipc",
        clone::NEW_UTS => "uts",
        clone::NEW_CGROUP => "cgroup",
        clone::NEW_TIME => "time_for_children",
        clone::NEW_USER => "user",
        _ => "mnt",
    }
}
