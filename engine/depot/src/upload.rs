//! Blobs on their way in: hashed while they are written, taken up where they broke off, also by the next process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use tare_model::Digest;

use crate::files::{self};
use crate::{Depot, Error, Name, Result};

/// Uploads that are open at a time: each may wait a day for its next piece.
const MOST: usize = 10_000;

/// An upload that this process has seen. Its file is open while somebody writes and not longer: who opens uploads and leaves them
/// must not use up the descriptors.
pub(crate) struct Session {
    name: Name,
    /// Bytes that are there.
    length: AtomicU64,
    /// Of what is there. Whoever holds it is the only one who writes.
    hash: Mutex<Context>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("name", &self.name)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Depot {
    /// Opens an upload; returns its id.
    pub fn begin(&self, name: &Name) -> Result<String> {
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::io("read", &PathBuf::from("random bytes"))(errno.into()))?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.uploads.lock().unwrap_or_else(PoisonError::into_inner).len() >= MOST {
            return Err(Error::Crowded(MOST));
        }
        let path = self.uploads().join(&id);
        options().create_new(true).open(&path).map_err(Error::io("make", &path))?;
        if let Err(error) = self.write(&self.whose(&id), name.as_str().as_bytes()) {
            let _ = files::remove(&path); // on a full disk nobody could ever name it
            return Err(error);
        }
        let hash = Mutex::new(Context::new(&SHA256));
        self.keep(&id, Session { name: name.clone(), length: AtomicU64::new(0), hash });
        Ok(id)
    }

    /// How many bytes of an upload are there.
    pub fn status(&self, name: &Name, id: &str) -> Result<u64> {
        Ok(self.session(name, id)?.length.load(Ordering::Acquire))
    }

    /// Adds pieces to an upload; `at` is where the client says that they begin. What came before an error stays. Returns how
    /// many bytes are there.
    pub fn append(
        &self,
        name: &Name,
        id: &str,
        at: Option<u64>,
        pieces: impl Iterator<Item = io::Result<Bytes>>,
    ) -> Result<u64> {
        let session = self.session(name, id)?;
        let mut hash = alone(&session)?;
        self.add(id, &session, &mut hash, at, pieces).map(|(length, _)| length)
    }

    /// Adds the last pieces and makes the upload the blob with this digest. One that is not what it should be is gone.
    pub fn finish(
        &self,
        name: &Name,
        id: &str,
        at: Option<u64>,
        digest: &Digest,
        pieces: impl Iterator<Item = io::Result<Bytes>>,
    ) -> Result<()> {
        let session = self.session(name, id)?;
        let mut hash = alone(&session)?;
        let (_, file) = self.add(id, &session, &mut hash, at, pieces)?;
        let mut found = [0; 32];
        found.copy_from_slice(hash.clone().finish().as_ref());
        let found = Digest::from_bytes(found);
        if found != *digest {
            self.forget(id)?;
            return Err(Error::DigestInvalid(format!("it is {found} and not {digest}")));
        }
        let (path, target) = (self.uploads().join(id), self.content(digest));
        file.sync_data().map_err(Error::io("write", &path))?;
        // Nothing is removed between the name of the content and the note of who has it.
        let _quiet = self.sweep.read().unwrap_or_else(PoisonError::into_inner);
        fs::rename(&path, &target).map_err(Error::io("rename", &path))?;
        files::sync(&self.root.join(files::BLOBS))?;
        self.own(name, digest)?;
        self.forget(id)
    }

    /// Gives an upload up.
    pub fn abort(&self, name: &Name, id: &str) -> Result<()> {
        self.session(name, id)?;
        self.forget(id)
    }

    /// Gives up all uploads to which nothing was added for so long; returns how many.
    pub fn expire(&self, age: Duration) -> Result<usize> {
        let mut gone = 0;
        for file in files::names(&self.uploads())? {
            let path = self.uploads().join(&file);
            // Its note, which is written once, goes with the bytes; one whose bytes are missing goes alone.
            let id = file.split('.').next().unwrap_or(&file).to_owned();
            let alone = file.contains('.') && !self.uploads().join(&id).exists();
            if (alone || !file.contains('.')) && files::is_older(&path, age) {
                self.forget(&id)?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    fn add(
        &self,
        id: &str,
        session: &Session,
        hash: &mut Context,
        at: Option<u64>,
        pieces: impl Iterator<Item = io::Result<Bytes>>,
    ) -> Result<(u64, File)> {
        let mut length = session.length.load(Ordering::Acquire);
        if let Some(begins) = at.filter(|begins| *begins != length) {
            return Err(Error::OutOfOrder { begins, have: length });
        }
        let path = self.uploads().join(id);
        let mut file = options().open(&path).map_err(Error::io("open", &path))?;
        for piece in pieces {
            let piece = piece.map_err(|error| Error::Interrupted(error.to_string()))?;
            if let Err(error) = file.write_all(&piece) {
                // Half a piece may be there: the file and what was hashed of it must agree.
                file.set_len(length).map_err(Error::io("truncate", &path))?;
                return Err(Error::io("write", &path)(error));
            }
            hash.update(&piece);
            length += piece.len() as u64;
            session.length.store(length, Ordering::Release);
        }
        Ok((length, file))
    }

    fn whose(&self, id: &str) -> PathBuf {
        self.uploads().join(format!("{id}.repository"))
    }

    fn keep(&self, id: &str, session: Session) -> Arc<Session> {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        // Two requests may have found the same upload of an earlier process: the first one's stays.
        Arc::clone(uploads.entry(id.to_owned()).or_insert_with(|| Arc::new(session)))
    }

    fn forget(&self, id: &str) -> Result<()> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        files::remove(&self.uploads().join(id))?;
        files::remove(&self.whose(id)).map(drop)
    }

    /// An upload into this repository, of this process or an earlier one.
    fn session(&self, name: &Name, id: &str) -> Result<Arc<Session>> {
        let unknown = || Error::UploadUnknown(id.chars().take(64).collect());
        let is_id = id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_id {
            return Err(unknown());
        }
        let known = self.uploads.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let session = match known {
            Some(session) => session,
            None => {
                let whose = fs::read_to_string(self.whose(id)).map_err(|_| unknown())?;
                self.keep(id, self.found(id, whose.parse()?)?)
            }
        };
        if session.name == *name { Ok(session) } else { Err(unknown()) }
    }

    /// Takes up what an earlier process left.
    fn found(&self, id: &str, name: Name) -> Result<Session> {
        let path = self.uploads().join(id);
        let mut file = File::open(&path).map_err(|_| Error::UploadUnknown(id.to_owned()))?;
        let (mut hash, mut length, mut buffer) = (Context::new(&SHA256), 0, vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer).map_err(Error::io("read", &path))? {
                0 => break,
                read => {
                    hash.update(&buffer[..read]);
                    length += read as u64;
                }
            }
        }
        Ok(Session { name, length: AtomicU64::new(length), hash: Mutex::new(hash) })
    }
}

/// An upload is written by one request at a time.
fn alone(session: &Session) -> Result<std::sync::MutexGuard<'_, Context>> {
    match session.hash.try_lock() {
        Ok(hash) => Ok(hash),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => {
            Err(Error::UploadInvalid("another request is sending it".to_owned()))
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use tare_model::{HasKind, Kind};

    use super::*;

    #[test]
    fn there_are_only_so_many_open_uploads() {
        let root = tempfile::tempdir().unwrap();
        let depot = Depot::open(root.path()).unwrap();
        let to: Name = "a".parse().unwrap();
        let first = depot.begin(&to).unwrap();
        for number in 1..MOST {
            let hash = Mutex::new(Context::new(&SHA256));
            depot.keep(&number.to_string(), Session { name: to.clone(), length: AtomicU64::new(0), hash });
        }
        let error = depot.begin(&to).unwrap_err();
        assert!(matches!(error, Error::Crowded(MOST)) && error.kind() == Kind::Exhausted, "{error}");
        depot.abort(&to, &first).unwrap();
        assert!(depot.begin(&to).is_ok(), "one has gone");
    }
}
