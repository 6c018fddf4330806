//! What a container's tree has that its image has not, has otherwise, or has no more: as a list, and packed as the archive
//! of a layer.

mod delta;
mod lower;
mod pack;

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, statat};

use crate::files::{Found, Go, Name};
use crate::{Result, Snapshots, directory};

use delta::Delta;
use lower::Lower;
pub use pack::{PackOptions, Packed, end_export};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute, as a process inside sees it.
    pub path: PathBuf,
    /// Which sort.
    pub kind: ChangeKind,
}

/// The sorts, by Docker's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is there in both, and not the same. Directories count as changed when something in them is.
    Modified = 0,
    /// The layers below do not have it.
    Added = 1,
    /// The layers below have it. What was in a directory that is gone is not told one by one.
    Deleted = 2,
}

impl Snapshots {
    /// What the writable layer `key` changes, by path. `mounted` are the places inside where something is mounted: what
    /// is there only to be mounted upon is nobody's change. The container may run; then the answer is of no one moment.
    pub fn changes(&self, key: &str, mounted: &[PathBuf]) -> Result<Vec<Change>> {
        let delta = self.delta(key, mounted)?;
        let mut changes = Vec::new();
        delta.walk(&mut |lower, name, found| look(lower, name, found, &mut changes))?;
        changes.sort();
        Ok(changes)
    }

    /// A writable layer beside what is below it.
    pub(crate) fn delta(&self, key: &str, mounted: &[PathBuf]) -> Result<Delta> {
        let below =
            self.writable_parent(key)?.map(|parent| self.view(&self.chain_trees(&parent)?)).transpose()?;
        let place = directory::open(&self.writable_directory(key)?)?;
        let copied = delta::completed(&place, crate::writable::PARENT)?;
        let tree = directory::open(&self.upper(key)?)?;
        Ok(Delta { driver: self.driver, tree, lower: Lower::new(mounted, below, self.driver), copied })
    }
}

fn look(lower: &Lower, name: &Name, found: &Found<'_>, changes: &mut Vec<Change>) -> Result<Go> {
    let mut tell = |name: &Name, kind| changes.push(Change { path: path(name), kind });
    if name.is_root() {
        return Ok(Go::Into);
    }
    let there = lower.find(name)?.is_some();
    let kind = if there { ChangeKind::Modified } else { ChangeKind::Added };
    match found {
        Found::Whiteout if there => tell(name, ChangeKind::Deleted),
        Found::Whiteout => {}
        Found::Other { stat, .. } if lower.is_bare_file(name, stat)? => {}
        Found::Other { .. } => tell(name, kind),
        Found::Directory { open, stat, .. } if lower.is_bare_directory(name, open, stat)? => {
            return Ok(Go::Past);
        }
        Found::Directory { open, opaque, .. } => {
            tell(name, kind);
            if *opaque {
                for hidden in lower.names(name)? {
                    if statat(open.as_fd(), hidden.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_err() {
                        tell(&name.join(&hidden), ChangeKind::Deleted);
                    }
                }
            }
        }
    }
    Ok(Go::Into)
}

fn path(name: &Name) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&[b"/", name.as_bytes()].concat()))
}
