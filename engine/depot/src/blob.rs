//! Blobs of a repository: each is stored once, and belongs to those repositories that it was brought to.

use std::fs::File;
use std::io::ErrorKind;

use tare_model::Digest;

use crate::files::{self, Shelf};
use crate::{Depot, Error, Name, Result};

/// A blob, open for reading: it can be read to its end even when it is removed meanwhile.
#[derive(Debug)]
pub struct Blob {
    /// Its bytes.
    pub file: File,
    /// Their number.
    pub size: u64,
}

impl Depot {
    /// A blob that belongs to the repository.
    pub fn blob(&self, name: &Name, digest: &Digest) -> Result<Blob> {
        if !self.link(name, Shelf::Blobs, digest).exists() {
            return Err(Error::BlobUnknown(*digest));
        }
        let path = self.content(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Error::BlobUnknown(*digest)),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let size = file.metadata().map_err(Error::io("examine", &path))?.len();
        Ok(Blob { file, size })
    }

    /// Gives a repository a blob that another one has; false where that one has no such blob.
    pub fn mount(&self, name: &Name, digest: &Digest, from: &Name) -> Result<bool> {
        let _quiet = self.sweep.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        match self.blob(from, digest) {
            Ok(_) => self.own(name, digest).map(|()| true),
            Err(Error::BlobUnknown(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes a blob from a repository; its bytes go when no other has it, with the next collection.
    pub fn delete_blob(&self, name: &Name, digest: &Digest) -> Result<()> {
        match files::remove(&self.link(name, Shelf::Blobs, digest))? {
            true => Ok(()),
            false => Err(Error::BlobUnknown(*digest)),
        }
    }

    /// Notes that a blob belongs to a repository.
    pub(crate) fn own(&self, name: &Name, digest: &Digest) -> Result<()> {
        self.write(&self.link(name, Shelf::Blobs, digest), b"")
    }
}
