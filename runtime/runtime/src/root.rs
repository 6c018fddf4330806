//! The container's root, seen from init before and after it becomes "/": what is mounted, made and hidden in it.

mod copyup;
pub(crate) mod devices;
pub(crate) mod hide;
pub(crate) mod mounts;
pub(crate) mod overlay;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, fstat, open, openat, stat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_move, move_mount, open_tree,
    unmount,
};
use rustix::process::{chroot, fchdir, pivot_root};
use tare_sys::mount::{self, Change, Propagation};
use tare_sys::path::{mkdir_all_in_root, open_in_root, open_without_links};

use crate::create::sources::spread;
use crate::failure::{Failure, Step};
use crate::plan;

/// The directories that hold the kernel's own file systems. One that is a symbolic link would send them, or what is
/// written through them, elsewhere (CVE-2019-19921, CVE-2026-41579).
const NO_LINKS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The root, held by a descriptor: every path below it is resolved by the kernel inside it.
#[derive(Debug)]
pub(crate) struct RootDir(OwnedFd);

impl RootDir {
    /// Cuts all mounts off from the host's and puts the root over "/", where no path of the host is needed to reach it,
    /// or over another directory of the host, if somebody has to find it.
    pub(crate) fn attach(trees: Vec<OwnedFd>, place: Option<&Path>) -> Result<Self, Failure> {
        let here = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at("open /")?;
        mount::set(here.as_fd(), true, spread(Propagation::Private)).at("make all mounts private")?;
        let found = |path: &Path| {
            open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .step(|| format!("open root {}", path.display()))
        };
        let mut below = place.map_or(Ok(here), found)?;
        for tree in trees {
            mount::set(tree.as_fd(), true, spread(Propagation::Private)).at("make the root private")?;
            put(&tree, below.as_fd()).at("attach root")?;
            below = tree;
        }
        Ok(Self(below))
    }

    /// A directory as it is, where nothing may be mounted.
    pub(crate) fn shared(directory: Vec<OwnedFd>) -> Result<Self, Failure> {
        directory.into_iter().next().map(Self).ok_or_else(|| Failure::rule("open root: it was not opened"))
    }

    /// Whether it is what this process has as "/" already.
    pub(crate) fn is_current(&self) -> io::Result<bool> {
        let (root, here) = (fstat(&self.0)?, stat("/")?);
        Ok((root.st_dev, root.st_ino) == (here.st_dev, here.st_ino))
    }

    /// The root of this process, as one that entered a container's mount namespace has it.
    pub(crate) fn current() -> Result<Self, Failure> {
        open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at("open /").map(Self)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens a path inside.
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        open_in_root(self.as_fd(), path, flags)
    }

    /// The directory to mount on, made if missing.
    pub(crate) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.check_links(path)?;
        mkdir_all_in_root(self.as_fd(), path, 0o755)
    }

    /// The file to mount on, made if missing.
    pub(crate) fn file(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
            answer => return answer,
        }
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        drop(openat(&parent, name, flags, Mode::from_raw_mode(0o644))?);
        Ok(openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The directory that a path is in, made if missing, and the last name of the path.
    pub(crate) fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL.into());
        };
        self.check_links(parent)?;
        Ok((mkdir_all_in_root(self.as_fd(), parent, 0o755)?, name))
    }

    /// Refuses a root in which /proc, /sys or /dev leads elsewhere.
    fn check_links(&self, path: &Path) -> io::Result<()> {
        let Some(top) = NO_LINKS.into_iter().find(|top| path.starts_with(top)) else { return Ok(()) };
        match open_without_links(self.as_fd(), Path::new(top), OFlags::PATH) {
            Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(()),
            Err(e) if e.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                Err(io::Error::other(format!("{top} of the image must be a directory, not a symbolic link")))
            }
            answer => answer.map(drop),
        }
    }

    /// Makes it "/" and lets go of the host's tree.
    pub(crate) fn pivot(&self, root: &plan::Root) -> Result<(), Failure> {
        fchdir(&self.0).at("enter root")?;
        // Both names are the same place: the old root ends up on top of the new one, from where it is taken away.
        pivot_root(".", ".").at("pivot_root")?;
        unmount(".", UnmountFlags::DETACH).at("unmount the host's root")?;
        fchdir(&self.0).at("enter root")?;
        self.finish(root)
    }

    /// Makes it "/" in a mount namespace that others use. A program with CAP_SYS_CHROOT can leave it.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        fchdir(&self.0).at("enter root")?;
        chroot(".").at("chroot")
    }

    /// Makes it "/" where pivot_root(2) cannot: the host's tree stays below it, but without procfs and sysfs, which
    /// could be reached there unmasked. `elsewhere`: it was not attached over "/".
    pub(crate) fn chroot(&self, root: &plan::Root, elsewhere: bool) -> Result<(), Failure> {
        for path in ["/proc", "/sys"] {
            leave_below(path).step(|| format!("take away the host's {path}"))?;
        }
        fchdir(&self.0).at("enter root")?;
        if elsewhere {
            mount_move(".", "/").at("move the root")?;
        }
        chroot(".").at("chroot")?;
        fchdir(&self.0).at("enter root")?;
        self.finish(root)
    }

    fn finish(&self, root: &plan::Root) -> Result<(), Failure> {
        if let Some(propagation) = root.propagation {
            mount::set(self.as_fd(), true, spread(propagation)).at("set the root's propagation")?;
        }
        if root.readonly {
            let change = Change { set: mount::READ_ONLY, ..Change::default() };
            mount::set(self.as_fd(), false, change).at("make the root read-only")?;
        }
        Ok(())
    }
}

/// A mount of the host that this namespace has a copy of: gone, or covered where a user namespace holds it fast.
fn leave_below(path: &str) -> io::Result<()> {
    let nothing = |e| matches!(e, Errno::INVAL | Errno::PERM | Errno::NOENT);
    match unmount(path, UnmountFlags::DETACH) {
        Err(e) if nothing(e) => {}
        other => return Ok(other?),
    }
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("tmpfs", path, "tmpfs", flags, None) {
        // There is no such directory.
        Err(Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// Attaches a detached mount on what `place` refers to.
pub(crate) fn put(tree: &OwnedFd, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", place, "", flags)?)
}

/// A detached copy of the mount, or the part of a mount, that a descriptor refers to.
pub(crate) fn copy(fd: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    Ok(open_tree(fd, "", flags)?)
}

/// The working directory, which must be inside the root however it was spelt: a magic link to a directory of the host
/// (CVE-2024-21626) is not followed, and what getcwd(2) says is believed.
pub(crate) fn change_directory(path: &Path) -> io::Result<()> {
    let root = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    fchdir(open_in_root(root.as_fd(), path, flags)?)?;
    let now = rustix::process::getcwd(Vec::new())?;
    if now.to_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(io::Error::other("it is outside of the container"))
    }
}
