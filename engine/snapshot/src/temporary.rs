//! Where unfinished and dying trees lie. Each opening of the data root has a directory of its own there, so that what
//! earlier sessions left can be told from what is at work now.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, IFlags, Mode, ioctl_getflags, ioctl_setflags, mkdirat, renameat, unlinkat};
use tare_sys::graves::Graves;

use crate::error::io;
use crate::{Result, directory};

pub(crate) struct Temporary {
    all: PathBuf,
    session: String,
    path: PathBuf,
    /// In the same directory as what is unfinished.
    graves: Graves,
    next: AtomicU64,
}

impl Temporary {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let all = root.join("tmp");
        directory::make(root, 0o700)?;
        directory::make(&all, 0o700)?;
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(io("name", &all))?;
        let session = format!("{:016x}", u64::from_ne_bytes(random));
        let path = all.join(&session);
        directory::make(&path, 0o700)?;
        let graves = Graves::new(directory::open(&path)?, |error| {
            tracing::warn!(
                "what is left of a removed tree is removed at the next start of the daemon: {error}"
            );
        });
        Ok(Self { all, session, path, graves, next: AtomicU64::new(0) })
    }

    /// A name that nothing here has.
    pub(crate) fn name(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// An empty directory that goes when the guard is dropped.
    pub(crate) fn directory(self: &Arc<Self>) -> Result<Guard> {
        let name = self.name();
        let path = self.path.join(&name);
        mkdirat(self.graves.directory(), &name, Mode::RWXU).map_err(io("make the directory", &path))?;
        Ok(Guard { temporary: self.clone(), name, path })
    }

    /// Takes the directory `name` of `parent` away at once and removes it; a crash on the way leaves it here.
    pub(crate) fn bury(&self, parent: impl AsFd, name: &[u8], shown: &Path) -> Result<()> {
        let grave = self.graves.bury(parent, name).map_err(io("remove", shown))?;
        self.remove(&grave)
    }

    /// [`Temporary::bury`] for a path of our own.
    pub(crate) fn bury_path(self: &Arc<Self>, path: &Path) -> Result<()> {
        self.take_away(path)?.clear()
    }

    /// Takes a directory of ours away at once, for the caller to remove when nobody waits for it.
    pub(crate) fn take_away(self: &Arc<Self>, path: &Path) -> Result<Dying> {
        let name = self.graves.bury(CWD, path).map_err(io("remove", path))?;
        Ok(Dying { temporary: self.clone(), name })
    }

    /// Removes a directory that lies here; what is large goes later.
    fn remove(&self, name: &str) -> Result<()> {
        self.graves.clear(name).map_err(io("remove", self.path.join(name)))
    }

    /// Removes what earlier sessions left.
    pub(crate) fn sweep(self: &Arc<Self>) -> Result<()> {
        for session in directory::names(&self.all)? {
            if session != self.session {
                self.bury_path(&self.all.join(session))?;
            }
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Only empty it goes; whatever is left is swept by the next session.
        let _ = unlinkat(CWD, &self.path, AtFlags::REMOVEDIR);
    }
}

/// A tree that is out of sight already, and whose files are still to go; the next start removes what nobody clears.
#[must_use]
pub struct Dying {
    temporary: Arc<Temporary>,
    name: String,
}

impl Dying {
    /// Removes it; what is large goes later.
    pub fn clear(self) -> Result<()> {
        self.temporary.remove(&self.name)
    }
}

/// A temporary directory, removed on drop unless it was renamed away.
pub(crate) struct Guard {
    temporary: Arc<Temporary>,
    name: String,
    path: PathBuf,
}

impl Guard {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn temporary(&self) -> &Arc<Temporary> {
        &self.temporary
    }

    /// An empty directory in it, for thousands of files. On ext4 it lies in a part of the disk that few directories use:
    /// beside its neighbours each new file would step over all inodes that were freed there within a minute, and what
    /// removes an image and pulls the next takes several times as long (fs/ext4/ialloc.c, `recently_deleted`).
    pub(crate) fn spacious(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        let home = directory::open(&self.path)?;
        // What FS_TOPDIR_FL says is a hint, and file systems that do not know it refuse.
        let _ = ioctl_getflags(&home).and_then(|flags| ioctl_setflags(&home, flags | IFlags::TOPDIR));
        // The part is chosen by the name that a directory is made with.
        let unique = format!("{}{}", self.temporary.session, self.name);
        mkdirat(&home, &unique, Mode::from_raw_mode(0o755))
            .and_then(|()| renameat(&home, &unique, &home, name))
            .map_err(io("make the directory", &path))?;
        Ok(path)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        match self.temporary.remove(&self.name) {
            Err(crate::Error::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("left for the next start to remove: {error}"),
            Ok(()) => {}
        }
    }
}
