//! Blobs on disk: whole and verified below `blobs/`, on their way below `ingest/`; and how large ones are written and read.

mod hashed;
pub(crate) mod stream;
mod writeback;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256, digest};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use rustix::fs::{FlockOperation, flock};
use tare_model::Digest;
use tare_oci::image::Descriptor;

use crate::{Error, Result};

pub(crate) use hashed::HashedFile;
pub(crate) use writeback::Writeback;

/// The blobs of a data root. A file below `blobs/` is what its name says; its content is on the disk before its name is.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    blobs: PathBuf,
    ingest: PathBuf,
}

/// A blob on its way: its file, open for appending, and how much of it is there.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) length: u64,
    /// Whether the next download looks for it.
    resumable: bool,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.resumable {
            discard(&self.path);
        }
    }
}

/// A partial download that was left behind.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
    pub(crate) modified: SystemTime,
    /// Whether its name is one that a download would look for.
    pub(crate) resumable: bool,
}

impl Content {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let content = Self { blobs: root.join("blobs/sha256"), ingest: root.join("ingest") };
        for directory in [&content.blobs, &content.ingest] {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(directory).map_err(Error::io("make", directory))?;
        }
        Ok(content)
    }

    /// Where a blob is or would be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// Whether a blob is here, whole.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// A blob's file.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        File::open(&path).map_err(Error::io("open", &path))
    }

    /// A blob's bytes; 0 where it is not here.
    pub(crate) fn size(&self, digest: &Digest) -> u64 {
        fs::metadata(self.path(digest)).map_or(0, |metadata| metadata.len())
    }

    /// A small blob, checked again; `None` when it is not here or no longer what it should be.
    pub(crate) fn read(&self, descriptor: &Descriptor) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.blob(&descriptor.digest).ok()?;
        file.take(descriptor.size.saturating_add(1)).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 == descriptor.size && sha256(&bytes) == descriptor.digest).then_some(bytes)
    }

    /// Keeps a small blob, which must be what its digest says. Others may keep the same one at the same time.
    pub(crate) fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let (path, mut file) = self.scratch()?;
        let written = file.write_all(bytes).map_err(Error::io("write", &path));
        if let Err(error) = written.and_then(|()| self.finish(&file, &path, digest)) {
            discard(&path);
            return Err(error);
        }
        Ok(())
    }

    /// The file that a blob is downloaded to, with what an earlier download left in it; another one while somebody else
    /// downloads the same blob from elsewhere.
    pub(crate) fn ingest(&self, descriptor: &Descriptor) -> Result<Partial> {
        let path = self.ingest.join(descriptor.digest.hex());
        let file = options().append(true).open(&path).map_err(Error::io("open", &path))?;
        let alone = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        // Who had it may just have given it its name.
        if !alone || !path.exists() {
            let (path, file) = self.scratch()?;
            return Ok(Partial { path, file, length: 0, resumable: false });
        }
        let mut length = file.metadata().map_err(Error::io("examine", &path))?.len();
        if length > descriptor.size {
            file.set_len(0).map_err(Error::io("truncate", &path))?;
            length = 0;
        }
        Ok(Partial { path, file, length, resumable: true })
    }

    /// Whether an earlier download of a blob left a part of it.
    pub(crate) fn has_partial(&self, digest: &Digest) -> bool {
        fs::metadata(self.ingest.join(digest.hex())).is_ok_and(|found| found.len() > 0)
    }

    /// A new file for something whose digest is not known yet.
    pub(crate) fn scratch(&self) -> Result<(PathBuf, File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let path = self.ingest.join(format!("{}.scratch", NEXT.fetch_add(1, Ordering::Relaxed)));
            match options().create_new(true).open(&path) {
                Ok(file) => return Ok((path, file)),
                // Left by an earlier daemon.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("make", &path)(e)),
            }
        }
    }

    /// Gives a scratch file, whose digest this is, its name.
    pub(crate) fn adopt(&self, path: &Path, digest: &Digest) -> Result<()> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        self.finish(&file, path, digest)
    }

    /// Keeps what arrives, which must be what its digest says.
    pub(crate) async fn receive(
        &self,
        digest: &Digest,
        mut bytes: impl Stream<Item = Result<Bytes>> + Unpin,
    ) -> Result<()> {
        let (path, mut file) = self.scratch()?;
        let mut hash = Context::new(&SHA256);
        let mut received = Ok(());
        while let (Ok(()), Some(chunk)) = (&received, bytes.next().await) {
            received = chunk.and_then(|chunk| {
                hash.update(&chunk);
                file.write_all(&chunk).map_err(Error::io("write", &path))
            });
        }
        let found = from_hash(&hash.finish());
        let received = received.and_then(|()| match found == *digest {
            true => self.finish(&file, &path, digest),
            false => {
                let what = format!("blob {}", digest.short());
                Err(Error::Digest { what, found, expected: *digest })
            }
        });
        if received.is_err() {
            discard(&path);
        }
        received
    }

    /// Drops what was downloaded of a blob.
    pub(crate) fn discard_partial(&self, digest: &Digest) {
        discard(&self.ingest.join(digest.hex()));
    }

    /// Gives a verified download its name.
    pub(crate) fn commit(&self, partial: &Partial, digest: &Digest) -> Result<()> {
        self.finish(&partial.file, &partial.path, digest)
    }

    fn finish(&self, file: &File, path: &Path, digest: &Digest) -> Result<()> {
        file.sync_data().map_err(Error::io("write", path))?;
        fs::rename(path, self.path(digest)).map_err(Error::io("rename", path))
    }

    /// Makes the names durable; before a record mentions them.
    pub(crate) fn sync(&self) -> Result<()> {
        File::open(&self.blobs)
            .and_then(|directory| directory.sync_all())
            .map_err(Error::io("write", &self.blobs))
    }

    /// Removes a blob; returns its bytes.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<u64> {
        let path = self.path(digest);
        let length = fs::metadata(&path).map_or(0, |m| m.len());
        match fs::remove_file(&path) {
            Ok(()) => Ok(length),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
            Err(e) => Err(Error::io("remove", &path)(e)),
        }
    }

    /// Every blob; files that do not belong here are passed over.
    pub(crate) fn list(&self) -> Result<Vec<Digest>> {
        let entries = fs::read_dir(&self.blobs).map_err(Error::io("read", &self.blobs))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| Digest::from_hex(&name).ok()).collect())
    }

    /// What earlier downloads left.
    pub(crate) fn leftovers(&self) -> Result<Vec<Leftover>> {
        let entries = fs::read_dir(&self.ingest).map_err(Error::io("read", &self.ingest))?;
        Ok(entries.filter_map(|entry| leftover(&entry.ok()?)).collect())
    }
}

fn leftover(entry: &fs::DirEntry) -> Option<Leftover> {
    let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    let resumable = Digest::from_hex(entry.file_name().to_str().unwrap_or_default()).is_ok();
    let modified = metadata.modified().ok()?;
    Some(Leftover { path: entry.path(), length: metadata.len(), modified, resumable })
}

/// Removes a file that nobody needs; that it is gone already is as good.
pub(crate) fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!("cannot remove {}: {error}", path.display());
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true).mode(0o600);
    options
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    from_hash(&digest(&SHA256, bytes))
}

/// The digest that a finished hash is.
pub(crate) fn from_hash(hash: &aws_lc_rs::digest::Digest) -> Digest {
    let mut array = [0; 32];
    array.copy_from_slice(hash.as_ref());
    Digest::from_bytes(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_small_blob_is_kept_by_many_at_once() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let digest = sha256(b"the same");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| content.write(&digest, b"the same").unwrap()));
            }
        });
        assert_eq!(fs::read(content.path(&digest)).unwrap(), b"the same");
        assert!(content.leftovers().unwrap().is_empty());
    }
}
