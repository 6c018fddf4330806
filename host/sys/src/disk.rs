//! What the disk is told about file content.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// Has the disk begin to write `length` bytes of a file from `offset` on, and does not wait for it (sync_file_range(2)): who
/// syncs later finds most of the work done. Promises nothing.
pub fn begin_writing(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    let range = |number: u64| i64::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let (offset, length) = (range(offset)?, range(length)?);
    // SAFETY: the call takes no memory; the descriptor is open as long as it is borrowed.
    let begun =
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    check(begun.into()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn it_begins_for_a_file_and_not_for_a_pipe() {
        let file = std::fs::File::create(std::env::temp_dir().join(format!("begin-{}", std::process::id())));
        let file = file.unwrap();
        file.set_len(4096).unwrap();
        begin_writing(file.as_fd(), 0, 4096).unwrap();
        assert!(begin_writing(file.as_fd(), u64::MAX, 1).is_err());
        let (pipe, _other) = std::io::pipe().unwrap();
        assert!(begin_writing(pipe.as_fd(), 0, 1).is_err());
        std::fs::remove_file(std::env::temp_dir().join(format!("begin-{}", std::process::id()))).unwrap();
    }
}
