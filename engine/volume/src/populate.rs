use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::io;
use crate::{Inner, Result, Volume, Volumes, copy, make_directory, reconcile};

impl Volumes {
    /// Copies the tree below `from` (a directory of an image, open for reading) into a volume, if there is nothing in it
    /// yet; owner and mode of the directory itself become the volume's. Either all of it is there afterwards or nothing.
    /// Returns whether it was copied.
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
        let filled = fill(from, &filling, &data);
        if filled.is_err() {
            // The first error is the one that counts; what is left goes with the volume or at the next start.
            let _ = fs::remove_dir_all(&filling);
        }
        filled.map(|()| true)
    }
}

fn fill(from: &OwnedFd, filling: &Path, data: &Path) -> Result<()> {
    make_directory(filling, 0o700)?;
    copy::tree(from, filling)?;
    // Takes the place of an empty directory, and fails if it is not empty any more.
    fs::rename(filling, data).map_err(io("fill", data))
}
