//! The database file: opened once, opened anew after an input/output error, as redb refuses all work after one.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{Builder, Database, DatabaseError, StorageError};

use crate::{Error, Result};

/// Pages kept in memory. The records of a thousand containers fit; redb's own default is a gigabyte.
const CACHE: usize = 4 << 20;

pub(crate) struct File {
    path: PathBuf,
    /// `None` only while a failed reopening is retried by the next use.
    database: RwLock<Option<Database>>,
}

impl File {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let database = open(path)?;
        Ok(Self { path: path.to_owned(), database: RwLock::new(Some(database)) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on the database, for reading.
    pub(crate) fn read<T>(
        &self,
        work: impl Fn(&Database) -> std::result::Result<T, redb::Error>,
    ) -> Result<T> {
        self.with("read", work)
    }

    /// Runs `work` on the database, for writing. Only the writer thread comes here.
    pub(crate) fn write<T>(
        &self,
        work: impl Fn(&Database) -> std::result::Result<T, redb::Error>,
    ) -> Result<T> {
        self.with("written", work)
    }

    /// An input/output error closes the database and opens it again, which brings back the last durable state; the
    /// work that met the error has failed, what comes after it has not.
    fn with<T>(
        &self,
        action: &'static str,
        work: impl Fn(&Database) -> std::result::Result<T, redb::Error>,
    ) -> Result<T> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = guard.as_ref() else {
            drop(guard);
            self.reopen()?;
            return self.with(action, work);
        };
        let error = match work(database) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        drop(guard);
        if matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo) {
            let reopened = self.reopen();
            if matches!(error, redb::Error::PreviousIo) && reopened.is_ok() {
                return self.with(action, work);
            }
        }
        Err(self.storage_error(action, &error))
    }

    fn reopen(&self) -> Result<()> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one must be gone first: it holds the file's lock.
        *slot = None;
        *slot = Some(open(&self.path)?);
        Ok(())
    }

    fn storage_error(&self, action: &'static str, error: &redb::Error) -> Error {
        let full = matches!(error, redb::Error::Io(io)
            if matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded));
        Error::Storage { path: self.path.clone(), action, why: error.to_string(), full }
    }
}

fn open(path: &Path) -> Result<Database> {
    let refused = |why: String, corrupt| Error::Open { path: path.to_owned(), why, corrupt };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(|error| refused(error.to_string(), false))?;
    let opened = Builder::new().set_cache_size(CACHE).create_file(file);
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => Error::InUse { path: path.to_owned(), holder: holder(path) },
        DatabaseError::Storage(StorageError::Corrupted(why)) => {
            refused(format!("it is damaged: {why}"), true)
        }
        DatabaseError::Storage(StorageError::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData => {
            refused("it is no database of this program".to_owned(), true)
        }
        other => refused(other.to_string(), false),
    })
}

/// Who has the file locked, as `/proc/locks` (proc(5)) tells it.
fn holder(path: &Path) -> String {
    let unknown = || "another process".to_owned();
    let Ok(metadata) = std::fs::metadata(path) else { return unknown() };
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = format!(":{}", metadata.ino());
    let pid = locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let file = words.iter().position(|word| word.ends_with(&inode))?;
        words.get(file.checked_sub(1)?)?.parse::<u32>().ok()
    });
    let Some(pid) = pid else { return unknown() };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("process {pid} ({})", name.trim())
}
