//! A tree of files from its top down, always in the same order. Each step is one component below an open directory, so
//! that no link leads out, whoever made the tree.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, readlinkat, statat};
use rustix::io::Errno;

use crate::error::io;
use crate::{Error, Result};

/// Directories in each other: more are an attack on whoever follows them.
const DEPTH: usize = 400;

/// Something in a tree.
pub(crate) struct Found<'a> {
    /// From the top of the tree.
    pub path: &'a Path,
    /// The directory that holds it.
    pub parent: BorrowedFd<'a>,
    /// What it is called there.
    pub name: &'a OsStr,
    pub stat: &'a Stat,
}

impl Found<'_> {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Where a symlink leads.
    pub(crate) fn target(&self) -> Result<Vec<u8>> {
        let target = readlinkat(self.parent, self.name, Vec::new());
        target.map(|target| target.into_bytes()).map_err(io(format!("read the link {}", self.path.display())))
    }

    /// Opens a regular file for reading.
    pub(crate) fn open(&self) -> Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat2(self.parent, self.name, flags, Mode::empty(), STRICT);
        opened.map(std::fs::File::from).map_err(io(format!("open {}", self.path.display())))
    }
}

const STRICT: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

struct Frame {
    path: PathBuf,
    open: OwnedFd,
    names: std::vec::IntoIter<OsString>,
}

/// Shows everything below `top`, a directory, before what is in it; what `show` answers false for is not entered. Ends early
/// when nobody waits for it any more.
pub(crate) fn walk(top: OwnedFd, show: &mut dyn FnMut(&Found) -> Result<bool>) -> Result<()> {
    let mut stack = vec![frame(PathBuf::new(), top)?];
    while let Some(frame) = stack.last_mut() {
        crate::wanted()?;
        let Some(name) = frame.names.next() else {
            stack.pop();
            continue;
        };
        let path = frame.path.join(&name);
        let stat = match statat(&frame.open, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(io(format!("look at {}", path.display()))(error)),
        };
        let found = Found { path: &path, parent: frame.open.as_fd(), name: &name, stat: &stat };
        if !show(&found)? || !found.is_directory() {
            continue;
        }
        let open = open_directory(frame.open.as_fd(), &name)
            .map_err(io(format!("open the directory {}", path.display())))?;
        if stack.len() >= DEPTH {
            return Err(Error::Limit(format!(
                "directories are nested more than {DEPTH} deep: {}",
                path.display()
            )));
        }
        stack.push(self::frame(path, open)?);
    }
    Ok(())
}

/// One component below an open directory.
pub(crate) fn open_directory(parent: BorrowedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(parent, name, flags, Mode::empty(), STRICT)
}

fn frame(path: PathBuf, open: OwnedFd) -> Result<Frame> {
    let names = names(open.as_fd()).map_err(io(format!("list {}", path.display())))?.into_iter();
    Ok(Frame { path, open, names })
}

/// What is in a directory, in order.
pub(crate) fn names(directory: BorrowedFd) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}
