//! Writable layers: one for each container.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tare_model::{Digest, RootMount};

use crate::driver::{Files, duplicate, fuse, overlay};
use crate::error::io;
use crate::files::{Found, Go};
use crate::temporary::Dying;
use crate::{Driver, Error, Result, Snapshots, directory, layer};

pub(crate) const PARENT: &str = "parent";

impl Snapshots {
    /// Makes an empty writable layer upon a read-only one, or upon nothing. `key` is a plain file name.
    pub fn prepare(&self, key: &str, parent: Option<&Digest>) -> Result<()> {
        if let (false, Some(parent)) = (self.driver.stacks(), parent) {
            return self.prepare_copy(key, parent);
        }
        let place = self.writable_path(key)?;
        // Held so that the layer cannot be removed before this one stands on it.
        let index = self.index();
        let top = match parent {
            Some(parent) if !index.contains_key(parent) => return Err(Error::NoLayer(*parent)),
            Some(parent) => Some((self.layer_path(parent).join("fs"), parent.hex())),
            None => None,
        };
        let guard = self.temporary.directory()?;
        let upper = guard.path().join("fs");
        directory::make(&upper, 0o755)?;
        directory::make(&guard.path().join("work"), 0o700)?;
        if let Some((tree, hex)) = top {
            layer::copy_root(&tree, &upper)?;
            let link = guard.path().join(PARENT);
            std::os::unix::fs::symlink(hex, &link).map_err(io("make", link))?;
        }
        settle(guard.path(), &place, key)
    }

    /// Makes a writable layer that is a copy of a whole tree.
    fn prepare_copy(&self, key: &str, parent: &Digest) -> Result<()> {
        let place = self.writable_path(key)?;
        if place.exists() {
            return Err(Error::Exists(key.to_owned()));
        }
        let guard = self.temporary.directory()?;
        let copy = directory::open(&guard.spacious("fs")?)?;
        directory::make(&guard.path().join("work"), 0o700)?;
        duplicate(&directory::open(&self.layer_tree(parent)?)?, &copy, Files::Copied)?;
        // Made last: what changes from here on, changes after it.
        let link = guard.path().join(PARENT);
        std::os::unix::fs::symlink(parent.hex(), &link).map_err(io("make", link))?;
        // Of a layer that was removed meanwhile some files may be missing. Held so that it is not removed from here on.
        let index = self.index();
        if !index.contains_key(parent) {
            return Err(Error::NoLayer(*parent));
        }
        settle(guard.path(), &place, key)
    }

    /// The mounts that make the tree of a container: one overlay, or one bind where there is no layer below.
    pub fn mounts(&self, key: &str) -> Result<Vec<RootMount>> {
        let place = self.writable_directory(key)?;
        let below = self.trees_below(&place)?;
        if below.is_empty() {
            let source = display(&place.join("fs"));
            return Ok(vec![RootMount {
                kind: "bind".to_owned(),
                source,
                options: vec!["rbind".to_owned(), "rw".to_owned()],
            }]);
        }
        let lower: Vec<String> = below.iter().map(|tree| display(tree)).collect();
        let trees = [
            format!("lowerdir={}", lower.join(":")),
            format!("upperdir={}", display(&place.join("fs"))),
            format!("workdir={}", display(&place.join("work"))),
        ];
        if self.driver == Driver::Fuse {
            let program = fuse::program().map_err(io("find", fuse::PROGRAM))?;
            let (kind, source) = (fuse::PROGRAM.to_owned(), display(&program));
            return Ok(vec![RootMount { kind, source, options: trees.to_vec() }]);
        }
        let options = trees.into_iter().chain(overlay::WHOLE.map(str::to_owned)).collect();
        Ok(vec![RootMount { kind: "overlay".to_owned(), source: "overlay".to_owned(), options }])
    }

    /// A writable layer's whole tree, to be worked on through the descriptor and `tare_sys::path` alone. It is mounted
    /// nowhere and gone with the descriptor, which must be closed before the layer is run, removed or made read-only.
    pub fn open_to_write(&self, key: &str) -> Result<OwnedFd> {
        let upper = self.upper(key)?;
        let below = self.trees_below(&self.writable_directory(key)?)?;
        if below.is_empty() {
            return directory::open(&upper);
        }
        let work = upper.with_file_name("work");
        let workspace = match self.driver() {
            Driver::Fuse => fuse::workspace(&below, &upper, &work),
            Driver::Overlay | Driver::Copy => {
                overlay::workspace(&below, &upper, &work).map_err(std::io::Error::from)
            }
        };
        workspace.map_err(io("work on", upper))
    }

    /// The directory that holds what the container wrote; with [`Driver::Copy`] its whole tree.
    pub fn upper(&self, key: &str) -> Result<PathBuf> {
        Ok(self.writable_directory(key)?.join("fs"))
    }

    /// Removes a writable layer and all that was written there. It must not be mounted any more.
    pub fn remove(&self, key: &str) -> Result<()> {
        self.bury(key)?.clear()
    }

    /// Takes a writable layer away: its key is free and its parent is not in use any more, before its files are gone.
    pub fn bury(&self, key: &str) -> Result<Dying> {
        self.temporary.take_away(&self.writable_directory(key)?)
    }

    /// Bytes of the files that the container wrote or changed.
    pub fn usage(&self, key: &str) -> Result<u64> {
        if !self.driver.stacks() {
            return self.usage_of_copy(key);
        }
        let upper = self.upper(key)?;
        tare_sys::tree::bytes(&directory::open(&upper)?).map_err(io("measure", upper))
    }

    fn usage_of_copy(&self, key: &str) -> Result<u64> {
        let (mut bytes, mut seen) = (0_u64, BTreeSet::new());
        self.delta(key, &[])?.walk(&mut |_, _, found| {
            if let Found::Other { stat, .. } = found
                && seen.insert((stat.st_dev, stat.st_ino))
            {
                bytes = bytes.saturating_add(tare_sys::tree::bytes_of(stat));
            }
            Ok(Go::Into)
        })?;
        Ok(bytes)
    }

    /// Every writable layer that is here.
    pub fn writables(&self) -> Result<Vec<String>> {
        directory::names(&self.root.join("writable"))
    }

    /// Removes what earlier sessions left unfinished, and writable layers that are neither in `live` nor leased as
    /// `snapshot/<key>`. One that cannot be removed does not keep the others; the first error is returned.
    pub fn reconcile(&self, live: &BTreeSet<String>) -> Result<()> {
        let mut result = self.temporary.sweep();
        for key in self.writables()? {
            if live.contains(&key) || !self.store.holders(&format!("snapshot/{key}"))?.is_empty() {
                continue;
            }
            result = result.and(self.remove(&key));
        }
        result
    }

    /// A writable layer that stands directly on `chain`.
    pub(crate) fn writable_upon(&self, chain: &Digest) -> Result<Option<String>> {
        for key in self.writables()? {
            if read_parent(&self.root.join("writable").join(&key))? == Some(*chain) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The trees of a container, its own first.
    pub(crate) fn writable_trees(&self, key: &str) -> Result<Vec<PathBuf>> {
        let place = self.writable_directory(key)?;
        Ok([vec![place.join("fs")], self.trees_below(&place)?].concat())
    }

    /// The trees that a container's own is laid upon, topmost first.
    fn trees_below(&self, place: &Path) -> Result<Vec<PathBuf>> {
        let below = read_parent(place)?.filter(|_| self.driver.stacks());
        Ok(below.map(|parent| self.chain_trees(&parent)).transpose()?.unwrap_or_default())
    }

    /// The layer that a writable one stands on.
    pub(crate) fn writable_parent(&self, key: &str) -> Result<Option<Digest>> {
        read_parent(&self.writable_directory(key)?)
    }

    /// All of a writable layer: its tree and what overlayfs keeps beside it.
    pub(crate) fn writable_directory(&self, key: &str) -> Result<PathBuf> {
        let place = self.writable_path(key)?;
        if place.join("fs").is_dir() { Ok(place) } else { Err(Error::NoWritable(key.to_owned())) }
    }

    fn writable_path(&self, key: &str) -> Result<PathBuf> {
        let plain =
            key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if key.is_empty() || key.len() > 128 || key.starts_with('.') || !plain {
            return Err(Error::Key(key.to_owned()));
        }
        Ok(self.root.join("writable").join(key))
    }
}

/// Gives a finished writable layer its name.
fn settle(finished: &Path, place: &Path, key: &str) -> Result<()> {
    match renameat_with(CWD, finished, CWD, place, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST | Errno::NOTEMPTY) => Err(Error::Exists(key.to_owned())),
        Err(error) => Err(io("make", place)(error)),
    }
}

fn read_parent(place: &Path) -> Result<Option<Digest>> {
    let link = place.join(PARENT);
    let target = match std::fs::read_link(&link) {
        Ok(target) => target,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", link)(error)),
    };
    let hex = std::str::from_utf8(target.as_os_str().as_bytes()).ok();
    let digest = hex.and_then(|hex| Digest::from_hex(hex).ok());
    digest.map(Some).ok_or_else(|| io("read", link)(std::io::Error::from(std::io::ErrorKind::InvalidData)))
}

/// Paths below a root that [`Snapshots::open`] found to be text.
fn display(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
