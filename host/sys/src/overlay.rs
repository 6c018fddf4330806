//! What overlayfs does without a word.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::io::Errno;

/// What a directory and what it is made in need, and some.
const ROOM: u64 = 64 << 10;

/// Whether what is written through a new overlay can be written: one whose work directory could not be made is mounted read-only
/// and no error is told (`ovl_make_workdir`, fs/overlayfs/super.c), which is what happens on a disk that is full.
///
/// # Errors
/// `ENOSPC` where the file system of `upper` has no room, otherwise `EROFS`.
pub fn check_writable(mount: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> io::Result<()> {
    if !fstatvfs(mount)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let disk = fstatvfs(upper)?;
    let is_full = disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM || disk.f_files > 0 && disk.f_favail < 2;
    Err(if is_full { Errno::NOSPC } else { Errno::ROFS }.into())
}
