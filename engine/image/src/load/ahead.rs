//! Layers of an archive, unpacked while the archive still arrives: each from the file that it is taken apart into, which
//! grows meanwhile. Which of them an image needs is known at the archive's end, mostly all.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tare_snapshot::Snapshots;
use tokio::sync::oneshot;

use crate::layer::{Budget, Compression, Opened, bounds, inflated};
use crate::{Error, Result};

/// Smaller layers are not worth it.
const WORTHWHILE: u64 = 256 << 10;
const BUFFER: usize = 256 << 10;
/// What a tar has in its first header, and where (POSIX, *pax*, ustar).
const USTAR: (&[u8], usize) = (b"ustar", 257);
/// As much of a file's beginning as [`Ahead::wants`] looks at.
pub(crate) const HEAD: usize = 262;

/// Threads that unpack. Dropped, they stop where they are.
pub(crate) struct Ahead {
    jobs: Sender<Job>,
    stopped: Arc<AtomicBool>,
    budget: Arc<Budget>,
}

struct Job {
    from: Follower,
    compression: Compression,
    result: oneshot::Sender<Result<Opened>>,
}

impl Ahead {
    /// Starts so many threads, each of which holds an `alive` until it ends.
    pub(crate) fn start<A: Clone + Send + 'static>(
        snapshots: &Arc<Snapshots>,
        budget: Arc<Budget>,
        threads: usize,
        alive: &A,
    ) -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (queue, stopped) = (Arc::new(Mutex::new(queue)), Arc::<AtomicBool>::default());
        for _ in 0..threads {
            let (queue, snapshots, alive) = (queue.clone(), snapshots.clone(), alive.clone());
            let budget = budget.clone();
            let work = move || {
                let _alive = alive;
                while let Some(job) = next(&queue) {
                    let opened = open(job.from, job.compression, &snapshots, &budget);
                    // Nobody may want it any more: then the tree goes.
                    drop(job.result.send(opened));
                }
            };
            let thread = thread::Builder::new().name("ahead".to_owned()).spawn(work);
            thread.map_err(Error::io("start a thread for", Path::new("a layer")))?;
        }
        Ok(Self { jobs, stopped, budget })
    }

    /// What the whole archive may come to.
    pub(crate) fn budget(&self) -> Arc<Budget> {
        self.budget.clone()
    }

    /// Whether a file of this size that begins so looks like a layer.
    pub(crate) fn wants(head: &[u8], size: u64) -> bool {
        let (mark, at) = USTAR;
        let tar = head.get(at..).is_some_and(|rest| rest.starts_with(mark));
        size >= WORTHWHILE && (tar || Compression::of(head) != Compression::Plain)
    }

    /// Has the file unpacked from its beginning on while it is written; what comes of it, and where to tell how far it is.
    pub(crate) fn follow(
        &self,
        path: &Path,
        head: &[u8],
    ) -> Result<(Growing, oneshot::Receiver<Result<Opened>>)> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let shared = Arc::<Shared>::default();
        let stopped = self.stopped.clone();
        let from = Follower { file, shared: shared.clone(), stopped, at: 0, known: 0, taken: Arc::default() };
        let (result, opened) = oneshot::channel();
        // The threads live as long as this.
        drop(self.jobs.send(Job { from, compression: Compression::of(head), result }));
        Ok((Growing(shared), opened))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn open(from: Follower, compression: Compression, snapshots: &Snapshots, budget: &Budget) -> Result<Opened> {
    let name = "of the archive";
    let taken = from.taken.clone();
    let mut from = BufReader::with_capacity(BUFFER, from);
    if compression == Compression::Plain {
        let unpacked = snapshots.unpack(&mut from, &bounds(budget.limits));
        let unpacked = unpacked.map_err(|source| Error::Layer { layer: name.to_owned(), source })?;
        return Ok(Opened { unpacked, diff: None, compression });
    }
    let (unpacked, diff) = inflated((name, compression), from, taken, budget, snapshots)?;
    Ok(Opened { unpacked, diff: Some(diff), compression })
}

/// How far a file has come. Dropped, the file is as long as it will be.
pub(crate) struct Growing(Arc<Shared>);

#[derive(Default)]
struct Shared {
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    length: u64,
    ended: bool,
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the file is longer than this or ends; its length then.
    fn beyond(&self, length: u64) -> u64 {
        let waiting = |progress: &mut Progress| progress.length <= length && !progress.ended;
        let waited = self.changed.wait_while(self.progress(), waiting);
        waited.unwrap_or_else(PoisonError::into_inner).length
    }
}

impl Growing {
    /// So many bytes are there now.
    pub(crate) fn is(&self, length: u64) {
        self.0.progress().length = length;
        self.0.changed.notify_all();
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.0.progress().ended = true;
        self.0.changed.notify_all();
    }
}

/// Reads a file that somebody still writes.
struct Follower {
    file: File,
    shared: Arc<Shared>,
    stopped: Arc<AtomicBool>,
    at: u64,
    /// Bytes that are there for certain.
    known: u64,
    taken: Arc<AtomicU64>,
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.known {
            self.known = self.shared.beyond(self.at);
        }
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("it is not wanted any more"));
        }
        let there = usize::try_from(self.known - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read(&mut buffer[..there])?;
        self.at += read as u64;
        self.taken.store(self.at, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_follower_reads_what_is_written_after_it_began_and_no_more() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let growing = Growing(Arc::default());
        let mut from = Follower {
            file: File::open(file.path()).unwrap(),
            shared: growing.0.clone(),
            stopped: Arc::default(),
            at: 0,
            known: 0,
            taken: Arc::default(),
        };
        let read = thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            bytes
        });
        for length in 1..=100 {
            file.write_all(&[7; 1000]).unwrap();
            growing.is(length * 1000);
        }
        // Written, and not told.
        file.write_all(&[8; 1000]).unwrap();
        drop(growing);
        assert!(read.join().unwrap() == [7; 100_000]);
    }

    #[test]
    fn what_looks_like_a_layer_is_taken_for_one() {
        let tar = [&[b'x'; 257][..], b"ustar\0", &[0; 249]].concat();
        assert!(Ahead::wants(&tar, WORTHWHILE) && Ahead::wants(&[0x1f, 0x8b, 8], WORTHWHILE));
        assert!(!Ahead::wants(&tar, WORTHWHILE - 1), "too small");
        assert!(!Ahead::wants(b"{\"schemaVersion\": 2}", WORTHWHILE) && !Ahead::wants(b"", WORTHWHILE));
    }
}
