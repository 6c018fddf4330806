//! tmpcopyup: a tmpfs begins with what the image has where it is mounted. No link is followed, so that nothing but the
//! image's own directory is read, whatever it holds.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    futimens, mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
};
use rustix::io::Errno;

/// Copies what is in a directory into another one, with modes, owners and times.
pub(crate) fn copy(from: BorrowedFd<'_>, into: BorrowedFd<'_>) -> io::Result<()> {
    let from = openat(from, ".", DIRECTORY, Mode::empty())?;
    let into = openat(into, ".", DIRECTORY, Mode::empty())?;
    children(&from, &into)?;
    finish(&into, &rustix::fs::fstat(&from)?)
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn children(from: &OwnedFd, into: &OwnedFd) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                let from = openat(from, name, DIRECTORY, Mode::empty())?;
                mkdirat(into, name, Mode::RWXU)?;
                let into = openat(into, name, DIRECTORY, Mode::empty())?;
                children(&from, &into)?;
                finish(&into, &found)?;
            }
            FileType::RegularFile => {
                let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let mut from = File::from(openat(from, name, OFlags::RDONLY | flags, Mode::empty())?);
                let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let mut into = File::from(openat(into, name, flags, Mode::RWXU)?);
                io::copy(&mut from, &mut into)?;
                finish(&into.into(), &found)?;
            }
            FileType::Symlink => {
                symlinkat(readlinkat(from, name, Vec::new())?, into, name)?;
                own(into, name, &found)?;
            }
            kind => match mknodat(into, name, kind, Mode::from_raw_mode(found.st_mode), found.st_rdev) {
                Ok(()) => own(into, name, &found)?,
                // In a user namespace there are no device nodes to be had.
                Err(Errno::PERM) => {}
                Err(e) => return Err(e.into()),
            },
        }
    }
    Ok(())
}

fn own(into: &OwnedFd, name: &std::ffi::CStr, found: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    Ok(chownat(into, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn finish(file: &OwnedFd, found: &Stat) -> io::Result<()> {
    match fchown(file.as_fd(), Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid))) {
        // Of a user that the container does not have.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(e) => return Err(e.into()),
    }
    fchmod(file, Mode::from_raw_mode(found.st_mode & 0o7777))?;
    let time = |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let last_access = time(found.st_atime, found.st_atime_nsec);
    let last_modification = time(found.st_mtime, found.st_mtime_nsec);
    Ok(futimens(file, &Timestamps { last_access, last_modification })?)
}
