//! A file that is hashed and counted while it is written.

use std::fs::File;
use std::io::{self, Write};

use aws_lc_rs::digest::{Context, SHA256};
use tare_model::Digest;

use super::from_hash;

/// Where the bytes of a blob go whose digest is not known yet.
pub(crate) struct HashedFile {
    to: File,
    hash: Context,
    bytes: u64,
}

impl HashedFile {
    pub(crate) fn new(to: File) -> Self {
        Self { to, hash: Context::new(&SHA256), bytes: 0 }
    }

    /// Digest and length of what was written.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (from_hash(&self.hash.finish()), self.bytes)
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
