//! What a whole tree has otherwise than the one that it was copied from, in the shape in which overlayfs keeps it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, Stat, fstat, readlinkat};
use tare_sys::path::open_without_links;

use super::lower::Lower;
use crate::error::io;
use crate::files::{
    self, Found, Go, Metadata, Name, Time, failed, kind, open_file, open_in_tree, reopen_directory,
    same_content, walk,
};
use crate::{Driver, Result};

/// A writable layer beside what is below it.
pub(crate) struct Delta {
    pub driver: Driver,
    pub tree: OwnedFd,
    pub lower: Lower,
    /// What has not changed since this moment is as it was copied.
    pub copied: Option<Time>,
}

type Show<'a> = dyn FnMut(&Lower, &Name, &Found<'_>) -> Result<Go> + 'a;

impl Delta {
    /// Shows what the layer adds, changes and hides, each directory before what is in it; the root always.
    pub(crate) fn walk(&self, show: &mut Show<'_>) -> Result<()> {
        let lower = &self.lower;
        if self.driver.stacks() || !lower.exists() {
            return walk(&self.tree, &mut |name, found| {
                if lower.is_mark(name.last()) { Ok(Go::Past) } else { show(lower, name, found) }
            });
        }
        // Directories that are as they were, until something in them is not.
        let mut waiting: Vec<Name> = Vec::new();
        walk(&self.tree, &mut |name, found| {
            while waiting.last().is_some_and(|last| !name.is_below(last)) {
                waiting.pop();
            }
            if name.is_root() {
                let go = show(lower, name, found)?;
                self.deleted(name, &mut waiting, show)?;
                return Ok(go);
            }
            let below = lower.stat(name)?;
            match (found, below) {
                (Found::Directory { open, stat, .. }, Some(below)) if kind(&below) == FileType::Directory => {
                    if self.same_directory(name, open, stat, &below)? {
                        waiting.push(name.clone());
                    } else {
                        self.arrive(&mut waiting, show)?;
                        if show(lower, name, found)? == Go::Past {
                            return Ok(Go::Past);
                        }
                    }
                    self.deleted(name, &mut waiting, show)?;
                    Ok(Go::Into)
                }
                (Found::Other { parent, stat }, Some(below)) if self.same(name, *parent, stat, &below)? => {
                    Ok(Go::Into)
                }
                (Found::Other { stat, .. }, _) if lower.is_bare_file(name, stat)? => show(lower, name, found),
                (Found::Directory { open, stat, .. }, _) if lower.is_bare_directory(name, open, stat)? => {
                    show(lower, name, found)
                }
                // A device 0:0 of the container's own making, which no layer can hold.
                (Found::Whiteout, _) => Ok(Go::Into),
                _ => {
                    self.arrive(&mut waiting, show)?;
                    show(lower, name, found)
                }
            }
        })
    }

    /// What the driver keeps in the tree for itself.
    pub(crate) fn marks(&self) -> Result<Vec<Name>> {
        let mut marks = Vec::new();
        if self.driver == Driver::Fuse {
            walk(&self.tree, &mut |name, _| {
                marks.extend(self.lower.is_mark(name.last()).then(|| name.clone()));
                Ok(Go::Into)
            })?;
        }
        Ok(marks)
    }

    /// Shows the directories that had waited for a reason.
    fn arrive(&self, waiting: &mut Vec<Name>, show: &mut Show<'_>) -> Result<()> {
        for name in waiting.drain(..) {
            let directory = open_in_tree(&self.tree, &name)?;
            let stat = fstat(&directory).map_err(failed("look at", &name))?;
            let found = Found::Directory { open: &directory, stat: &stat, opaque: false };
            show(&self.lower, &name, &found)?;
        }
        Ok(())
    }

    fn deleted(&self, name: &Name, waiting: &mut Vec<Name>, show: &mut Show<'_>) -> Result<()> {
        let below = self.lower.names(name)?;
        let here = files::names(open_in_tree(&self.tree, name)?).map_err(failed("list", name))?;
        let here = BTreeSet::from_iter(here);
        for gone in below.difference(&here) {
            self.arrive(waiting, show)?;
            show(&self.lower, &name.join(gone), &Found::Whiteout)?;
        }
        Ok(())
    }

    fn same_directory(&self, name: &Name, open: &OwnedFd, stat: &Stat, below: &Stat) -> Result<bool> {
        if (stat.st_mode, stat.st_uid, stat.st_gid) != (below.st_mode, below.st_uid, below.st_gid) {
            return Ok(false);
        }
        if !self.touched(stat) {
            return Ok(true);
        }
        let Some(other) = self.lower.find(name)? else { return Ok(false) };
        let other = reopen_directory(&other).map_err(failed("look below", name))?;
        let xattrs = |fd: BorrowedFd<'_>| Metadata::read(fd).map(|read| read.xattrs);
        let (mine, its) = (xattrs(open.as_fd()), xattrs(other.as_fd()));
        Ok(mine.map_err(failed("look at", name))? == its.map_err(failed("look below", name))?)
    }

    fn same(&self, name: &Name, parent: BorrowedFd<'_>, stat: &Stat, below: &Stat) -> Result<bool> {
        let described = |stat: &Stat| {
            let time = (stat.st_mtime, stat.st_mtime_nsec);
            (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev, stat.st_size, time)
        };
        if described(stat) != described(below) {
            return Ok(false);
        }
        if !self.touched(stat) {
            return Ok(true);
        }
        let Some(other) = self.lower.find(&name.parent())? else { return Ok(false) };
        match kind(stat) {
            FileType::Symlink => {
                let target = |fd: BorrowedFd<'_>| readlinkat(fd, name.last(), Vec::new());
                Ok(target(parent).map_err(failed("read", name))?
                    == target(other.as_fd()).map_err(failed("read", name))?)
            }
            FileType::RegularFile => {
                let file = |fd: BorrowedFd<'_>| open_file(fd, name.last()).map_err(failed("open", name));
                let (mine, its) = (file(parent)?, file(other.as_fd())?);
                let xattrs = |file: &File| {
                    Metadata::read(file.as_fd()).map(|read| read.xattrs).map_err(failed("look at", name))
                };
                Ok(xattrs(&mine)? == xattrs(&its)? && same_content([&mine, &its], name)?)
            }
            _ => Ok(true),
        }
    }

    /// Whether something was done to it since it was copied; the kernel notes that where nobody can change it.
    fn touched(&self, stat: &Stat) -> bool {
        let changed = Time { seconds: stat.st_ctime, nanoseconds: stat.st_ctime_nsec as u32 };
        self.copied.is_none_or(|copied| copied <= changed)
    }
}

/// When the tree at `place` was complete: its link to the layer below was made after that.
pub(crate) fn completed(place: &OwnedFd, link: &str) -> Result<Option<Time>> {
    let found =
        open_without_links(place.as_fd(), std::path::Path::new(link), OFlags::PATH | OFlags::NOFOLLOW);
    match found {
        Ok(found) => {
            let stat = fstat(&found).map_err(io("look at", link))?;
            Ok(Some(Time { seconds: stat.st_ctime, nanoseconds: stat.st_ctime_nsec as u32 }))
        }
        Err(_) => Ok(None),
    }
}
