//! A writable layer that becomes a read-only one where it lies: nothing is copied.

use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, CWD, FileType, Timespec, Timestamps, UTIME_OMIT, fstat, fsync, futimens, renameat, utimensat,
};
use rustix::io::Errno;
use tare_model::Digest;

use crate::changes::Packed;
use crate::error::io;
use crate::files::{Found, Go, Name, Time, failed, kind, open_file, open_in_tree, walk};
use crate::layer::Layer;
use crate::{Error, Result, Snapshots, directory};

/// Trees of so many entries are written to the disk file by file: all else that waits to be written on a busy machine is
/// not this layer's to wait for.
const FEW: u64 = 64;

impl Snapshots {
    /// Makes the writable layer `key`, which `packed` was packed from and nobody has written to since, the layer `chain`.
    /// It must not be mounted any more, and is no writable layer afterwards. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`Error::NoWritable`]; [`Error::InUse`] where the writable layer does not stand on `parent`.
    pub fn take(&self, key: &str, packed: &Packed, chain: &Digest, parent: Option<&Digest>) -> Result<()> {
        let below = self.writable_parent(key)?;
        if below.as_ref() != parent {
            let layer = below.unwrap_or(*chain);
            return Err(Error::InUse { layer, by: format!("the writable layer {key}, and by no other") });
        }
        if self.has(chain) {
            return self.remove(key);
        }
        let guard = self.temporary.directory()?;
        let (whole, tree) = (guard.path().join("writable"), guard.path().join("fs"));
        let place = self.writable_directory(key)?;
        renameat(CWD, &place, CWD, &whole).map_err(io("take", &place))?;
        renameat(CWD, whole.join("fs"), CWD, &tree).map_err(io("take", &place))?;
        self.temporary.bury_path(&whole)?;
        let root = directory::open(&tree)?;
        packed.surplus.iter().rev().try_for_each(|name| self.drop_surplus(&root, name))?;
        if let Some(latest) = packed.latest {
            clamp(&root, latest, packed.copied)?;
        }
        let layer = Layer { parent: parent.copied(), size: packed.bytes, holes: packed.holes };
        let few = packed.entries <= FEW;
        if few {
            write_out(&root)?;
        }
        self.place(guard.path(), chain, &layer, few)?;
        self.index().insert(*chain, layer);
        Ok(())
    }

    /// Removes what the archive does not have, and leaves no trace of that in the directory above.
    fn drop_surplus(&self, root: &OwnedFd, name: &Name) -> Result<()> {
        let parent = open_in_tree(root, &name.parent())?;
        let stat = fstat(&parent).map_err(failed("look at", name))?;
        match rustix::fs::unlinkat(&parent, name.last(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => self.temporary.bury(&parent, name.last(), name.as_path())?,
            Err(error) => return Err(failed("remove", name)(error)),
        }
        let modified = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 };
        futimens(&parent, &only(modified)).map_err(failed("describe", name))
    }
}

/// No time in the tree is later; of a whole tree, no time of what changed since it was copied.
fn clamp(root: &OwnedFd, latest: Time, copied: Option<Time>) -> Result<()> {
    let times = only(Timespec { tv_sec: latest.seconds, tv_nsec: i64::from(latest.nanoseconds) });
    let mut late = Vec::new();
    walk(root, &mut |name, found| {
        let is_late = |stat: &rustix::fs::Stat| {
            let changed = Time { seconds: stat.st_ctime, nanoseconds: stat.st_ctime_nsec as u32 };
            copied.is_none_or(|copied| copied <= changed)
                && latest < Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 }
        };
        match found {
            Found::Directory { stat, .. } if is_late(stat) => late.push(name.clone()),
            Found::Other { stat, parent } if is_late(stat) => {
                utimensat(parent, name.last(), &times, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(failed("describe", name))?;
            }
            _ => {}
        }
        Ok(Go::Into)
    })?;
    late.iter()
        .try_for_each(|name| futimens(open_in_tree(root, name)?, &times).map_err(failed("describe", name)))
}

/// Sets the time of modification and leaves the other.
fn only(modified: Timespec) -> Timestamps {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access, last_modification: modified }
}

/// Writes every file and directory of a tree to the disk.
fn write_out(root: &OwnedFd) -> Result<()> {
    walk(root, &mut |name, found| {
        match found {
            Found::Directory { open, .. } => fsync(open).map_err(failed("write to disk", name))?,
            Found::Other { parent, stat } if kind(stat) == FileType::RegularFile => {
                open_file(parent, name.last()).and_then(fsync).map_err(failed("write to disk", name))?;
            }
            _ => {}
        }
        Ok(Go::Into)
    })
}
