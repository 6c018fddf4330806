//! Places for what lives no longer than a step: on the disk, or in memory alone.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, Mode, OFlags, fstat, statfs};
use rustix::process::geteuid;
use tare_sys::graves::Graves;

use crate::Result;
use crate::error::io;

/// `TMPFS_MAGIC` (statfs(2)).
const TMPFS: i64 = 0x0102_1994;

/// Where such places are made. What an earlier daemon left there goes when it is opened.
pub(crate) struct Scratch {
    home: PathBuf,
    /// The home itself: what dies in it gets another name there.
    graves: Graves,
    next: AtomicU64,
}

/// A directory that goes with this value. Steps write in it, so it may be a tree of any depth.
pub(crate) struct Scrap {
    path: PathBuf,
    graves: Graves,
}

impl Scratch {
    pub(crate) fn open(home: PathBuf) -> Result<Self> {
        let above = home.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(above).map_err(io(format!("create {}", above.display())))?;
        let graves = graves(take(&home)?);
        let entries = std::fs::read_dir(&home).map_err(io(format!("list {}", home.display())))?;
        for name in entries.flatten().map(|entry| entry.file_name()) {
            if let Err(error) = graves.end(graves.directory(), name) {
                left_over(&error);
            }
        }
        Ok(Self { home, graves, next: AtomicU64::new(0) })
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
        Ok(Scrap { path, graves: self.graves.clone() })
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
        &self.path
    }

    /// Takes a directory in this one away.
    pub(crate) fn end(&self, path: &Path) -> io::Result<()> {
        self.graves.end(CWD, path)
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        if let Err(error) = self.end(&self.path) {
            left_over(&error);
        }
    }
}

impl std::fmt::Debug for Scrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(f)
    }
}

/// Trees that die in `directory`, which is ours.
pub(crate) fn graves(directory: OwnedFd) -> Graves {
    Graves::new(directory, |error| left_over(&error))
}

/// Nobody fails because of it, and no start of the daemon.
pub(crate) fn left_over(error: &io::Error) {
    tracing::warn!("what is left of a build's files is removed at the next start of the daemon: {error}");
}

/// A directory that nobody but us can have written in: the one that an earlier daemon made, or a new one.
fn take(home: &Path) -> Result<OwnedFd> {
    let opened = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(home, flags, Mode::empty())
    };
    let is_ours = |directory: &OwnedFd| {
        fstat(directory).is_ok_and(|stat| stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o7777 == 0o700)
    };
    if let Some(directory) = opened().ok().filter(is_ours) {
        return Ok(directory);
    }
    if home.symlink_metadata().is_ok() {
        let above = std::fs::File::open(home.parent().unwrap_or(Path::new("/")));
        let buried = above.and_then(|above| graves(above.into()).end(CWD, home));
        buried.unwrap_or_else(|error| left_over(&error));
    }
    make(home)?;
    opened().map_err(io(format!("open {}", home.display())))
}

/// Makes a directory that was not there: one that is, in shared memory, may be anybody's.
fn make(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o700).create(path);
    made.map_err(io(format!("create {}", path.display())))
}

/// Makes more directories inside each other than a thread has stack or a process descriptors to go down in.
#[cfg(test)]
pub(crate) fn nest(path: &Path) {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(path, flags, Mode::empty()).unwrap();
    for _ in 0..25_000 {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", flags, Mode::empty()).unwrap();
    }
}

/// A disk may take milliseconds for each directory.
#[cfg(test)]
pub(crate) fn memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// What is large goes after the answer.
#[cfg(test)]
pub(crate) fn wait_until_left(home: &Path, left: usize) {
    let begun = std::time::Instant::now();
    while home.read_dir().unwrap().count() > left {
        assert!(begun.elapsed().as_secs() < 60, "it stays");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
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

    #[test]
    fn what_a_step_nested_goes_however_deep_it_is() {
        let root = memory();
        let home = root.path().join("home");
        let scratch = Scratch::open(home.clone()).unwrap();
        let scrap = scratch.scrap().unwrap();
        nest(scrap.path());
        drop(scrap);
        wait_until_left(&home, 0);
        nest(&home);
        let again = Scratch::open(home.clone()).unwrap();
        wait_until_left(&home, 0);
        drop(again);
    }

    #[test]
    fn what_cannot_be_removed_keeps_nobody_from_opening() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        drop(Scratch::open(home.clone()).unwrap().scrap().unwrap());
        make(&home).unwrap();
        std::fs::write(home.join("0"), "no directory").unwrap();
        let scratch = Scratch::open(home.clone()).unwrap();
        assert!(scratch.scrap().is_ok(), "its name is free");
    }
}
