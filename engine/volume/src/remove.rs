use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use tare_model::Name;
use tare_store::Batch;

use crate::error::io;
use crate::{Error, GRAVES, Inner, Result, TABLE, Volumes, lease};

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
            let directory = self.directory(name);
            self.graves.bury(CWD, &directory).map_err(io("remove", directory))?
        };
        self.clear(&buried)
    }

    pub(crate) fn clear(&self, grave: &str) -> Result<()> {
        self.graves.clear(grave).map_err(io("remove", self.root.join(GRAVES).join(grave)))
    }
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
    tare_sys::tree::bytes(&directory).map_err(io("measure", path))
}
