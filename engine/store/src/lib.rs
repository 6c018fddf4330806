//! # store: what the engine must not forget
//!
//! - **Owns**: the one database file of a data root; leases ("in use by").
//! - **In**: batches of puts, deletes and leases. **Out**: records as they were put, holders of a resource.
//! - **Leans on**: model; redb.
//! - **Never**: knows what a record or a lease means: tables, keys, resources and holders are opaque text.
//! - **Invariant**: a batch is all or nothing and durable when its commit returns; a read sees every batch that was
//!   handed in before it, whether it is on the disk yet or not; batches are applied in the order they were handed in.
//!
//! One thread writes. Whatever is queued when it turns to the disk becomes one transaction with one fsync, so that a
//! hundred commits at once cost hardly more than one. Some room beside the file is kept for batches that delete, so that a
//! full disk can be emptied.

mod batch;
mod error;
mod file;
mod lease;
mod pending;
mod read;
mod reserve;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

pub use batch::Batch;
pub use error::{Error, Result};

use pending::Pending;
use writer::{Job, Writer};

/// The open database. Cheap to share; the file is closed when the last handle is dropped, after everything queued
/// has been written.
pub struct Store {
    file: Arc<file::File>,
    pending: Arc<Mutex<Pending>>,
    writer: Writer,
}

/// A batch on its way to the disk, where it goes whether anybody waits or not.
#[derive(Debug)]
pub struct Submitted(oneshot::Receiver<Result<()>>);

impl Submitted {
    /// Waits until it is there, or has failed.
    pub async fn durable(self) -> Result<()> {
        self.0.await.unwrap_or(Err(Error::Stopped))
    }
}

impl Store {
    /// Opens or makes the database at `path`, whose directory must exist. Only one process at a time can hold it.
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        let file = Arc::new(file::File::open(path)?);
        let pending = Arc::new(Mutex::new(Pending::default()));
        let writer = Writer::start(file.clone(), pending.clone())?;
        Ok(Arc::new(Self { file, pending, writer }))
    }

    /// The record under `key`, if there is one.
    pub fn get<T: DeserializeOwned>(&self, table: &'static str, key: &str) -> Result<Option<T>> {
        let value = read::value(&self.file, &self.pending, table, key)?;
        value.map(|bytes| read::decode(table, key, &bytes)).transpose()
    }

    /// Every record of a table, by key in byte order.
    pub fn list<T: DeserializeOwned>(&self, table: &'static str) -> Result<Vec<(String, T)>> {
        let records = read::below(&self.file, &self.pending, table, "")?;
        records
            .into_iter()
            .map(|(key, bytes)| read::decode(table, &key, &bytes).map(|value| (key, value)))
            .collect()
    }

    /// Applies a batch; it is on the disk when this returns. A condition of the batch that does not hold
    /// ([`Batch::only_if`], [`Batch::unless`], [`Batch::unless_leased`]) refuses the whole of it.
    pub async fn commit(&self, batch: Batch) -> Result<()> {
        self.submit(batch)?.durable().await
    }

    /// [`Store::commit`] in two steps, for who has something to do while the disk works: conditions are judged and reads see
    /// the batch when this returns.
    pub fn submit(&self, batch: Batch) -> Result<Submitted> {
        let (done, answer) = oneshot::channel();
        self.enqueue(batch, Some(done))?;
        Ok(Submitted(answer))
    }

    /// [`Store::commit`] for threads that may block.
    pub fn commit_blocking(&self, batch: Batch) -> Result<()> {
        let (done, answer) = oneshot::channel();
        self.enqueue(batch, Some(done))?;
        answer.blocking_recv().unwrap_or(Err(Error::Stopped))
    }

    /// Applies a batch with the next one that is waited for, or some 20 ms later, in order with the others; reads see it at
    /// once. A failure is logged: only for what reconciling at the next start would find out anyway.
    pub fn commit_later(&self, batch: Batch) {
        if let Err(error) = self.enqueue(batch, None) {
            tracing::error!("a record could not be queued: {error}");
        }
    }

    /// Waits until everything queued so far is on the disk or has failed.
    pub async fn flush(&self) -> Result<()> {
        self.commit(Batch::default()).await
    }

    /// Who uses `resource`, in byte order.
    pub fn holders(&self, resource: &str) -> Result<Vec<String>> {
        lease::holders(&self.file, &self.pending, resource)
    }

    /// What `holder` uses, in byte order.
    pub fn leases_of(&self, holder: &str) -> Result<Vec<String>> {
        lease::resources(&self.file, &self.pending, holder)
    }

    /// Checks the conditions, resolves what depends on other records, and queues, all under one lock: nothing can come
    /// between a condition and its batch.
    fn enqueue(&self, batch: Batch, done: Option<oneshot::Sender<Result<()>>>) -> Result<()> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let writes = batch.resolve(&self.file, &pending)?;
        let sequence = pending.add(&writes);
        let sent = self.writer.send(Job { sequence, writes, done });
        if sent.is_err() {
            pending.settle(sequence..=sequence);
        }
        sent
    }
}
