use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tare_model::Timestamp;
use tokio::sync::{mpsc, watch};

use super::backwards::last_lines;
use super::files;
use super::line::{Fate, judge, parse};
use super::notices::Notice;
use crate::Result;
use crate::container::{Container, Status};
use crate::error::Step;
use crate::options::{LogEntry, LogOptions};

const BLOCK: usize = 64 << 10;
/// A line longer than this is no line of ours: the shim cuts them at 16 KiB.
const MAX_LINE: usize = 1 << 20;

type Sender = mpsc::Sender<Result<LogEntry>>;

/// Reads the log into `to` and, with a `notice`, goes on with what is written from then on.
pub(super) async fn read(
    path: &Path,
    options: LogOptions,
    mut view: watch::Receiver<Arc<Container>>,
    mut notice: Option<Notice>,
    to: &Sender,
) -> Result<()> {
    let mut reader = Reader::open(path, options.tail).await?;
    loop {
        let running = runs(&view);
        if reader.is_none() {
            // The container has not written anything before, so all of it comes later than the tail.
            reader = Reader::open(path, None).await?;
        }
        if let Some(reader) = &mut reader
            && !reader.drain(&options, to).await?
        {
            return Ok(());
        }
        let Some(notice) = notice.as_mut().filter(|_| running) else { return Ok(()) };
        if !wait(notice, &mut view, options.until, to).await {
            return Ok(());
        }
    }
}

/// Whether more may come: the container runs, and there is one.
fn runs(view: &watch::Receiver<Arc<Container>>) -> bool {
    let status = view.borrow().state.status;
    view.has_changed().is_ok() && (status.is_alive() || status == Status::Restarting)
}

/// Waits until there may be more to read; false when there will not be or nobody reads any more.
async fn wait(
    notice: &mut Notice,
    view: &mut watch::Receiver<Arc<Container>>,
    until: Option<Timestamp>,
    to: &Sender,
) -> bool {
    let now = Timestamp::from(SystemTime::now());
    let left = until.map(|until| until.since(now));
    let over = async {
        match left {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = notice.next() => true,
        // The container's removal ends its view: what it wrote last is still read.
        _ = view.changed() => true,
        () = over => false,
        () = to.closed() => false,
    }
}

/// A place in the log, kept over rotations by the file's inode.
struct Reader {
    path: PathBuf,
    file: File,
    at: u64,
    /// The beginning of a line whose end has not been read yet.
    begun: Vec<u8>,
}

impl Reader {
    /// At the last `tail` lines, or at the very beginning; nothing when there is no log.
    async fn open(path: &Path, tail: Option<usize>) -> Result<Option<Self>> {
        let mut wanted = tail;
        let mut found = None;
        for path in files(path).into_iter().rev() {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).step(|| format!("open {}", path.display())),
            };
            let length = file.metadata().step(|| format!("look at {}", path.display()))?.len();
            let mut at = 0;
            if let Some(wanted) = &mut wanted {
                let (begin, lines) =
                    last_lines(&file, length, *wanted).await.step(|| format!("read {}", path.display()))?;
                at = begin;
                *wanted -= lines;
            }
            found = Some((file, at));
            if wanted == Some(0) {
                break;
            }
        }
        Ok(found.map(|(file, at)| Self { path: path.to_owned(), file, at, begun: Vec::new() }))
    }

    /// Sends everything up to the end of the newest file; false when no more is wanted.
    async fn drain(&mut self, options: &LogOptions, to: &Sender) -> Result<bool> {
        let mut buffer = vec![0; BLOCK];
        loop {
            let path = &self.path;
            let read = self.file.read_at(&mut buffer, self.at).step(|| format!("read {}", path.display()))?;
            if read == 0 {
                match self.newer()? {
                    Some(file) => (self.file, self.at) = (file, 0),
                    None => return Ok(true),
                }
                continue;
            }
            self.at += read as u64;
            if !self.send(&buffer[..read], options, to).await || to.is_closed() {
                return Ok(false);
            }
            // Lines that nobody wants are never waited for: a long log must not keep a worker from all others.
            tokio::task::yield_now().await;
        }
    }

    async fn send(&mut self, bytes: &[u8], options: &LogOptions, to: &Sender) -> bool {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if !part.ends_with(b"\n") {
                self.begun.truncate(MAX_LINE);
                continue;
            }
            let entry = parse(&self.begun);
            self.begun.clear();
            let Some(entry) = entry else { continue };
            let go_on = match judge(&entry, options) {
                Fate::Wanted => to.send(Ok(entry)).await.is_ok(),
                Fate::Unwanted => true,
                Fate::Over => false,
            };
            if !go_on {
                return false;
            }
        }
        true
    }

    /// The file that took this one's place, once this one is not written to any more: found by where ours is now.
    fn newer(&mut self) -> Result<Option<File>> {
        let own = self.file.metadata().step(|| format!("look at {}", self.path.display()))?;
        let is_own = |path: &Path| {
            std::fs::metadata(path).is_ok_and(|other| (other.dev(), other.ino()) == (own.dev(), own.ino()))
        };
        if is_own(&self.path) || !self.path.exists() {
            return Ok(None);
        }
        let rotated = files(&self.path);
        let at = rotated.iter().position(|path| is_own(path));
        // Rotated away altogether while nobody read: the oldest that is left comes next.
        let next = at.map_or(0, |at| at + 1);
        let path = rotated.get(next).map_or(self.path.as_path(), PathBuf::as_path);
        // Between the look and the opening it may have moved on; then the next round finds it.
        let opened = File::open(path).ok();
        // What was written between our last read and the rotation.
        let grown = self.file.metadata().is_ok_and(|now| now.len() > self.at);
        Ok(opened.filter(|_| !grown))
    }
}
