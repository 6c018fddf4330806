//! Removing a tree that a container wrote: it may be deeper than any path, and full of symlinks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, renameat, unlinkat};
use rustix::io::{Errno, Result};

/// Removes the directory `name` of `home`. A directory inside that is not empty is first moved up into `home` under a
/// name from `fresh`, so that neither depth of recursion nor open descriptors grow with the tree.
pub(crate) fn tree(home: &OwnedFd, name: &str, mut fresh: impl FnMut() -> String) -> Result<()> {
    let mut left = vec![name.to_owned()];
    while let Some(name) = left.pop() {
        let directory = open(home.as_fd(), name.as_bytes())?;
        for child in children(&directory)? {
            if remove_one(directory.as_fd(), &child)? {
                continue;
            }
            let moved = fresh();
            renameat(&directory, child.name.as_slice(), home, &moved)?;
            left.push(moved);
        }
        unlinkat(home, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

struct Child {
    name: Vec<u8>,
    kind: FileType,
}

fn open(home: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(home, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV)
}

fn children(directory: &OwnedFd) -> Result<Vec<Child>> {
    let mut children = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            children.push(Child { name: name.to_owned(), kind: entry.file_type() });
        }
    }
    Ok(children)
}

/// Whether the child is gone; a directory with something in it is not.
fn remove_one(directory: BorrowedFd<'_>, child: &Child) -> Result<bool> {
    let name = child.name.as_slice();
    if child.kind != FileType::Directory {
        match unlinkat(directory, name, AtFlags::empty()) {
            // The file system did not tell the kind.
            Err(Errno::ISDIR | Errno::PERM) if child.kind == FileType::Unknown => {}
            other => return other.map(|()| true),
        }
    }
    match unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}
