//! Places for what lives no longer than a step: on the disk, or in memory alone.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::statfs;

use crate::Result;
use crate::error::io;

/// `TMPFS_MAGIC` (statfs(2)).
const TMPFS: i64 = 0x0102_1994;

/// Where such places are made. What an earlier daemon left there goes when it is opened.
pub(crate) struct Scratch {
    home: PathBuf,
    next: AtomicU64,
}

/// A directory that goes with this value.
#[derive(Debug)]
pub(crate) struct Scrap(PathBuf);

impl Scratch {
    pub(crate) fn open(home: PathBuf) -> Result<Self> {
        match std::fs::remove_dir_all(&home) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(format!("empty {}", home.display()))(error));
            }
            _ => {
                let above = home.parent().unwrap_or(Path::new("/"));
                std::fs::create_dir_all(above).map_err(io(format!("create {}", above.display())))?;
                make(&home)?;
            }
        }
        Ok(Self { home, next: AtomicU64::new(0) })
    }

    /// In memory: below `wanted` where that is a tmpfs, as a run directory is, else in shared memory.
    pub(crate) fn in_memory(wanted: &Path) -> Result<Self> {
        let is_tmpfs = |path: &Path| statfs(path).is_ok_and(|found| found.f_type == TMPFS);
        let shared = Path::new("/dev/shm");
        if is_tmpfs(wanted) || !is_tmpfs(shared) {
            return Self::open(wanted.join("build"));
        }
        let name: String = wanted.to_string_lossy().replace('/', "_");
        Self::open(shared.join(format!("tare-build{name}")))
    }

    pub(crate) fn scrap(&self) -> Result<Scrap> {
        let path = self.home.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        make(&path)?;
        Ok(Scrap(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Only empty it goes; what is left is swept when it is opened again.
        let _ = std::fs::remove_dir(&self.home);
    }
}

impl Scrap {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("left for the next start to remove: {}: {error}", self.0.display());
        }
    }
}

/// Makes a directory that was not there: one that is, in shared memory, may be anybody's.
fn make(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o700).create(path);
    made.map_err(io(format!("create {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_nobody_elses_and_goes_with_its_use() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("a/b");
        std::fs::create_dir_all(home.join("left/over")).unwrap();
        let scratch = Scratch::open(home.clone()).unwrap();
        let scrap = scratch.scrap().unwrap();
        assert_eq!(home.read_dir().unwrap().count(), 1);
        assert!(make(scrap.path()).is_err(), "one that somebody else has made is not taken over");
        drop(scrap);
        drop(scratch);
        assert!(!home.exists());
    }
}
