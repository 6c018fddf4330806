//! Directories of `RUN --mount=type=cache`: each belongs to an id and lasts from build to build.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::CWD;
use serde::{Deserialize, Serialize};
use tare_dockerfile::Sharing;
use tare_model::Timestamp;
use tare_store::{Batch, Store};
use tare_sys::graves::Graves;
use tokio::sync::OwnedMutexGuard;

use crate::cache::key::Key;
use crate::error::io;
use crate::scratch::{Scrap, Scratch, graves, left_over};
use crate::{Result, now};

pub(crate) const TABLE: &str = "build.mount";

/// What is remembered of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The id that Dockerfiles use.
    pub id: String,
    pub created: Timestamp,
    pub used: Timestamp,
}

/// All of them.
pub(crate) struct Keeps {
    home: PathBuf,
    /// The home itself: no record names what dies there.
    graves: Graves,
    store: Arc<Store>,
    /// How many use each directory now.
    in_use: Arc<Mutex<HashMap<String, usize>>>,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Which directory is wanted, and how it is made where it is missing.
pub(crate) struct Wanted<'a> {
    /// The id that Dockerfiles use.
    pub id: &'a str,
    pub sharing: Sharing,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// A directory that is being made. Nobody finds it before it is settled, and what is not settled goes with this value.
pub(crate) struct Making {
    scrap: Scrap,
    record: Record,
    /// Whoever shares the directory waits for it.
    _lock: OwnedMutexGuard<()>,
}

impl Making {
    /// What has to be filled.
    pub(crate) fn path(&self) -> PathBuf {
        self.scrap.path().join("kept")
    }
}

/// A directory in use.
pub(crate) struct Keep {
    pub path: PathBuf,
    name: String,
    in_use: Arc<Mutex<HashMap<String, usize>>>,
    _lock: Option<OwnedMutexGuard<()>>,
}

impl Drop for Keep {
    fn drop(&mut self) {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = in_use.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                in_use.remove(&self.name);
            }
        }
    }
}

impl Keeps {
    pub(crate) fn open(home: PathBuf, store: Arc<Store>) -> Result<Self> {
        make(&home, 0o700)?;
        let opened = std::fs::File::open(&home).map_err(io(format!("open {}", home.display())))?;
        let graves = graves(opened.into());
        let keeps = Self { home, graves, store, in_use: Arc::default(), locks: Mutex::default() };
        keeps.sweep()?;
        Ok(keeps)
    }

    /// Removes directories that no record names: they were being made or removed when a daemon ended.
    fn sweep(&self) -> Result<()> {
        let known = self.store.list::<Record>(TABLE)?;
        let entries = std::fs::read_dir(&self.home).map_err(io(format!("list {}", self.home.display())))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !known.iter().any(|(key, _)| name == key.as_str()) {
                self.end(&entry.path()).unwrap_or_else(|error| left_over(&error));
            }
        }
        Ok(())
    }

    /// Takes a directory away if it is there. Steps wrote in it, so it may be a tree of any depth and number.
    fn end(&self, path: &Path) -> std::io::Result<()> {
        match self.graves.end(CWD, path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// The directory that is wanted. One that is missing is begun in `scratch`, and is there when [`Keeps::settle`] returns.
    pub(crate) async fn take(
        &self,
        scratch: &Scratch,
        wanted: &Wanted<'_>,
    ) -> Result<(Keep, Option<Making>)> {
        let lock = match wanted.sharing {
            Sharing::Locked => Some(self.lock(&format!("id/{}", wanted.id)).lock_owned().await),
            Sharing::Shared | Sharing::Private => None,
        };
        let (name, in_use) = (self.claim(wanted.id, wanted.sharing), self.in_use.clone());
        let keep = Keep { path: self.home.join(&name), name, in_use, _lock: lock };
        let making = self.lock(&format!("name/{}", keep.name)).lock_owned().await;
        let known = self.store.get::<Record>(TABLE, &keep.name)?;
        let is_new = known.is_none();
        let (created, used) = (known.map_or_else(now, |record| record.created), now());
        let record = Record { id: wanted.id.to_owned(), created, used };
        if !is_new {
            self.note(&keep, &record).await?;
            return Ok((keep, None));
        }
        let making = Making { scrap: scratch.scrap()?, record, _lock: making };
        make(&making.path(), 0o700)?;
        own(&making.path(), wanted)?;
        Ok((keep, Some(making)))
    }

    /// Has a directory that was made found by its id from now on.
    pub(crate) async fn settle(&self, keep: &Keep, making: Making) -> Result<()> {
        // Of one that was being removed when something failed.
        self.end(&keep.path).unwrap_or_else(|error| left_over(&error));
        std::fs::rename(making.path(), &keep.path).map_err(io(format!("make {}", keep.path.display())))?;
        let noted = self.note(keep, &making.record).await;
        if noted.is_err() {
            self.end(&keep.path).unwrap_or_else(|error| left_over(&error));
        }
        noted
    }

    async fn note(&self, keep: &Keep, record: &Record) -> Result<()> {
        let mut batch = Batch::default();
        batch.put(TABLE, &keep.name, record);
        Ok(self.store.commit(batch).await?)
    }

    fn lock(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(key.to_owned()).or_default().clone()
    }

    /// The directory's name. A second user of a private one gets another.
    fn claim(&self, id: &str, sharing: Sharing) -> String {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = 0_u64;
        loop {
            let name = Key::new("cache").add(id).number(i128::from(number)).finish().hex();
            if sharing != Sharing::Private || !in_use.contains_key(&name) {
                *in_use.entry(name.clone()).or_default() += 1;
                return name;
            }
            number += 1;
        }
    }

    /// Every directory: its name, what is remembered of it, its bytes, and whether somebody uses it.
    pub(crate) fn list(&self) -> Result<Vec<(String, Record, u64, bool)>> {
        let all = self.store.list::<Record>(TABLE)?.into_iter().map(|(name, record)| {
            let bytes = measure(&self.home.join(&name));
            let in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&name);
            (name, record, bytes, in_use)
        });
        Ok(all.collect())
    }

    /// Removes one that nobody uses.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        if self.in_use.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name) {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.delete(TABLE, name);
        self.store.commit_blocking(batch)?;
        let path = self.home.join(name);
        self.end(&path).map_err(io(format!("remove {}", path.display())))
    }
}

fn measure(path: &Path) -> u64 {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let open = rustix::fs::open(path, flags, rustix::fs::Mode::empty());
    open.and_then(|directory| tare_sys::tree::bytes(&directory)).unwrap_or(0)
}

fn make(path: &Path, mode: u32) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(io(format!("create {}", path.display())))
}

fn own(path: &Path, wanted: &Wanted) -> Result<()> {
    let mode = std::fs::Permissions::from_mode(wanted.mode & 0o7777);
    let described = std::os::unix::fs::chown(path, Some(wanted.uid), Some(wanted.gid))
        .and_then(|()| std::fs::set_permissions(path, mode));
    described.map_err(io(format!("describe {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_record_names_goes_at_the_start_however_deep_it_is() {
        let root = crate::scratch::memory();
        let store = Store::open(&root.path().join("store")).unwrap();
        let home = root.path().join("mounts");
        make(&home.join("stranger"), 0o700).unwrap();
        crate::scratch::nest(&home.join("stranger"));
        std::fs::write(home.join("file"), "no directory").unwrap();
        let keeps = Keeps::open(home.clone(), store).unwrap();
        crate::scratch::wait_until_left(&home, 1);
        drop(keeps);
    }
}
