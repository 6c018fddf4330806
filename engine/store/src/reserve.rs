//! Room that is kept for taking away: on a disk that is full, to delete a record needs some pages of the database first.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// What the largest deletion writes, and some.
const BYTES: u64 = 1 << 20;
/// So many times that must be free before it is taken, so that it is nobody's trouble.
const PLENTY: u64 = 8;

/// A file beside the database that holds nothing but its blocks.
pub(crate) struct Reserve(PathBuf);

impl Reserve {
    pub(crate) fn beside(database: &Path) -> Self {
        Self(database.with_extension("reserve"))
    }

    /// Takes the room, where it is not taken and there is plenty. Without it everything works, but on a full disk.
    pub(crate) fn take(&self) {
        if fs::metadata(&self.0).is_ok_and(|found| found.len() >= BYTES) || !self.has_plenty() {
            return;
        }
        let taken = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.0);
        let taken = taken.and_then(|file: File| Ok(fallocate(file, FallocateFlags::empty(), 0, BYTES)?));
        if let Err(error) = taken {
            tracing::debug!("no room is kept for a full disk in {}: {error}", self.0.display());
            self.give();
        }
    }

    fn has_plenty(&self) -> bool {
        let above = self.0.parent().unwrap_or(Path::new("/"));
        statvfs(above).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= PLENTY * BYTES)
    }

    /// Gives the room back; whether there was any.
    pub(crate) fn give(&self) -> bool {
        fs::remove_file(&self.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_once_and_given_back() {
        let home = tempfile::tempdir().unwrap();
        let reserve = Reserve::beside(&home.path().join("records.redb"));
        reserve.take();
        reserve.take();
        assert_eq!(fs::metadata(home.path().join("records.reserve")).unwrap().len(), BYTES);
        assert!(reserve.give() && !reserve.give());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
