//! Directories of `RUN --mount=type=cache`: each belongs to an id and lasts from build to build.

use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tare_dockerfile::Sharing;
use tare_model::Timestamp;
use tare_store::{Batch, Store};
use tokio::sync::OwnedMutexGuard;

use crate::cache::key::Key;
use crate::error::io;
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
    store: Arc<Store>,
    /// How many use each directory now.
    in_use: Arc<Mutex<HashMap<String, usize>>>,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A directory in use.
pub(crate) struct Keep {
    pub path: PathBuf,
    /// Whether nothing was in it before.
    pub is_new: bool,
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
        let keeps = Self { home, store, in_use: Arc::default(), locks: Mutex::default() };
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
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    /// The directory of `id`, made where it is missing with the given mode and owner.
    pub(crate) async fn take(
        &self,
        id: &str,
        sharing: Sharing,
        (mode, uid, gid): (u32, u32, u32),
    ) -> Result<Keep> {
        let lock = match sharing {
            Sharing::Locked => Some(self.lock(id).lock_owned().await),
            Sharing::Shared | Sharing::Private => None,
        };
        let (name, in_use) = (self.claim(id, sharing), self.in_use.clone());
        let path = self.home.join(&name);
        let mut keep = Keep { path, is_new: false, name, in_use, _lock: lock };
        let record = self.store.get::<Record>(TABLE, &keep.name)?;
        keep.is_new = record.is_none();
        if keep.is_new {
            let _ = std::fs::remove_dir_all(&keep.path);
            make(&keep.path, 0o700)?;
            own(&keep.path, mode, uid, gid)?;
        }
        let created = record.map_or_else(now, |record| record.created);
        let mut batch = Batch::default();
        batch.put(TABLE, &keep.name, &Record { id: id.to_owned(), created, used: now() });
        self.store.commit(batch).await?;
        Ok(keep)
    }

    fn lock(&self, id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(id.to_owned()).or_default().clone()
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

    /// Every directory that nobody uses: its name, what is remembered of it, and its bytes.
    pub(crate) fn idle(&self) -> Result<Vec<(String, Record, u64)>> {
        let mut idle = Vec::new();
        for (name, record) in self.store.list::<Record>(TABLE)? {
            if !self.in_use.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&name) {
                let bytes = measure(&self.home.join(&name));
                idle.push((name, record, bytes));
            }
        }
        Ok(idle)
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
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io(format!("remove {}", path.display()))(error))
            }
            _ => Ok(()),
        }
    }
}

fn measure(path: &Path) -> u64 {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let open = rustix::fs::open(path, flags, rustix::fs::Mode::empty());
    open.and_then(tare_sys::tree::bytes).unwrap_or(0)
}

fn make(path: &Path, mode: u32) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(io(format!("create {}", path.display())))
}

fn own(path: &Path, mode: u32, uid: u32, gid: u32) -> Result<()> {
    let described = std::os::unix::fs::chown(path, Some(uid), Some(gid))
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7777)));
    described.map_err(io(format!("describe {}", path.display())))
}
