//! Where everything lies, and how it is written: on the disk before its name is.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use tare_model::Digest;

use crate::{Depot, Error, Name, Result, Tag};

pub(crate) const BLOBS: &str = "blobs/sha256";
pub(crate) const REPOSITORIES: &str = "repositories";
pub(crate) const UPLOADS: &str = "uploads";
pub(crate) const TEMPORARY: &str = "tmp";

/// What a repository has, in directories whose names no repository can have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shelf {
    Tags,
    Manifests,
    Blobs,
    Referrers,
}

impl Shelf {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tags => "_tags",
            Self::Manifests => "_manifests",
            Self::Blobs => "_blobs",
            Self::Referrers => "_referrers",
        }
    }
}

impl Depot {
    pub(crate) fn content(&self, digest: &Digest) -> PathBuf {
        self.root.join(BLOBS).join(digest.hex())
    }

    pub(crate) fn repositories(&self) -> PathBuf {
        self.root.join(REPOSITORIES)
    }

    pub(crate) fn shelf(&self, name: &Name, shelf: Shelf) -> PathBuf {
        self.repositories().join(name.path()).join(shelf.as_str())
    }

    pub(crate) fn link(&self, name: &Name, shelf: Shelf, digest: &Digest) -> PathBuf {
        self.shelf(name, shelf).join(digest.hex())
    }

    pub(crate) fn tag(&self, name: &Name, tag: &Tag) -> PathBuf {
        self.shelf(name, Shelf::Tags).join(tag.as_str())
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join(UPLOADS)
    }

    /// Whether anything was ever pushed there.
    pub(crate) fn known(&self, name: &Name) -> Result<()> {
        let shelf = self.shelf(name, Shelf::Manifests);
        match fs::metadata(&shelf) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::NameUnknown(name.clone())),
            Err(error) => Err(Error::io("examine", &shelf)(error)),
        }
    }

    /// Writes a small file: whoever reads it sees the old or the new one, whole, also after a power cut.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let directory = path.parent().unwrap_or(Path::new("/"));
        make(directory)?;
        let temporary = self.root.join(TEMPORARY).join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let written = options
            .open(&temporary)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
            .and_then(|()| fs::rename(&temporary, path));
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary); // on a full disk the next one needs the room
            return Err(Error::io("write", path)(error));
        }
        sync(directory)
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(Error::io("write", directory))
}

pub(crate) fn make(directory: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory).map_err(Error::io("make", directory))
}

/// Held as long as the process lives.
pub(crate) fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(Error::io("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::InUse(root.to_owned())),
    }
}

/// The names in a directory, in order; none where it is missing.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", directory)(error)),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
    let names: io::Result<Vec<Option<String>>> = names.collect();
    let names = names.map_err(Error::io("read", directory))?;
    let mut names: Vec<String> = names.into_iter().flatten().collect();
    names.sort_unstable();
    Ok(names)
}

pub(crate) fn empty(directory: &Path) -> Result<()> {
    names(directory)?.iter().try_for_each(|name| remove(&directory.join(name)).map(drop))
}

/// Removes a file; false where there was none.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// Whether a file was not changed for so long. One with a time in the future is as new as can be.
pub(crate) fn is_older(path: &Path, age: Duration) -> bool {
    let changed = fs::metadata(path).and_then(|found| found.modified());
    changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|passed| passed >= age))
}
