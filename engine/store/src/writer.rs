//! The one thread that writes.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::batch::Write;
use crate::file::File;
use crate::pending::Pending;
use crate::reserve::Reserve;
use crate::{Error, Result, read};

/// The most batches that share a transaction, so that the first of them does not wait for ever.
const GROUP: usize = 512;

/// How long a batch waits for the next one.
const PATIENCE: Duration = Duration::from_millis(20);

/// A batch on its way, and who waits for it.
pub(crate) struct Job {
    pub sequence: u64,
    pub writes: Vec<Write>,
    /// Where there is none, it is as good to be written with the next one.
    pub done: Option<oneshot::Sender<Result<()>>>,
}

impl Job {
    fn deletes(&self) -> bool {
        self.writes.iter().any(|write| write.value.is_none())
    }
}

pub(crate) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(file: Arc<File>, pending: Arc<Mutex<Pending>>) -> Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let run = move || write_all(&file, &pending, &queue);
        let thread =
            thread::Builder::new().name("store".to_owned()).spawn(run).map_err(|_| Error::Stopped)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(crate) fn send(&self, job: Job) -> Result<()> {
        self.jobs.as_ref().ok_or(Error::Stopped)?.send(job).map_err(|_| Error::Stopped)
    }
}

impl Drop for Writer {
    /// Waits for what is queued: who drops the store expects the file to be complete and unlocked.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(file: &File, pending: &Mutex<Pending>, queue: &Receiver<Job>) {
    let reserve = Reserve::beside(file.path());
    reserve.take();
    while let Ok(first) = queue.recv() {
        let mut group = vec![first];
        await_company(&mut group, queue);
        group.extend(queue.try_iter().take(GROUP.saturating_sub(group.len())));
        let sequences = group[0].sequence..=group[group.len() - 1].sequence;
        let written = write_or_make_room(file, &reserve, group);
        pending.lock().unwrap_or_else(PoisonError::into_inner).settle(sequences);
        for (group, result) in written {
            group.into_iter().for_each(|job| answer(job, &result));
        }
    }
}

/// Writes a group. On a full disk those of it that delete are written with the room that is kept for them.
fn write_or_make_room(file: &File, reserve: &Reserve, group: Vec<Job>) -> Vec<(Vec<Job>, Result<()>)> {
    let result = write_group(file, &group);
    let is_full = matches!(result, Err(Error::Storage { full: true, .. }));
    if is_full && group.iter().any(Job::deletes) && reserve.give() {
        let (deleting, others) = group.into_iter().partition::<Vec<_>, _>(Job::deletes);
        let again = write_group(file, &deleting);
        return vec![(deleting, again), (others, result)];
    }
    if result.is_ok() {
        reserve.take();
    }
    vec![(group, result)]
}

/// What nobody waits for waits a moment for what somebody does: both cost one transaction then, and the disk is at hand.
fn await_company(group: &mut Vec<Job>, queue: &Receiver<Job>) {
    let deadline = Instant::now() + PATIENCE;
    while group.len() < GROUP && group.iter().all(|job| job.done.is_none()) {
        match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(job) => group.push(job),
            Err(_) => return,
        }
    }
}

fn write_group(file: &File, group: &[Job]) -> Result<()> {
    if group.iter().all(|job| job.writes.is_empty()) {
        return Ok(());
    }
    file.write(|database| {
        let transaction = database.begin_write()?;
        for write in group.iter().flat_map(|job| &job.writes) {
            let mut table = transaction.open_table(read::definition(write.table))?;
            match &write.value {
                Some(value) => drop(table.insert(write.key.as_str(), value.as_ref())?),
                None => drop(table.remove(write.key.as_str())?),
            }
        }
        Ok(transaction.commit()?)
    })
}

fn answer(job: Job, result: &Result<()>) {
    match (job.done, result) {
        // Who asked may have gone meanwhile; the batch stands all the same.
        (Some(done), result) => drop(done.send(result.clone())),
        (None, Err(error)) => tracing::error!("a record that nobody waits for is lost: {error}"),
        (None, Ok(())) => {}
    }
}
