use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::io;
use crate::{Inner, Result, Volume, Volumes, copy, lease, make_directory, reconcile};

impl Volumes {
    /// Copies the tree below `from` (a directory of an image, open for reading) into a volume, if there is nothing in it
    /// yet; owner and mode of the directory itself become the volume's. Either all of it is there afterwards or nothing,
    /// except in a volume that somebody uses already and that the machine goes down under. Returns whether it was copied.
    pub async fn populate(&self, volume: &Volume, from: OwnedFd) -> Result<bool> {
        let volume = volume.clone();
        self.blocking(move |inner| inner.populate(&volume, &from)).await
    }
}

impl Inner {
    fn populate(&self, volume: &Volume, from: &OwnedFd) -> Result<bool> {
        let _changing = self.changing();
        let data = self.data(&volume.name);
        if !reconcile::names(&data)?.is_empty() {
            return Ok(false);
        }
        let filling = self.directory(&volume.name).join("_filling");
        let filled = self.fill(volume, from, &filling, &data);
        if filled.is_err() {
            // The first error is the one that counts; what is left goes with the volume or at the next start.
            self.end(&filling);
        }
        filled.map(|()| true)
    }

    fn fill(&self, volume: &Volume, from: &OwnedFd, filling: &Path, data: &Path) -> Result<()> {
        make_directory(filling, 0o700)?;
        copy::tree(from, filling)?;
        if !self.store.holders(&lease(&volume.name))?.is_empty() {
            move_into(filling, data)?;
            self.end(filling);
            return Ok(());
        }
        // Takes the place of an empty directory, and fails if it is not empty any more.
        fs::rename(filling, data).map_err(io("fill", data))
    }
}

/// A container may have the directory mounted already: it stays, and what is new moves in. What others put there
/// meanwhile stays too.
fn move_into(filling: &Path, data: &Path) -> Result<()> {
    let open = |path| File::open(path).map_err(io("open", path));
    let (from, to) = (open(filling)?, open(data)?);
    for entry in fs::read_dir(filling).map_err(io("list", filling))? {
        let name = entry.map_err(io("list", filling))?.file_name();
        match renameat_with(&from, &name, &to, &name, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(io("fill", data.join(&name))(error)),
        }
    }
    let described = from.metadata().and_then(|wanted| {
        fchown(&to, Some(wanted.uid()), Some(wanted.gid()))?;
        to.set_permissions(fs::Permissions::from_mode(wanted.mode() & 0o7777))
    });
    described.map_err(io("describe", data))
}
