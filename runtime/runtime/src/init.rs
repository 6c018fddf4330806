//! init, from the clone to the user's program: one straight line of steps.

use std::convert::Infallible;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::umask;
use rustix::system::{setdomainname, sethostname};
use tare_cgroup::{Cgroup, Entrance};
use tare_model::RootMount;
use tare_sys::path::open_without_links;
use tare_sys::{clone, namespace, net, process};

use crate::channel;
use crate::child;
use crate::create::sources::Sources;
use crate::door::Door;
use crate::failure::{Failure, Step};
use crate::hooks::Occasions;
use crate::join::{self, Foreign};
use crate::plan::{Identity, InitPlan, Names, Namespaces, Sysctl};
use crate::procfs;
use crate::program::{self, Program, identity, schedule};
use crate::root::devices::{self, Terminal};
use crate::root::{RootDir, hide, mounts};
use crate::seccomp::Filter;
use crate::{Relaxed, Stdio};

/// Everything that init has.
pub(crate) struct Init<'a> {
    pub(crate) plan: &'a InitPlan,
    pub(crate) entrance: Option<Entrance>,
    /// None where only init may open them.
    pub(crate) sources: Option<Sources>,
    /// What they are opened from.
    pub(crate) hosts: (&'a [RootMount], Option<&'a Cgroup>),
    pub(crate) foreign: Vec<Foreign>,
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) stdio: Stdio,
    pub(crate) preserve_fds: u32,
    pub(crate) door: Option<Door>,
    pub(crate) hooks: Option<&'a Occasions>,
    pub(crate) relaxed: Relaxed,
}

/// Never returns to the code that was copied with this process.
pub(crate) fn run(init: Init<'_>, socket: &OwnedFd) -> ! {
    child::end_in(socket.as_fd(), || steps(init, socket.as_fd()))
}

fn steps(init: Init<'_>, socket: BorrowedFd<'_>) -> Result<Infallible, Failure> {
    let Init { plan, entrance, sources, hosts, foreign, filter, stdio, preserve_fds, door, hooks, relaxed } =
        init;
    // 1. The cgroup, where it will be the root of the cgroup namespace. Then leave the caller.
    child::enter_cgroup(entrance)?;
    if plan.namespaces.joins(clone::NEW_USER) {
        join::be_born_inside(&plan.namespaces, &foreign, socket)?;
    } else {
        join::enter_in_init(&foreign, &plan.namespaces)?;
    }
    let doors = door.iter().flat_map(Door::fds);
    let mount_namespace = join::mount_namespace(&foreign);
    let keep = sources.iter().flat_map(Sources::fds).chain(doors).chain(mount_namespace).chain([socket]);
    let keep = keep.map(|fd| fd.as_raw_fd()).collect();
    child::leave_caller(keep, &stdio, preserve_fds)?;
    if !relaxed.no_new_keyring {
        child::leave_keyring()?;
    }
    umask(Mode::empty());
    if !foreign.is_empty() {
        // The processes that are there already can see this one.
        child::hide_memory()?;
    }
    // 2. Namespaces that clone3 could not make whole.
    set_time_offsets(&plan.namespaces)?;
    if plan.waits() && !channel::wait_go(socket) {
        process::exit(1);
    }
    if plan.namespaces.has(clone::NEW_USER) {
        become_root()?;
    }
    if plan.namespaces.new_cgroup {
        namespace::unshare(clone::NEW_CGROUP).at("make a cgroup namespace")?;
    }
    child::hide_memory()?;
    if let Some(theirs) = mount_namespace {
        namespace::enter(theirs, clone::NEW_MOUNT).at("join the mount namespace")?;
    }
    let sources = sources.map_or_else(|| open_sources(plan, hosts), Ok)?;
    // 3. Names and parameters of the namespaces.
    name_host(&plan.names, &plan.namespaces)?;
    let proc = set_sysctls(&plan.sysctls)?;
    // 4. The root and what is mounted in it.
    let hooks = hooks.filter(|hooks| hooks.concern_init());
    // Hooks look for the container's files where config.json says that they are.
    let place = hooks.map(|_| plan.root.path.as_path());
    let shared = plan.shares_mounts();
    let root = if shared { RootDir::shared(sources.root)? } else { RootDir::attach(sources.root, place)? };
    mounts::mount_all(&root, &plan.mounts, &sources.binds, &sources.cgroups, proc)?;
    devices::fill(&root, &plan.devices, &sources.devices)?;
    let terminal = open_terminal(&root, &stdio, plan)?;
    make_working_directory(&root, &plan.process.cwd);
    let hooks = hooks.map(|hooks| create_container(hooks, socket)).transpose()?;
    // 5. Nothing is mounted after what hides it.
    hide::make_readonly(&root, &plan.hidden.readonly)?;
    hide::mask(&root, &plan.hidden.masked)?;
    if shared {
        root.enter()?;
    } else if relaxed.no_pivot {
        root.chroot(&plan.root, hooks.is_some())?;
    } else {
        root.pivot(&plan.root)?;
    }
    // 6. The program.
    if let Some(personality) = plan.personality {
        process::set_personality(personality).at("set the personality")?;
    }
    schedule::place_memory(plan.memory.as_ref())?;
    child::take_streams(&stdio, terminal.as_ref(), plan.process.identity.uid)?;
    let program = Program {
        plan: &plan.process,
        filter,
        socket,
        terminal: terminal.as_ref(),
        preserve_fds,
        door: door.as_ref(),
        hooks,
        warnings: Vec::new(),
    };
    program::run(program, &root)
}

/// As root of the user namespace, in the mount namespace that it owns: the host's tree is still there.
fn open_sources(
    plan: &InitPlan,
    (rootfs, cgroup): (&[RootMount], Option<&Cgroup>),
) -> Result<Sources, Failure> {
    Sources::open(plan, rootfs, cgroup, None).map_err(|error| Failure::rule(error.to_string()))
}

/// The caller's hooks, then those that are called here. The number is what the caller knows init by.
fn create_container<'a>(
    hooks: &'a Occasions,
    socket: BorrowedFd<'_>,
) -> Result<(&'a Occasions, i32), Failure> {
    let Some(pid) = channel::call_hooks(socket) else { process::exit(1) };
    hooks.create_container(pid)?;
    Ok((hooks, pid))
}

/// The offsets must be written before anybody is in the namespace, and clone3 puts its child in at once
/// (time_namespaces(7)): so it is made by init itself, which then enters it.
fn set_time_offsets(namespaces: &Namespaces) -> Result<(), Failure> {
    let Some(offsets) = &namespaces.time_offsets else { return Ok(()) };
    namespace::unshare(clone::NEW_TIME).at("make a time namespace")?;
    fs::write("/proc/self/timens_offsets", offsets).at("set the time offsets")?;
    let file = fs::File::open("/proc/self/ns/time_for_children").at("open the time namespace")?;
    namespace::enter(file.as_fd(), clone::NEW_TIME).at("enter the time namespace")
}

/// In a new user namespace one is nobody until one becomes its root.
fn become_root() -> Result<(), Failure> {
    identity::become_user(&Identity { uid: 0, gid: 0, groups: Vec::new(), umask: 0 })
}

fn name_host(names: &Names, namespaces: &Namespaces) -> Result<(), Failure> {
    if let Some(name) = &names.host {
        sethostname(name.as_bytes()).at("set the host name")?;
    }
    if let Some(name) = &names.domain {
        setdomainname(name.as_bytes()).at("set the domain name")?;
    }
    if namespaces.new & clone::NEW_NETWORK != 0 {
        net::loopback_up().at("turn the loopback interface on")?;
    }
    Ok(())
}

/// Written through a procfs that nobody else sees, so that no mount can stand in for it (CVE-2025-52881). It is returned.
fn set_sysctls(sysctls: &[Sysctl]) -> Result<Option<OwnedFd>, Failure> {
    if sysctls.is_empty() {
        return Ok(None);
    }
    let proc = procfs::private().at("mount a private procfs")?;
    for sysctl in sysctls {
        let step = || format!("set {}", sysctl.path.display());
        let file = open_without_links(proc.as_fd(), &sysctl.path, OFlags::WRONLY).step(step)?;
        rustix::io::write(&file, sysctl.value.as_bytes()).step(step)?;
    }
    Ok(Some(proc))
}

fn open_terminal(root: &RootDir, stdio: &Stdio, plan: &InitPlan) -> Result<Option<Terminal>, Failure> {
    let Stdio::Terminal { size } = stdio else { return Ok(None) };
    let terminal = devices::open_terminal(root, *size, plan.process.identity.uid)?;
    if !plan.shares_mounts() {
        devices::bind_console(root, terminal.peer.as_fd()).at("mount /dev/console")?;
    }
    Ok(Some(terminal))
}

/// As the field does; where it cannot be made (a read-only root, a file in the way), entering it will say why.
fn make_working_directory(root: &RootDir, cwd: &Path) {
    drop(root.directory(cwd));
}
