//! What stands below a container's tree, and its mount points: what the runtime had to make in it so that there is something to
//! mount upon. Nobody wrote them, so they are no part of what the container changed.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use rustix::io::Errno;

use crate::driver::fuse;
use crate::files::{
    self, Name, failed, follow, is_opaque, kind, open_directory, read_link, reopen_directory, there,
};
use crate::{Driver, Result};

/// The layers below a writable one, and where something was mounted upon it.
pub(crate) struct Lower {
    /// Where something was mounted.
    points: BTreeSet<Name>,
    /// The directories above these points.
    above: BTreeSet<Name>,
    below: Option<OwnedFd>,
    /// Whether the driver keeps marks of its own in directories.
    marked: bool,
}

/// The name of the same place with no link in it; nothing where links lead nowhere.
fn led(below: &OwnedFd, name: &Name) -> Option<Name> {
    let link = |name: &Name| match there(below, name.as_path()).map_err(failed("look below", name))? {
        Some(found) => read_link(&found).map_err(failed("look below", name)),
        None => Ok(None),
    };
    follow(name, link).ok()
}

impl Lower {
    /// `points` are paths inside the container; those that no tree can have are passed over. What is mounted through links of the
    /// layers below stands where they lead.
    pub(crate) fn new(points: &[PathBuf], below: Option<OwnedFd>, driver: Driver) -> Self {
        let parsed = points.iter().filter_map(|path| Name::parse(path.as_os_str().as_bytes()).ok());
        let both = parsed.flat_map(|name| [below.as_ref().and_then(|below| led(below, &name)), Some(name)]);
        let points: BTreeSet<Name> = both.flatten().filter(|name| !name.is_root()).collect();
        let depth = |name: &Name| name.components().count();
        let above = points.iter().flat_map(|name| (1..depth(name)).map(|count| name.upto(count))).collect();
        let marked = driver == Driver::Fuse && below.is_some();
        Self { points, above, below, marked }
    }

    /// Whether there are any.
    pub(crate) fn exists(&self) -> bool {
        self.below.is_some()
    }

    /// Whether a name in the tree is one that the driver keeps there for itself.
    pub(crate) fn is_mark(&self, last: &[u8]) -> bool {
        self.marked && fuse::is_mark(last)
    }

    /// What they have under a name, itself and not what it leads to.
    pub(crate) fn find(&self, name: &Name) -> Result<Option<OwnedFd>> {
        let Some(below) = &self.below else { return Ok(None) };
        there(below, name.as_path()).map_err(failed("look below", name))
    }

    /// [`Lower::find`], looked at.
    pub(crate) fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        let found = self.find(name)?;
        found.map(|found| fstat(&found).map_err(failed("look below", name))).transpose()
    }

    /// Whether a file is nothing but a place to mount upon.
    pub(crate) fn is_bare_file(&self, name: &Name, stat: &Stat) -> Result<bool> {
        let empty = kind(stat) == FileType::RegularFile && stat.st_size == 0;
        Ok(empty && self.points.contains(name) && self.find(name)?.is_none())
    }

    /// Whether a directory is nothing but a place to mount upon, or the way to such places.
    pub(crate) fn is_bare_directory(&self, name: &Name, open: &OwnedFd, stat: &Stat) -> Result<bool> {
        if !self.points.contains(name) && !self.above.contains(name) {
            return Ok(false);
        }
        let same = |below: &Stat| {
            (below.st_mode, below.st_uid, below.st_gid) == (stat.st_mode, stat.st_uid, stat.st_gid)
        };
        if self.stat(name)?.is_some_and(|below| !same(&below)) {
            return Ok(false);
        }
        if is_opaque(open).map_err(failed("look at", name))? && self.find(name)?.is_some() {
            return Ok(false);
        }
        self.holds_only_bare(name, open)
    }

    fn holds_only_bare(&self, name: &Name, open: &OwnedFd) -> Result<bool> {
        for last in files::names(open).map_err(failed("list", name))? {
            if self.is_mark(&last) {
                continue;
            }
            let child = name.join(&last);
            let stat = match statat(open, last.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat.map_err(failed("look at", &child))?,
            };
            let bare = if kind(&stat) == FileType::Directory {
                let inner = open_directory(open, &last).map_err(failed("open", &child))?;
                self.is_bare_directory(&child, &inner, &stat)?
            } else {
                self.is_bare_file(&child, &stat)?
            };
            if !bare {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The names that they have in a directory.
    pub(crate) fn names(&self, name: &Name) -> Result<BTreeSet<Vec<u8>>> {
        let Some(found) = self.find(name)? else { return Ok(BTreeSet::new()) };
        if kind(&fstat(&found).map_err(failed("look below", name))?) != FileType::Directory {
            return Ok(BTreeSet::new());
        }
        let names = reopen_directory(&found).and_then(files::names).map_err(failed("list", name))?;
        Ok(BTreeSet::from_iter(names))
    }
}
