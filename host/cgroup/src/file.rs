//! Small files of a hierarchy, relative to an open directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{self, Errno};

/// Opens a directory as a place to start from.
pub(crate) fn open_dir(dir: impl AsFd, path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    openat(dir, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a directory to list it: O_PATH cannot, and it must be a real descriptor for bpf(2) and clone3(2).
pub(crate) fn open_listing(dir: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    openat(dir, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a control file for reading, to poll it too.
pub(crate) fn open_read(dir: BorrowedFd<'_>, file: &str) -> io::Result<OwnedFd> {
    openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a control file for writing.
pub(crate) fn open_write(dir: BorrowedFd<'_>, file: &str) -> io::Result<OwnedFd> {
    openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Reads an open file from its start: control files are made anew at every read at offset 0.
pub(crate) fn read_from_start(file: BorrowedFd<'_>) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        match rustix::io::pread(file, &mut chunk, bytes.len() as u64) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    String::from_utf8(bytes).map_err(|_| Errno::ILSEQ)
}

/// Reads a whole control file.
pub(crate) fn read(dir: BorrowedFd<'_>, file: &str) -> io::Result<String> {
    read_from_start(open_read(dir, file)?.as_fd())
}

/// Writes a value in one write(2), as control files want it.
pub(crate) fn write(dir: BorrowedFd<'_>, file: &str, value: &str) -> io::Result<()> {
    write_to(open_write(dir, file)?.as_fd(), value)
}

/// The same to an open file.
pub(crate) fn write_to(file: BorrowedFd<'_>, value: &str) -> io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::io::write(file, value.as_bytes())).map(drop)
}

/// The number after `key` in a text of `key value` lines.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
