//! Whole trees, made a second time.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, ioctl_ficlone, linkat, major, makedev, minor, mkdirat,
    mknodat, openat, readlinkat, symlinkat,
};
use rustix::io::Errno;

use crate::Result;
use crate::error::io;
use crate::files::{Found, Go, Metadata, Name, copy_file, failed, kind, open_file, open_in_tree, walk};

/// What a second tree has of the first one's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// The same ones: neither tree is ever written to.
    Linked,
    /// Copies, by reflinks where the file system has them.
    Copied,
}

/// Makes everything of `from` in the empty directory `to`.
pub(crate) fn duplicate(from: &OwnedFd, to: &OwnedFd, files: Files) -> Result<()> {
    let mut copy = Duplicate { to, files, links: HashMap::new(), parent: None, directories: Vec::new() };
    walk(from, &mut |name, found| copy.take(name, found).map(|()| Go::Into))?;
    // Last, as filling a directory changes its times.
    copy.directories.iter().rev().try_for_each(|(name, metadata)| {
        let open = open_in_tree(to, name)?;
        metadata.apply(open.as_fd()).map_err(failed("describe", name))
    })
}

struct Duplicate<'a> {
    to: &'a OwnedFd,
    files: Files,
    /// The first name of everything that has several.
    links: HashMap<(u64, u64), Name>,
    /// The directory that was written to last.
    parent: Option<(Name, OwnedFd)>,
    directories: Vec<(Name, Metadata)>,
}

impl Duplicate<'_> {
    fn take(&mut self, name: &Name, found: &Found<'_>) -> Result<()> {
        if let Found::Directory { open, .. } = found {
            let metadata = Metadata::read(open.as_fd()).map_err(failed("look at", name))?;
            if !name.is_root() {
                let parent = self.parent_of(name)?;
                mkdirat(parent, name.last(), Mode::RWXU).map_err(failed("make", name))?;
            }
            self.directories.push((name.clone(), metadata));
            return Ok(());
        }
        let Found::Other { parent: from, stat } = found else { return Ok(()) };
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)).cloned() {
                let home = open_in_tree(self.to, &first.parent())?;
                let parent = self.parent_of(name)?;
                let linked = linkat(&home, first.last(), parent, name.last(), AtFlags::empty());
                return linked.map_err(failed("link", name));
            }
            self.links.insert((stat.st_dev, stat.st_ino), name.clone());
        }
        let linked = self.files == Files::Linked;
        let parent = self.parent_of(name)?;
        if linked {
            match linkat(from, name.last(), parent, name.last(), AtFlags::empty()) {
                Ok(()) => return Ok(()),
                // As many names as a file can have.
                Err(Errno::MLINK) => {}
                Err(error) => return Err(failed("link", name)(error)),
            }
        }
        one(*from, parent, name, stat)
    }

    fn parent_of(&mut self, name: &Name) -> Result<BorrowedFd<'_>> {
        let wanted = name.parent();
        if self.parent.as_ref().is_none_or(|(known, _)| *known != wanted) {
            let opened = open_in_tree(self.to, &wanted)?;
            self.parent = Some((wanted, opened));
        }
        let (_, parent) = self.parent.as_ref().expect("it has just been opened");
        Ok(parent.as_fd())
    }
}

/// Copies one thing that is no directory.
fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &Name, stat: &Stat) -> Result<()> {
    let last = name.last();
    let described = || Metadata::of(stat).apply_at(to, last, kind(stat) == FileType::Symlink);
    match kind(stat) {
        FileType::RegularFile => {
            let source = match open_file(from, last) {
                Err(Errno::NOENT) => return Ok(()),
                source => source.map_err(failed("open", name))?,
            };
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = openat(to, last, flags, Mode::RUSR | Mode::WUSR).map_err(failed("make", name))?;
            content(&source, &File::from(copy)).map_err(io("copy", name.as_path()))
        }
        FileType::Symlink => {
            let target = readlinkat(from, last, Vec::new()).map_err(failed("read", name))?;
            symlinkat(target.as_c_str(), to, last).and_then(|()| described()).map_err(failed("make", name))
        }
        // It has a life only while its program runs.
        FileType::Socket => Ok(()),
        kind => {
            let device = makedev(major(stat.st_rdev), minor(stat.st_rdev));
            let made = mknodat(to, last, kind, Mode::RUSR | Mode::WUSR, device);
            made.and_then(|()| described()).map_err(failed("make", name))
        }
    }
}

fn content(source: &File, copy: &File) -> std::io::Result<()> {
    let stat = fstat(source)?;
    if ioctl_ficlone(copy, source).is_ok() {
        return Ok(Metadata::read(source.as_fd())?.apply(copy.as_fd())?);
    }
    copy_file(source, copy, &stat)
}
