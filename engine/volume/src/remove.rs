use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat, renameat};
use tare_model::Name;
use tare_store::Batch;

use crate::error::io;
use crate::{Error, Inner, Result, TABLE, Volumes, lease, make_directory};

impl Volumes {
    /// Removes a volume and all that is in it. One that is leased stays, `force` or not; `force` makes a missing one
    /// no error.
    pub async fn remove(&self, name: &str, force: bool) -> Result<()> {
        let name = name.to_owned();
        self.blocking(move |inner| match inner.get(&name)? {
            None if force => Ok(()),
            None => Err(Error::Missing(name)),
            Some(volume) => inner.remove(&volume.name),
        })
        .await
    }
}

impl Inner {
    /// The record goes first, under the condition that nobody has leased meanwhile; then the directory is out of the way
    /// by one rename, whatever it holds.
    pub(crate) fn remove(&self, name: &Name) -> Result<()> {
        let buried = {
            let _changing = self.changing();
            let mut batch = Batch::default();
            batch.unless_leased(&lease(name)).delete(TABLE, name.as_str());
            self.store.commit_blocking(batch).map_err(|error| in_use(name, error))?;
            self.bury(name)?
        };
        self.clear(&buried)
    }

    /// Moves the directory of a volume to where the dying are and returns its name there.
    fn bury(&self, name: &Name) -> Result<String> {
        let graves = self.graves()?;
        let grave = fresh();
        let directory = self.directory(name);
        renameat(CWD, &directory, &graves, &grave).map_err(io("remove", directory))?;
        Ok(grave)
    }

    pub(crate) fn clear(&self, grave: &str) -> Result<()> {
        let graves = self.graves()?;
        let removed = tare_sys::tree::remove(graves.as_fd(), grave, fresh);
        removed.map_err(io("remove", self.root.join(".removed").join(grave)))
    }

    fn graves(&self) -> Result<OwnedFd> {
        let path = self.root.join(".removed");
        make_directory(&path, 0o700)?;
        File::open(&path).map(OwnedFd::from).map_err(io("open", path))
    }
}

/// A name that nothing has. Random, as several removals go side by side.
fn fresh() -> String {
    let mut bytes = [0; 16];
    // The call blocks at early boot and fails never for so few bytes; a clash would be an error of the rename, not harm.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

/// Docker's clients show the bare ids of the containers.
fn in_use(name: &Name, error: tare_store::Error) -> Error {
    match error {
        tare_store::Error::Leased { holders, .. } => {
            let bare = holders.iter().map(|holder| holder.rsplit('/').next().unwrap_or(holder).to_owned());
            Error::InUse { name: name.to_string(), holders: bare.collect() }
        }
        other => other.into(),
    }
}

pub(crate) fn usage(path: &Path) -> Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(CWD, path, flags, Mode::empty()).map_err(io("open", path))?;
    tare_sys::tree::bytes(directory).map_err(io("measure", path))
}
