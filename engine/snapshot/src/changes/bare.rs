//! Mount points: what the runtime had to make in a container's tree so that there is something to mount upon. Nobody
//! wrote them, so they are no part of what a container changed.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::driver::fuse;
use crate::error::io;
use crate::files::{Name, failed, is_opaque, kind, there};
use crate::{Driver, Result};

/// Where something was mounted, and what stands below.
pub(crate) struct Bare {
    points: BTreeSet<Name>,
    /// The directories above them.
    above: BTreeSet<Name>,
    below: Option<OwnedFd>,
    /// Whether the driver keeps marks of its own in directories.
    marked: bool,
}

impl Bare {
    /// `points` are paths inside the container; those that no tree can have are passed over.
    pub(crate) fn new(points: &[PathBuf], below: Option<OwnedFd>, driver: Driver) -> Self {
        let parsed = points.iter().filter_map(|path| Name::parse(path.as_os_str().as_bytes()).ok());
        let points: BTreeSet<Name> = parsed.filter(|name| !name.is_root()).collect();
        let depth = |name: &Name| name.components().count();
        let above = points.iter().flat_map(|name| (1..depth(name)).map(|count| name.upto(count))).collect();
        let marked = driver == Driver::Fuse && below.is_some();
        Self { points, above, below, marked }
    }

    /// Whether there is anything below.
    pub(crate) fn has_below(&self) -> bool {
        self.below.is_some()
    }

    /// Whether a name in the tree is one that the driver keeps there for itself.
    pub(crate) fn is_mark(&self, last: &[u8]) -> bool {
        self.marked && fuse::is_mark(last)
    }

    /// What the layers below have under a name, themselves and not what they lead to.
    pub(crate) fn below(&self, name: &Name) -> Result<Option<OwnedFd>> {
        let Some(below) = &self.below else { return Ok(None) };
        there(below, name.as_path()).map_err(failed("look below", name))
    }

    /// [`Bare::below`], looked at.
    pub(crate) fn stat_below(&self, name: &Name) -> Result<Option<Stat>> {
        let found = self.below(name)?;
        found.map(|found| fstat(&found).map_err(failed("look below", name))).transpose()
    }

    /// Whether a file is nothing but a place to mount upon.
    pub(crate) fn is_bare_file(&self, name: &Name, stat: &Stat) -> Result<bool> {
        let empty = kind(stat) == FileType::RegularFile && stat.st_size == 0;
        Ok(empty && self.points.contains(name) && self.below(name)?.is_none())
    }

    /// Whether a directory is nothing but a place to mount upon, or the way to such places.
    pub(crate) fn is_bare_directory(&self, name: &Name, open: &OwnedFd, stat: &Stat) -> Result<bool> {
        if !self.points.contains(name) && !self.above.contains(name) {
            return Ok(false);
        }
        let same = |below: &Stat| {
            (below.st_mode, below.st_uid, below.st_gid) == (stat.st_mode, stat.st_uid, stat.st_gid)
        };
        if self.stat_below(name)?.is_some_and(|below| !same(&below)) {
            return Ok(false);
        }
        if is_opaque(open).map_err(failed("look at", name))? && self.below(name)?.is_some() {
            return Ok(false);
        }
        self.holds_only_bare(name, open)
    }

    fn holds_only_bare(&self, name: &Name, open: &OwnedFd) -> Result<bool> {
        // The position of a descriptor that somebody else reads as well is not touched.
        let again = reopen(open.as_fd(), ".").map_err(failed("open", name))?;
        for entry in Dir::read_from(&again).map_err(failed("list", name))? {
            let entry = entry.map_err(failed("list", name))?;
            let last = entry.file_name().to_bytes();
            if matches!(last, b"." | b"..") || self.is_mark(last) {
                continue;
            }
            let child = name.join(last);
            let stat = match statat(open, last, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat.map_err(failed("look at", &child))?,
            };
            let bare = if kind(&stat) == FileType::Directory {
                let inner = reopen(open.as_fd(), entry.file_name()).map_err(failed("open", &child))?;
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

    /// The names that the layers below have in a directory.
    pub(crate) fn names_below(&self, name: &Name) -> Result<BTreeSet<Vec<u8>>> {
        let Some(found) = self.below(name)? else { return Ok(BTreeSet::new()) };
        if kind(&fstat(&found).map_err(failed("look below", name))?) != FileType::Directory {
            return Ok(BTreeSet::new());
        }
        let open = reopen(found.as_fd(), ".").map_err(failed("open", name))?;
        let entries = Dir::read_from(&open).map_err(failed("list", name))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_owned()));
        let names = names.filter(|name| !matches!(name.as_deref(), Ok(b"." | b"..")));
        names.collect::<rustix::io::Result<_>>().map_err(io("list", name.as_path()))
    }
}

fn reopen(
    directory: std::os::fd::BorrowedFd<'_>,
    name: impl rustix::path::Arg,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}
