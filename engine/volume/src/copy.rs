//! Copying a tree of an image. The source may be anything a builder could put into layers; it is only read, and every
//! directory on either side is opened without following a link.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat,
    chownat, lgetxattr, linkat, llistxattr, lsetxattr, mkdirat, mknodat, openat, readlinkat, statat,
    symlinkat, utimensat,
};
use rustix::io::Errno;
use tare_sys::path::open_without_links;

use crate::Result;
use crate::error::io;

struct Copy<'a> {
    from: &'a OwnedFd,
    to: OwnedFd,
    /// For messages.
    shown: &'a Path,
    /// The first copy of every file that has several names.
    links: HashMap<(u64, u64), PathBuf>,
}

/// Copies the tree below `from` into the empty directory `target`: content, owners, modes, times, attributes, links.
pub(crate) fn tree(from: &OwnedFd, target: &Path) -> Result<()> {
    let to = File::open(target).map(OwnedFd::from).map_err(io("open", target))?;
    let mut copy = Copy { from, to, shown: target, links: HashMap::new() };
    let mut directories = vec![PathBuf::from(".")];
    let mut next = 0;
    while next < directories.len() {
        let directory = directories[next].clone();
        let inside = copy.directory(&directory).map_err(io("copy", copy.shown.join(&directory)))?;
        directories.extend(inside);
        next += 1;
    }
    // From the inside out: copying into a directory changes its times.
    for directory in directories.iter().rev() {
        copy.describe_directory(directory).map_err(io("describe", copy.shown.join(directory)))?;
    }
    Ok(())
}

impl Copy<'_> {
    /// Copies everything in one directory and returns the directories among it.
    fn directory(&mut self, path: &Path) -> std::io::Result<Vec<PathBuf>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let from = open_without_links(self.from.as_fd(), path, flags)?;
        let to = open_without_links(self.to.as_fd(), path, flags)?;
        let mut directories = Vec::new();
        for entry in Dir::read_from(&from)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let stat = statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let inner = path.join(name);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                mkdirat(&to, name, Mode::RWXU)?;
                directories.push(inner);
            } else if !self.link(&stat, &inner, to.as_fd(), name)? {
                copy_one(from.as_fd(), to.as_fd(), name, &stat)?;
                describe(from.as_fd(), to.as_fd(), name, &stat)?;
            }
        }
        Ok(directories)
    }

    /// Whether the file has been copied under another name, to which this one now leads as well.
    fn link(&mut self, stat: &Stat, path: &Path, to: BorrowedFd<'_>, name: &OsStr) -> std::io::Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let file = (stat.st_dev, stat.st_ino);
        let Some(first) = self.links.get(&file) else {
            self.links.insert(file, path.to_owned());
            return Ok(false);
        };
        let parent = first.parent().unwrap_or(Path::new("."));
        let parent = open_without_links(self.to.as_fd(), parent, OFlags::PATH | OFlags::DIRECTORY)?;
        linkat(&parent, first.file_name().unwrap_or_default(), to, name, AtFlags::empty())?;
        Ok(true)
    }

    fn describe_directory(&self, path: &Path) -> std::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let from = open_without_links(self.from.as_fd(), path, flags)?;
        let to = open_without_links(self.to.as_fd(), path, flags)?;
        let stat = rustix::fs::fstat(&from)?;
        Ok(describe(from.as_fd(), to.as_fd(), OsStr::new("."), &stat)?)
    }
}

fn copy_one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> std::io::Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let mut source = File::from(openat(from, name, flags, Mode::empty())?);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut target = File::from(openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
            std::io::copy(&mut source, &mut target)?;
        }
        FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?, to, name)?,
        kind => mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?,
    }
    Ok(())
}

/// Owner, then mode and attributes, which a change of owner clears, then times.
fn describe(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> rustix::io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    // By the directory's descriptor and one component: such a path is at nobody's mercy.
    let path = |directory: BorrowedFd<'_>| {
        Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        chmodat(CWD, path(to), Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
    }
    copy_xattrs(&path(from), &path(to))?;
    let time = |seconds: i64, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as i64 };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

fn copy_xattrs(from: &Path, to: &Path) -> rustix::io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let length = match llistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut value = vec![0; 64 << 10];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| is_copied(name)) {
        let length = lgetxattr(from, name, &mut value[..])?;
        match lsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) if name != b"security.capability" => {}
            other => other?,
        }
    }
    Ok(())
}

/// What belongs to the file; `trusted` and the labels of security modules belong to where it lies.
fn is_copied(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") || name == b"security.capability"
}
