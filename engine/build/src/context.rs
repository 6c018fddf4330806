//! The files that a build is given: taken apart as they arrive, in a place of their own, within limits.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use futures_util::StreamExt;
use rustix::fs::OFlags;
use tare_snapshot::{InMemory, Limits, Snapshots, Unpacked};
use tare_sys::path::open_in_root;
use tokio::sync::{mpsc, oneshot};

use crate::error::io as failed;
use crate::request::Source;
use crate::{Error, Result};

/// Top names in the archive that are no part of the context.
const SECRETS: &str = ".tare-secrets";
const CONTEXTS: &str = ".tare-contexts";
/// Bytes and entries of a context.
const LIMITS: Limits = Limits { bytes: 64 << 30, entries: 4_000_000 };
/// Unpacked bytes for each that came, once this many are unpacked: more is a bomb.
const RATIO: u64 = 200;
const RATIO_FROM: u64 = 256 << 20;
const BUFFER: usize = 256 << 10;
/// 128 MiB: what zstd itself takes without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;
const AHEAD: usize = 16;

/// The context, its secrets and the further contexts that came with it. All of it goes with this value.
#[derive(Default)]
pub(crate) struct Context {
    unpacked: Option<Unpacked>,
    contexts: Option<PathBuf>,
    secrets: InMemory,
    dockerfile: Option<Vec<u8>>,
}

impl Drop for Context {
    fn drop(&mut self) {
        let unpacked = self.unpacked.take();
        // Removing many files takes a while.
        if let (Some(unpacked), Ok(runtime)) = (unpacked, tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(unpacked));
        }
    }
}

impl Context {
    /// Takes in what `source` gives.
    pub(crate) async fn take(snapshots: &Arc<Snapshots>, source: Source) -> Result<Self> {
        let mut archive = match source {
            Source::Nothing => return Ok(Self::default()),
            Source::Dockerfile(text) => {
                let mut context = Self::default();
                context.dockerfile = Some(text);
                return Ok(context);
            }
            Source::Archive(archive) => archive,
        };
        let (to, from) = mpsc::channel(AHEAD);
        let snapshots = snapshots.clone();
        // Not in the pool of the threads that may block: they are few, and this one waits for a client.
        let (done, taken) = oneshot::channel();
        let thread = std::thread::Builder::new().name("context".to_owned());
        thread.spawn(move || drop(done.send(unpack(&snapshots, from)))).map_err(failed("start a thread"))?;
        while let Some(chunk) = archive.next().await {
            if to.send(chunk).await.is_err() {
                break;
            }
        }
        drop(to);
        taken.await.map_err(|_| Error::Cancelled)?
    }

    /// The Dockerfile of this name, of at most `limit` bytes.
    pub(crate) fn dockerfile(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        if let Some(text) = &self.dockerfile {
            return Ok(text.clone());
        }
        let missing = || Error::Request(format!("Cannot locate specified Dockerfile: {name}"));
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let root = self.root().ok_or_else(missing)?;
        let file = open_in_root(root, Path::new(name), flags).map_err(|_| missing())?;
        let file = std::fs::File::from(file);
        if !file.metadata().map_err(failed("look at the Dockerfile"))?.is_file() {
            return Err(missing());
        }
        let mut text = Vec::new();
        file.take(limit + 1).read_to_end(&mut text).map_err(failed("read the Dockerfile"))?;
        if text.len() as u64 > limit {
            return Err(Error::Limit(format!("the Dockerfile has more than {limit} bytes")));
        }
        Ok(text)
    }

    pub(crate) fn root(&self) -> Option<BorrowedFd<'_>> {
        self.unpacked.as_ref().map(|unpacked| unpacked.root())
    }

    /// Where the files stand, for mounts.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.unpacked.as_ref().map(Unpacked::path)
    }

    /// Where the files of a further context stand.
    pub(crate) fn named(&self, name: &str) -> Option<PathBuf> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        self.contexts.as_ref().filter(|_| plain).map(|contexts| contexts.join(name))
    }

    pub(crate) fn secret(&self, id: &str) -> Option<&Vec<u8>> {
        self.secrets.get(encoded(id).as_bytes())
    }
}

/// As the client writes an id into a name: `%` and `/` by their numbers.
fn encoded(id: &str) -> String {
    id.replace('%', "%25").replace('/', "%2F")
}

fn unpack(snapshots: &Snapshots, from: mpsc::Receiver<io::Result<Bytes>>) -> Result<Context> {
    let taken = Arc::<AtomicU64>::default();
    let arriving = Arriving { from, chunk: Bytes::new(), taken: taken.clone() };
    let mut input = BufReader::with_capacity(BUFFER, arriving);
    if input.fill_buf().map_err(unreadable)?.is_empty() {
        return Ok(Context::default());
    }
    let decoder = Bounded { decoder: decoder(input)?, taken, bytes: 0 };
    let reader = BufReader::with_capacity(BUFFER, decoder);
    let (mut unpacked, secrets) = snapshots.unpack_files(reader, &LIMITS, SECRETS).map_err(refused)?;
    let contexts = unpacked.split_off(CONTEXTS)?;
    Ok(Context { unpacked: Some(unpacked), contexts, secrets, dockerfile: None })
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn unreadable(error: io::Error) -> Error {
    Error::Request(format!("the build context cannot be read: {error}"))
}

fn refused(error: tare_snapshot::Error) -> Error {
    use tare_model::{HasKind, Kind};
    match error.kind() {
        Kind::Corrupt | Kind::InvalidInput => {
            Error::Request(format!("the build context is refused: {error}"))
        }
        Kind::Exhausted => Error::Limit(format!("the build context is refused: {error}")),
        _ => error.into(),
    }
}

/// What an archive or file is wrapped in.
pub(crate) fn decoder<'a>(mut input: impl BufRead + 'a) -> Result<Box<dyn Read + 'a>> {
    Ok(match input.fill_buf().map_err(unreadable)? {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(input)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(unreadable)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(unreadable)?;
            Box::new(decoder)
        }
        [b'B', b'Z', b'h', ..] => {
            return Err(Error::NotSupported("archives in bzip2; use gzip or zstd".to_owned()));
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            return Err(Error::NotSupported("archives in xz; use gzip or zstd".to_owned()));
        }
        _ => Box::new(input),
    })
}

/// What a client sends, for a thread that may block.
struct Arriving {
    from: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
    taken: Arc<AtomicU64>,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.from.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let length = self.chunk.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        self.taken.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// A decoder that is no bomb.
struct Bounded<'a> {
    decoder: Box<dyn Read + 'a>,
    taken: Arc<AtomicU64>,
    bytes: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        self.bytes += read as u64;
        if self.bytes > RATIO_FROM && self.bytes / self.taken.load(Ordering::Relaxed).max(1) > RATIO {
            return Err(io::Error::other(format!("it inflates to more than {RATIO} times its size")));
        }
        Ok(read)
    }
}

/// Variables for messages and logs never hold a secret: what is shown of them are their names.
impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: BTreeMap<_, usize> =
            self.secrets.iter().map(|(id, secret)| (String::from_utf8_lossy(id), secret.len())).collect();
        formatter.debug_struct("Context").field("secrets", &names).finish_non_exhaustive()
    }
}
