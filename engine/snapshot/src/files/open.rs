//! One thing of a tree, entered or looked at from an open directory.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat};
use rustix::io::Errno;
use tare_sys::path::open_without_links;

use super::Name;
use crate::Result;
use crate::error::io;

/// What is there itself, followed nowhere, as an `O_PATH` descriptor. A symlink on the way counts as nothing there.
pub(crate) fn there(root: &OwnedFd, path: &Path) -> rustix::io::Result<Option<OwnedFd>> {
    match open_without_links(root.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(error) => match Errno::from_io_error(&error).unwrap_or(Errno::IO) {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Ok(None),
            other => Err(other),
        },
    }
}

/// Where a symlink leads; `None` for anything else.
pub(crate) fn read_link(found: &OwnedFd) -> rustix::io::Result<Option<Vec<u8>>> {
    if kind(&fstat(found)?) != FileType::Symlink {
        return Ok(None);
    }
    readlinkat(found, "", Vec::new()).map(|target| Some(target.into_bytes()))
}

/// Opens a directory by one component of a name.
pub(crate) fn open_directory(parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    openat2(parent, name, flags, Mode::empty(), resolve)
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens a directory of a tree by its whole name, in which no symlink leads anywhere.
pub(crate) fn open_in_tree(root: impl AsFd, name: &Name) -> Result<OwnedFd> {
    open_without_links(root.as_fd(), name.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(io("open", name.as_path()))
}

/// Opens what was seen to be a file, for reading. It may have become a pipe meanwhile, which must not block.
pub(crate) fn open_file(parent: impl AsFd, last: &[u8]) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(parent, last, flags, Mode::empty()).map(File::from)
}

/// Opens for reading a directory that is known by an `O_PATH` descriptor.
pub(crate) fn reopen_directory(found: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    openat(found, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The names in an open directory, in no order.
pub(crate) fn names(directory: impl AsFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let entries = Dir::read_from(directory)?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_owned()));
    names.filter(|name| !matches!(name.as_deref(), Ok(b"." | b".."))).collect()
}
