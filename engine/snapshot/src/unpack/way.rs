//! Ways through a tree: every step is one component below an open directory, entered by `openat2(2)` without symlinks.
//! Where the archive or a layer below has a symlink on the way, it is read and the name begun anew at the image's root;
//! the kernel never follows one.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, statat};
use rustix::io::Errno;

use super::tree::Tree;
use crate::Result;
use crate::files::{Name, follow, is_opaque, is_whiteout, kind, open_directory, read_link, refused, there};

/// How many directories on the way to the last entry stay open; deeper ones are entered anew each time.
const OPEN: usize = 64;

impl Tree {
    /// Opens the directory that holds `name`, making it and those above it where they are missing. Where symlinks lead
    /// there, `name` becomes the one without them.
    pub(crate) fn parent(&mut self, name: &mut Name) -> Result<Arc<OwnedFd>> {
        let mut parent = name.parent();
        if let Some(directory) = self.walk(&parent)? {
            return Ok(directory);
        }
        let directory = self.enter(&mut parent)?;
        *name = parent.join(name.last());
        Ok(directory)
    }

    /// Opens a directory as [`Tree::parent`] does.
    pub(crate) fn enter(&mut self, name: &mut Name) -> Result<Arc<OwnedFd>> {
        if let Some(directory) = self.walk(name)? {
            return Ok(directory);
        }
        *name = self.without_links(name)?;
        let walked = self.walk(name)?;
        walked.ok_or_else(|| refused(name.as_bytes(), "is a symlink that another entry leads through"))
    }

    /// The name of the same place with no symlink in it, neither of this layer nor of those below.
    pub(crate) fn without_links(&self, name: &Name) -> Result<Name> {
        // Most steps lead from one name to the next below it: looked up from the root, deep names would cost their square.
        let mut last = None;
        follow(name, |name| self.link(name, &mut last))
    }

    /// What the layers below have at this name, which no symlink leads to, as a descriptor of the thing itself. Nothing
    /// where this layer hides it.
    pub(crate) fn below(&self, name: &Name) -> Result<Option<OwnedFd>> {
        let Some(below) = &self.below else { return Ok(None) };
        match there(below, name.as_path()).map_err(self.failed("look below", name))? {
            Some(found) => Ok((!self.hides(name)?).then_some(found)),
            None => Ok(None),
        }
    }

    /// Where a symlink below leads that this layer does not hide.
    pub(crate) fn link_below(&self, name: &Name) -> Result<Option<Vec<u8>>> {
        let found = self.below(name)?;
        found.map_or(Ok(None), |found| read_link(&found).map_err(self.failed("look below", name)))
    }

    /// Where the symlink of this name leads, in this layer or where it has nothing in those below. `last` is what this layer has
    /// under the name that was asked for before.
    fn link(&self, name: &Name, last: &mut Option<(Name, Option<OwnedFd>)>) -> Result<Option<Vec<u8>>> {
        let found = match last.take() {
            Some((parent, Some(open))) if parent == name.parent() => there(&open, name.last_path()),
            Some((parent, None)) if parent == name.parent() => Ok(None),
            _ => there(&self.root, name.as_path()),
        };
        let found = found.map_err(self.failed("look at", name))?;
        let target = match &found {
            Some(found) => read_link(found).map_err(self.failed("read", name))?,
            None => self.link_below(name)?,
        };
        if target.is_none() {
            *last = Some((name.clone(), found));
        }
        Ok(target)
    }

    /// Whether a whiteout or an opaque directory above `name` hides what layers below have.
    fn hides(&self, name: &Name) -> Result<bool> {
        let mut at = self.root.clone();
        let parent = name.parent();
        let mut above = parent.components();
        loop {
            if is_opaque(&at).map_err(self.failed("look at", name))? {
                return Ok(true);
            }
            let Some(component) = above.next() else { return Ok(false) };
            match open_directory(&at, component) {
                Ok(open) => at = Arc::new(open),
                Err(Errno::NOENT) => return Ok(false),
                // A whiteout, or anything else that is no directory.
                Err(_) => return Ok(true),
            }
        }
    }

    /// Opens a directory and makes what is missing; `None` where a symlink is on the way.
    fn walk(&mut self, name: &Name) -> Result<Option<Arc<OwnedFd>>> {
        let (known, mut current) = self.nearest(name);
        for (depth, component) in name.components().enumerate().skip(known) {
            let opened = match open_directory(&current, component) {
                Ok(directory) => directory,
                Err(error) => match self.make_way(&current, &name.upto(depth + 1), error)? {
                    Some(directory) => directory,
                    None => return Ok(None),
                },
            };
            current = Arc::new(opened);
            if depth < OPEN {
                self.trail.push((component.to_owned(), current.clone()));
            }
        }
        self.latest = Some((name.clone(), current.clone()));
        Ok(Some(current))
    }

    /// The open directory that is furthest on the way to `name`, and how far that is. What leads elsewhere is closed.
    fn nearest(&mut self, name: &Name) -> (usize, Arc<OwnedFd>) {
        let known =
            name.components().zip(&self.trail).take_while(|(component, (open, _))| component == open).count();
        self.trail.truncate(known);
        match &self.latest {
            Some((latest, directory)) if known == OPEN && (name == latest || name.is_below(latest)) => {
                (latest.components().count(), directory.clone())
            }
            _ => (known, self.trail.last().map_or_else(|| self.root.clone(), |(_, open)| open.clone())),
        }
    }

    /// A directory where there was none, or `None` for a symlink that leads on.
    fn make_way(&mut self, parent: &OwnedFd, name: &Name, error: Errno) -> Result<Option<OwnedFd>> {
        let leads_on = match error {
            Errno::NOENT => self.link_below(name)?.is_some(),
            error => self.is_link(parent, name, error)?,
        };
        if leads_on {
            return Ok(None);
        }
        self.count()?;
        self.keep(name.as_bytes().len())?;
        self.make_directory(parent, name)?;
        self.directories.entry(name.clone()).or_insert(None);
        self.step(parent, name).map(Some)
    }

    /// Opens a directory that must be there.
    pub(crate) fn step(&self, parent: &OwnedFd, name: &Name) -> Result<OwnedFd> {
        open_directory(parent, name.last()).map_err(self.failed("open", name))
    }

    /// Whether a symlink stands where a directory is needed. A whiteout makes way for the directory, nothing else does.
    fn is_link(&self, parent: &OwnedFd, name: &Name, error: Errno) -> Result<bool> {
        match (error, statat(parent, name.last(), AtFlags::SYMLINK_NOFOLLOW)) {
            (Errno::NOTDIR | Errno::LOOP, Ok(stat)) if kind(&stat) == FileType::Symlink => Ok(true),
            (Errno::NOTDIR | Errno::LOOP, Ok(stat)) if is_whiteout(&stat) => Ok(false),
            (Errno::NOTDIR, _) => {
                Err(refused(name.as_bytes(), "is no directory, and another entry lies below it"))
            }
            (error, _) => Err(self.failed("open", name)(error)),
        }
    }
}
