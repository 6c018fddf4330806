//! A group in every hierarchy: made, opened, joined, listed, removed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkdirat, rmdir};
use rustix::io::Errno;

use crate::detect::{Hierarchies, Hierarchy, Version, relative};
use crate::error::{Error, Result};
use crate::file;
use crate::inside::{processes_in, remove_dir};
use crate::systemd::Unit;

/// One container's group in every hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) version: Version,
    pub(crate) dirs: Vec<Dir>,
    /// Where systemd keeps it.
    pub(crate) unit: Option<Unit>,
    /// Where below the unit's group it is in v2; empty = the unit's own.
    pub(crate) below: PathBuf,
}

/// The group's directory in one hierarchy.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) fd: OwnedFd,
    /// On the host.
    pub(crate) path: PathBuf,
    pub(crate) hierarchy: Hierarchy,
}

/// A directory that a container may see at `/sys/fs/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSource {
    /// The directory's name below `/sys/fs/cgroup`: `memory`, `cpu,cpuacct`, `unified`; empty on a pure v2 host, where it
    /// is `/sys/fs/cgroup` itself.
    pub name: String,
    /// mount(2)'s data for a v1 hierarchy: `memory`, `cpu,cpuacct`, `none,name=systemd`; empty for v2.
    pub options: String,
    /// Whether it is cgroup2.
    pub unified: bool,
    /// The group's directory on the host, to bind where there is no cgroup namespace.
    pub path: PathBuf,
}

impl Cgroup {
    /// Makes the group at `path` (from the hierarchies' roots) everywhere, or nowhere. A group left over by a dead
    /// process is replaced.
    ///
    /// # Errors
    /// [`Error::Busy`] where the group exists and has processes in it.
    pub fn create(hierarchies: &Hierarchies, path: &Path) -> Result<Self> {
        let path = relative(path)?;
        let version = hierarchies.version();
        let mut dirs: Vec<Dir> = Vec::with_capacity(hierarchies.list.len());
        for hierarchy in &hierarchies.list {
            match make(hierarchy, path, version) {
                Ok(dir) => dirs.push(dir),
                Err(first) => {
                    dirs.iter().for_each(|dir| drop(remove_dir(dir)));
                    return Err(first);
                }
            }
        }
        Ok(Self { version, dirs, unit: None, below: PathBuf::new() })
    }

    /// Opens a group that exists; hierarchies in which it does not are left out.
    pub fn open(hierarchies: &Hierarchies, path: &Path) -> Result<Self> {
        let path = relative(path)?;
        let mut dirs = Vec::with_capacity(hierarchies.list.len());
        for hierarchy in &hierarchies.list {
            match open(hierarchy, path) {
                Ok(dir) => dirs.push(dir),
                Err(e) if e.errno() == Some(Errno::NOENT) => {}
                Err(e) => return Err(e),
            }
        }
        if dirs.is_empty() {
            return Err(Error::file("open cgroup", Path::new("/").join(path), Errno::NOENT));
        }
        Ok(Self { version: hierarchies.version(), dirs, unit: None, below: PathBuf::new() })
    }

    /// Ends what nobody looks after any more: kills the group's processes and removes it. No group is no error.
    pub fn sweep(hierarchies: &Hierarchies, path: &Path) -> Result<()> {
        let below = relative(path)?;
        // Most are empty: then that is all.
        let gone =
            |hierarchy: &Hierarchy| matches!(rmdir(hierarchy.point.join(below)), Ok(()) | Err(Errno::NOENT));
        if hierarchies.list.iter().filter(|hierarchy| !gone(hierarchy)).count() == 0 {
            return Ok(());
        }
        match Self::open(hierarchies, path) {
            Ok(group) => group.kill().and_then(|()| group.remove()),
            Err(e) if e.errno() == Some(Errno::NOENT) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Moves a process into the group in every hierarchy. Prefer [`Cgroup::entrance`] for one that is just made.
    pub fn add(&self, pid: i32) -> Result<()> {
        let refused = |e: &Error| matches!(e.errno(), Some(Errno::ACCESS | Errno::PERM));
        match (self.dirs.iter().try_for_each(|dir| attach(dir, pid)), &self.unit) {
            (Err(error), Some(unit)) if refused(&error) => unit.admit(pid, &self.below),
            (Err(Error::File { source, .. }), _) if self.refusal(&source).is_some() => {
                self.refusal(&source).map_or(Ok(()), Err)
            }
            (added, _) => added,
        }
    }

    /// The v2 directory, for `CLONE_INTO_CGROUP`.
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.unified().map(|dir| dir.fd.as_fd())
    }

    /// The host's layout.
    pub fn version(&self) -> Version {
        self.version
    }

    /// All processes, sub-groups included, in no order.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let Some(dir) = self.unified().or_else(|| self.dirs.first()) else { return Ok(Vec::new()) };
        processes_in(dir)
    }

    /// Removes the empty group and its sub-groups everywhere. What is gone already is no error.
    ///
    /// # Errors
    /// [`Error::Busy`] where a process is left; the first failure is returned, after all directories were tried.
    pub fn remove(&self) -> Result<()> {
        self.unit.as_ref().map_or(Ok(()), Unit::stop)?;
        self.dirs.iter().map(remove_dir).fold(Ok(()), Result::and)
    }

    /// The directory whose freezer others may use: v2's where there is one, as [`Cgroup::freeze`] does.
    pub fn freezer_dir(&self) -> Option<&Path> {
        self.unified().or_else(|| self.v1("freezer")).map(|dir| dir.path.as_path())
    }

    /// What to mount at `/sys/fs/cgroup` inside.
    pub fn mount_sources(&self) -> Vec<MountSource> {
        self.dirs.iter().map(|dir| mount_source(dir, self.version)).collect()
    }

    pub(crate) fn unified(&self) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.hierarchy.unified)
    }

    /// The v1 hierarchy of a controller.
    pub(crate) fn v1(&self, controller: &str) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.hierarchy.controllers.iter().any(|c| c == controller))
    }
}

fn attach(dir: &Dir, pid: i32) -> Result<()> {
    match file::write(dir.fd.as_fd(), "cgroup.procs", &pid.to_string()) {
        Err(e) => Err(Error::file(format!("attach process {pid} to"), &dir.path, e)),
        Ok(()) => Ok(()),
    }
}

pub(crate) fn make(hierarchy: &Hierarchy, path: &Path, version: Version) -> Result<Dir> {
    let place = hierarchy.point.join(path);
    let fail = |e: Errno| Error::file("make cgroup", &place, e);
    let make = || mkdirat(CWD, &place, Mode::from(0o755));
    match make() {
        Ok(()) => {}
        Err(Errno::NOENT) => {
            let root = open_root(hierarchy)?;
            make_parents(hierarchy, root.as_fd(), path).and_then(|()| make()).map_err(fail)?;
        }
        Err(Errno::EXIST) => {
            remove_dir(&open(hierarchy, path)?)?;
            make().map_err(fail)?;
        }
        Err(e) => return Err(fail(e)),
    }
    let dir = open(hierarchy, path)?;
    match prepare(&dir, path, version) {
        Ok(()) => Ok(dir),
        Err(first) => {
            drop(remove_dir(&dir));
            Err(fail(first))
        }
    }
}

/// The directory of a group that is there, or is made now; nothing is replaced.
pub(crate) fn adopt(hierarchy: &Hierarchy, path: &Path, version: Version) -> Result<Dir> {
    let fail = |e: Errno| Error::file("make cgroup", hierarchy.point.join(path), e);
    let root = open_root(hierarchy)?;
    make_parents(hierarchy, root.as_fd(), path).map_err(fail)?;
    match mkdirat(&root, path, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(fail(e)),
    }
    let dir = open(hierarchy, path)?;
    match prepare(&dir, path, version) {
        // What systemd hands over is enough; the rest is the host's.
        Ok(()) | Err(Errno::ACCESS | Errno::PERM) => Ok(dir),
        Err(e) => Err(fail(e)),
    }
}

/// What must be so before a process may come in and limits be written.
fn prepare(dir: &Dir, path: &Path, version: Version) -> rustix::io::Result<()> {
    let root = || file::open_dir(CWD, &dir.hierarchy.point);
    if dir.hierarchy.controllers.iter().any(|c| c == "cpuset") {
        return inherit_cpuset(root()?.as_fd(), path, dir.fd.as_fd());
    }
    if version == Version::V2 && dir.hierarchy.unified {
        delegate_all(root()?.as_fd(), path, dir.fd.as_fd())?;
    }
    Ok(())
}

fn open_root(hierarchy: &Hierarchy) -> Result<OwnedFd> {
    file::open_dir(CWD, &hierarchy.point).map_err(|e| Error::file("open", &hierarchy.point, e))
}

fn open(hierarchy: &Hierarchy, path: &Path) -> Result<Dir> {
    let path = hierarchy.point.join(path);
    let fd = file::open_dir(CWD, &path).map_err(|e| Error::file("open cgroup", &path, e))?;
    Ok(Dir { fd, path, hierarchy: hierarchy.clone() })
}

fn make_parents(hierarchy: &Hierarchy, root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<()> {
    let cpuset = hierarchy.controllers.iter().any(|c| c == "cpuset");
    for parent in parents(path) {
        match mkdirat(root, parent, Mode::from(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        if cpuset {
            let fd = file::open_dir(root, parent)?;
            inherit_cpuset(root, parent, fd.as_fd())?;
            // From now on the kernel copies the parent's set into every new child itself.
            file::write(fd.as_fd(), "cgroup.clone_children", "1")?;
        }
    }
    Ok(())
}

/// The directories above `path`, the topmost first.
fn parents(path: &Path) -> Vec<&Path> {
    let mut list: Vec<&Path> = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
    list.reverse();
    list
}

/// A new v1 cpuset is empty and takes no process: it starts as its parent is.
fn inherit_cpuset(root: BorrowedFd<'_>, path: &Path, group: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if file::read(group, name)?.trim().is_empty() {
            let value = file::read(file::open_dir(root, above)?.as_fd(), name)?;
            file::write(group, name, value.trim())?;
        }
    }
    Ok(())
}

/// The v2 controllers that limits may need.
const DELEGATED: [&str; 7] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"];

fn delegate_all(root: BorrowedFd<'_>, path: &Path, group: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let there = file::read(root, "cgroup.controllers")?;
    let wanted: Vec<&str> =
        DELEGATED.into_iter().filter(|c| there.split_whitespace().any(|t| t == *c)).collect();
    delegate(root, path, group, &wanted)
}

/// Hands v2 controllers down from the root to a group. One that the kernel refuses (a root with processes in it,
/// real-time processes, a group above that is not this user's) stays missing: the limit that needs it says so.
pub(crate) fn delegate(
    root: BorrowedFd<'_>,
    path: &Path,
    group: BorrowedFd<'_>,
    wanted: &[&str],
) -> rustix::io::Result<()> {
    let there = file::read(group, "cgroup.controllers")?;
    let missing: Vec<&&str> = wanted.iter().filter(|c| !there.split_whitespace().any(|t| t == **c)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut above = vec![Path::new(".")];
    above.extend(parents(path));
    for parent in above {
        let fd = file::open_dir(root, parent)?;
        for controller in &missing {
            match file::write(fd.as_fd(), "cgroup.subtree_control", &format!("+{controller}")) {
                Ok(()) | Err(Errno::BUSY | Errno::NOENT | Errno::INVAL | Errno::OPNOTSUPP) => {}
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

fn mount_source(dir: &Dir, version: Version) -> MountSource {
    let base = dir.hierarchy.point.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let name = if version == Version::V2 && dir.hierarchy.unified { String::new() } else { base };
    let options = match dir.hierarchy.controllers.as_slice() {
        [only] if only.starts_with("name=") => format!("none,{only}"),
        several => several.join(","),
    };
    MountSource { name, options, unified: dir.hierarchy.unified, path: dir.path.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_listed_from_the_top() {
        let list: Vec<_> = parents(Path::new("a/b/c")).iter().map(|p| p.to_str().unwrap()).collect();
        assert_eq!(list, ["a", "a/b"]);
        assert!(parents(Path::new("a")).is_empty());
    }
}
