//! # runtime: one container, one thread, no async
//!
//! - **Owns**: the way from an OCI spec to a program that runs in its namespaces, and into a running container.
//! - **In**: a [`Spec`], root mounts, standard streams, a cgroup.
//! - **Out**: a pid, a pidfd, a console; or one error that names the step.
//! - **Leans on**: cgroup, netlink, sys, oci, model.
//! - **Never**: starts a helper process (but newuidmap for users with subordinate ids, and criu where it is asked for), writes to
//!   the host's mount table, trusts a path inside the root.
//! - **Invariant**: when a function here fails, no process, mount or directory outside the root is left of it.
//!
//! [`clone_init`] makes init with one `clone3`; [`Created::ready`] waits until it stands before its `execve`;
//! [`Created::start`] lets it go; [`kept`] has the containers that wait for that without their maker. [`exec`] does the
//! same inside a container that runs. [`tare_sys::protect`] comes first in the program's `main`.
//!
//! `plan` judges config.json, before anything is made. `create` is the caller's side: what it opens, writes and moves; `init` is
//! the new process's, one straight line of steps: through `root`, what is mounted, made and hidden there, to `program`, whose
//! rights and labels come last. `channel` is what the two say to each other, `child` what every new process does first.

mod channel;
mod child;
mod create;
mod criu;
mod door;
mod error;
mod exec;
mod failure;
mod hooks;
mod init;
mod join;
pub mod kept;
mod plan;
mod procfs;
mod program;
mod root;
pub mod seccomp;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use tare_cgroup::Cgroup;
use tare_model::RootMount;
use tare_oci::runtime::{ConsoleSize, Process, Spec};

pub use door::Door;
pub use error::{Error, Result};

/// What a container is made of.
pub struct Launch<'a> {
    /// Its name in messages.
    pub id: &'a str,
    /// Absolute; a relative `root.path` starts there.
    pub bundle: &'a Path,
    /// config.json. Of its hooks, poststart and poststop are the caller's to call, as [`kept`] does.
    pub spec: &'a Spec,
    /// Mounted over each other as the root, inside the container's own mount namespace only; empty = `root.path` as it is.
    pub rootfs: &'a [RootMount],
    /// Where its output goes.
    pub stdio: Stdio,
    /// A directory of compiled filters.
    pub seccomp_cache: Option<&'a Path>,
    /// Where its processes are counted; none = the caller's.
    pub cgroup: Option<&'a Cgroup>,
    /// How many of the caller's descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// Where init waits for its start if the caller goes before that; [`kept`] makes it.
    pub door: Option<Door>,
    /// What is to be left out.
    pub relaxed: Relaxed,
}

/// Steps that a caller may ask to be left out; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relaxed {
    /// The root becomes "/" by chroot(2), for hosts whose own root is a ramdisk, from which pivot_root(2) cannot move. A
    /// program with CAP_SYS_CHROOT can leave such a container.
    pub no_pivot: bool,
    /// The program keeps the caller's session keyring.
    pub no_new_keyring: bool,
}

/// The three standard streams.
#[derive(Debug, Default)]
pub enum Stdio {
    /// The caller's own.
    #[default]
    Inherit,
    /// These.
    Fds {
        /// Read by the program.
        stdin: OwnedFd,
        /// Written by the program.
        stdout: OwnedFd,
        /// Written by the program.
        stderr: OwnedFd,
    },
    /// A new terminal of the container's own devpts; its master is the `console` of the answer.
    Terminal {
        /// Its size at first.
        size: ConsoleSize,
    },
}

/// A container whose init exists and prepares itself.
#[derive(Debug)]
pub struct Created {
    /// init, as the caller's process id namespace numbers it. The caller is its parent and must reap it.
    pub pid: i32,
    /// init.
    pub pidfd: OwnedFd,
    /// The terminal's master, there once [`Created::ready`] has returned.
    pub console: Option<OwnedFd>,
    /// What could not be done and does not keep the container from running.
    pub warnings: Vec<String>,
    socket: OwnedFd,
    hooks: Option<hooks::Occasions>,
    listener: Option<seccomp::listener::Listener>,
    /// Whether little is left to do for init, which is then not waited for without a limit.
    prompt: bool,
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    /// As the caller's process id namespace numbers it. The caller is its parent and must reap it.
    pub pid: i32,
    /// The process.
    pub pidfd: OwnedFd,
    /// The terminal's master, if one was asked for.
    pub console: Option<OwnedFd>,
    /// What could not be done and does not keep the program from running.
    pub warnings: Vec<String>,
}

/// A container to run another program in.
pub struct Target<'a> {
    /// Its name.
    pub id: &'a str,
    /// Absolute.
    pub bundle: &'a Path,
    /// Its init.
    pub pidfd: BorrowedFd<'a>,
    /// Its config.json: namespaces and seccomp are taken from it.
    pub spec: &'a Spec,
    /// Where the new process is counted.
    pub cgroup: Option<&'a Cgroup>,
    /// A directory of compiled filters.
    pub seccomp_cache: Option<&'a Path>,
}

/// Judges a config.json as everything here does before anything is made: its form, each rule, the hooks, the seccomp profile.
///
/// # Errors
/// [`Error::Spec`] or [`Error::Seccomp`], naming the field.
pub fn check(config: &[u8], bundle: &Path) -> Result<()> {
    let spec = kept::parse(config)?;
    let _plan = plan::plan(&spec, bundle)?;
    let _hooks = hooks::Occasions::of(&spec, "it", bundle)?;
    let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    profile.map_or(Ok(()), |profile| seccomp::compile(profile).map(drop).map_err(Error::Seccomp))
}

/// Makes the container's init and returns as soon as it has its namespaces, its ids and its cgroup; it prepares itself
/// meanwhile.
///
/// # Errors
/// [`Error::Spec`] before anything is made; [`Error::Step`] when the host lacks something, and when the caller has threads.
pub fn clone_init(launch: Launch<'_>) -> Result<Created> {
    create::clone_init(launch)
}

impl Created {
    /// A process that has just been cloned, and may take its time.
    fn born(
        pid: i32,
        pidfd: OwnedFd,
        socket: OwnedFd,
        listener: Option<seccomp::listener::Listener>,
    ) -> Self {
        let (console, warnings, hooks, prompt) = (None, Vec::new(), None, false);
        Self { pid, pidfd, console, warnings, socket, hooks, listener, prompt }
    }

    /// Readable once init is ready or has failed: then [`Created::ready`] does not block.
    pub fn sync_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Blocks until init stands before its execve, everything done but that.
    ///
    /// # Errors
    /// The step that failed, or [`Error::Exec`] when there is no such program. init is gone then.
    pub fn ready(&mut self) -> Result<()> {
        create::ready(self)
    }

    /// Lets init become the user's program; returns when it has. Only after [`Created::ready`].
    ///
    /// # Errors
    /// [`Error::Exec`] when the kernel does not execute it. init is gone then.
    pub fn start(self) -> Result<Running> {
        create::start(self)
    }
}

/// Runs another program inside a container, with the container's own seccomp profile.
///
/// # Errors
/// As for [`clone_init`] and [`Created::start`]; nothing is left of the process then.
pub fn exec(target: &Target<'_>, process: &Process, stdio: Stdio) -> Result<Running> {
    exec::exec(target, process, stdio)
}
