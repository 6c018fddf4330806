//! Sizes and attributes of trees of our own.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fgetxattr, flistxattr, openat, statat};
use rustix::io::{Errno, Result};

use crate::metadata::{Xattr, is_welcome};

/// Bytes of the files of a tree, each counted once however many names it has. What vanishes meanwhile is not counted.
pub(crate) fn of(tree: OwnedFd) -> Result<u64> {
    let (mut bytes, mut seen, mut left) = (0_u64, HashSet::new(), vec![tree]);
    while let Some(directory) = left.pop() {
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Directory {
                left.extend(subdirectory(&directory, name)?);
            } else if stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
                bytes += u64::try_from(stat.st_size).unwrap_or(0);
            }
        }
    }
    Ok(bytes)
}

fn subdirectory(directory: &OwnedFd, name: &std::ffi::CStr) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The attributes of an open directory that a copy of it should have.
pub(crate) fn xattrs(file: &OwnedFd) -> Result<Vec<Xattr>> {
    let mut names = vec![0; 64 << 10];
    let length = match flistxattr(file.as_fd(), &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = names[..length].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    let mut value = vec![0; 64 << 10];
    let mut xattrs = Vec::new();
    for name in names.filter(|name| is_welcome(name)) {
        let length = fgetxattr(file, name, &mut value[..])?;
        xattrs.push(Xattr { name: name.to_owned(), value: value[..length].to_owned() });
    }
    Ok(xattrs)
}
