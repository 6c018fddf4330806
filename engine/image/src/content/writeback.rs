//! Large files on their way to the disk, which is busy with them while they are written: whoever syncs them at the end waits
//! for the last piece alone.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use tare_sys::disk::begin_writing;

/// Bytes that are handed to the disk at a time.
const STRIDE: u64 = 8 << 20;

/// How far a file is.
#[derive(Debug, Default)]
pub(crate) struct Writeback {
    written: u64,
    begun: u64,
}

impl Writeback {
    /// For a file that has so many bytes.
    pub(crate) fn from(written: u64) -> Self {
        Self { written, begun: written }
    }

    /// Writes at the file's end.
    pub(crate) fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        if self.written - self.begun >= STRIDE {
            // A hint: a file system that cannot take it takes the bytes later.
            let _ = begin_writing(file.as_fd(), self.begun, self.written - self.begun);
            self.begun = self.written;
        }
        Ok(())
    }
}
