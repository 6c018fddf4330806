//! The files that a build is given: taken apart as they arrive, in a place of their own, within limits.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use tare_dockerfile::{Ignore, Verdict, ignore_files};
use tare_image::Arriving;
use tare_registry::Named;
use tare_snapshot::{Front, Limits, Snapshots, Unpacked};
use tare_sys::path::open_in_root;
use tokio::sync::mpsc;

use crate::error::io as failed;
use crate::files::walk::walk;
use crate::git::Checkout;
use crate::request::Source;
use crate::{Error, Result, in_a_thread};

const SECRETS: &str = ".tare-secrets";
/// A Dockerfile that is no part of the context.
const DOCKERFILE: &str = ".tare-dockerfile";
/// What comes before the context where the client said that something does. Names like these in the context are names
/// like any other: whoever wrote its files has no word in which Dockerfile is built, and with which secrets.
const FRONT: Front = Front { in_memory: &[SECRETS, DOCKERFILE], apart: ".tare-contexts", end: ".tare-end" };
/// The largest `.dockerignore` that is looked at; the language refuses smaller ones already.
const IGNORE: u64 = 2 << 20;
/// What comes from outside may come to so much: a context, an archive of ADD, a repository.
pub(crate) const LIMITS: Limits = Limits { bytes: 64 << 30, entries: 4_000_000, memory: 128 << 20 };
const BUFFER: usize = 256 << 10;
const AHEAD: usize = 16;

/// The context, its secrets and the further contexts that came with it. All of it goes with this value.
#[derive(Default)]
pub(crate) struct Context {
    held: Option<Held>,
    contexts: Option<PathBuf>,
    /// By the name in the archive.
    secrets: BTreeMap<Vec<u8>, Vec<u8>>,
    dockerfile: Option<Vec<u8>>,
    /// Who names what the Dockerfile names.
    pub names: Named,
    /// Holds `contexts` where `held` came from elsewhere.
    beside: Option<Held>,
}

/// What the files stand in.
enum Held {
    Archive(Box<Unpacked>),
    Repository(Checkout),
}

impl Held {
    fn root(&self) -> BorrowedFd<'_> {
        match self {
            Self::Archive(unpacked) => unpacked.root(),
            Self::Repository(checkout) => checkout.root(),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Archive(unpacked) => unpacked.path(),
            Self::Repository(checkout) => checkout.path.clone(),
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let held = (self.held.take(), self.beside.take());
        // Removing many files takes a while.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(held));
        }
    }
}

impl Context {
    /// Takes in what `source` gives.
    pub(crate) async fn take(snapshots: &Arc<Snapshots>, source: Source) -> Result<Self> {
        let (mut archive, front) = match source {
            Source::Nothing => return Ok(Self::default()),
            Source::Dockerfile(text) => {
                let mut context = Self::default();
                context.dockerfile = Some(text);
                return Ok(context);
            }
            Source::Archive { archive, reserved } => (archive, reserved.then_some(FRONT)),
            Source::Address { address, .. } => {
                return Err(Error::Request(format!("the build context {address} was not fetched")));
            }
        };
        let (to, from) = mpsc::channel(AHEAD);
        let snapshots = snapshots.clone();
        let taken = in_a_thread("context", move || unpack(&snapshots, from, front))?;
        while let Some(chunk) = archive.next().await {
            if to.send(chunk).await.is_err() {
                break;
            }
        }
        drop(to);
        taken.await.unwrap_or(Err(Error::Cancelled))
    }

    /// The files of a commit.
    pub(crate) fn of_repository(checkout: Checkout) -> Self {
        let mut context = Self::default();
        context.held = Some(Held::Repository(checkout));
        context
    }

    /// Takes over what came beside the address that this came from: secrets, further contexts, a Dockerfile. `names` tells who
    /// wrote the one that lies in the context.
    pub(crate) fn beside(mut self, mut other: Self, names: Named) -> Self {
        match other.dockerfile.take() {
            Some(text) => self.dockerfile = Some(text),
            None => self.names = names,
        }
        (self.secrets, self.contexts) = (std::mem::take(&mut other.secrets), other.contexts.take());
        self.beside = other.held.take();
        self
    }

    /// Reads the Dockerfile of this name, of at most `limit` bytes, and takes out of the context what its `.dockerignore`
    /// leaves out, both of these files included. Blocking.
    pub(crate) fn settle(&mut self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let text = match self.dockerfile.take() {
            Some(text) => text,
            None => self.dockerfile(name, limit)?,
        };
        for file in ignore_files(name) {
            if let Some(rules) = self.read(Path::new(&file), IGNORE)? {
                let rules = Ignore::parse(&rules).map_err(|why| Error::Request(format!("{file}: {why}")))?;
                self.leave_out(&rules)?;
                break;
            }
        }
        Ok(text)
    }

    /// A file at a path of the context, if there is one.
    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let Some(Ok(file)) = self.root().map(|root| open_in_root(root, path, flags)) else { return Ok(None) };
        let file = std::fs::File::from(file);
        if !file.metadata().is_ok_and(|found| found.is_file()) {
            return Ok(None);
        }
        let mut text = Vec::new();
        file.take(limit + 1).read_to_end(&mut text).map_err(failed(format!("read {}", path.display())))?;
        if text.len() as u64 > limit {
            return Err(Error::Limit(format!("{} has more than {limit} bytes", path.display())));
        }
        Ok(Some(text))
    }

    fn leave_out(&self, rules: &Ignore) -> Result<()> {
        let Some(root) = self.root().filter(|_| !rules.is_empty()) else { return Ok(()) };
        let top = openat(root, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let mut hollow = Vec::new();
        let mut fresh = 0_u64;
        // The verdicts on the directories that are being walked.
        let mut above: Vec<(PathBuf, Verdict)> = Vec::new();
        walk(top.map_err(failed("open the context"))?, &mut |found| {
            let path = found.path.as_os_str().as_bytes();
            while above.last().is_some_and(|(directory, _)| found.path.parent() != Some(directory)) {
                above.pop();
            }
            let verdict = rules.judge(path, above.last().map(|(_, verdict)| verdict));
            let returns = verdict.excluded && found.is_directory() && rules.may_return(path);
            if !verdict.excluded || returns {
                hollow.extend(returns.then(|| found.path.to_owned()));
                above.extend(found.is_directory().then(|| (found.path.to_owned(), verdict)));
                return Ok(true);
            }
            let removed = if found.is_directory() {
                let name = found.name.to_str().ok_or(rustix::io::Errno::ILSEQ);
                name.and_then(|name| {
                    tare_sys::tree::remove(found.parent, name, || {
                        fresh += 1;
                        format!(".tare-left-out-{fresh}")
                    })
                })
            } else {
                unlinkat(found.parent, found.name, AtFlags::empty())
            };
            removed.map_err(failed(format!("leave out {}", found.path.display())))?;
            Ok(false)
        })?;
        // What nothing came back to goes as well.
        for directory in hollow.iter().rev() {
            let _ = unlinkat(root, directory, AtFlags::REMOVEDIR);
        }
        Ok(())
    }

    fn dockerfile(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let missing = || Error::Request(format!("Cannot locate specified Dockerfile: {name}"));
        self.read(Path::new(name), limit)?.ok_or_else(missing)
    }

    pub(crate) fn root(&self) -> Option<BorrowedFd<'_>> {
        self.held.as_ref().map(Held::root)
    }

    /// Where the files stand, for mounts.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.held.as_ref().map(Held::path)
    }

    /// Where the files of a further context stand.
    pub(crate) fn named(&self, name: &str) -> Option<PathBuf> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        self.contexts.as_ref().filter(|_| plain).map(|contexts| contexts.join(name))
    }

    pub(crate) fn secret(&self, id: &str) -> Option<&Vec<u8>> {
        self.secrets.get(format!("{SECRETS}/{}", encoded(id)).as_bytes())
    }
}

/// As the client writes an id into a name: `%` and `/` by their numbers.
fn encoded(id: &str) -> String {
    id.replace('%', "%25").replace('/', "%2F")
}

fn unpack(
    snapshots: &Snapshots,
    from: mpsc::Receiver<io::Result<Bytes>>,
    front: Option<Front>,
) -> Result<Context> {
    let arriving = Arriving::new(from);
    let taken = arriving.taken();
    let mut input = BufReader::with_capacity(BUFFER, arriving);
    if input.fill_buf().map_err(unreadable)?.is_empty() {
        return Ok(Context::default());
    }
    let tar = tare_image::unwrapped(input, taken).map_err(unreadable)?;
    let reader = BufReader::with_capacity(BUFFER, tar);
    let (unpacked, mut found) = snapshots.unpack_files(reader, &LIMITS, front).map_err(refused)?;
    let dockerfile = found.files.remove(DOCKERFILE.as_bytes());
    let held = Some(Held::Archive(Box::new(unpacked)));
    let (contexts, secrets) = (found.apart, found.files);
    Ok(Context { held, contexts, secrets, dockerfile, names: Named::Here, beside: None })
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn unreadable(error: io::Error) -> Error {
    Error::Request(format!("the build context cannot be read: {error}"))
}

fn refused(error: tare_snapshot::Error) -> Error {
    use tare_model::{HasKind, Kind};
    match error.kind() {
        Kind::Exhausted if matches!(error, tare_snapshot::Error::Io { .. }) => {
            Error::Limit(format!("there is no room for the build context: {error}"))
        }
        Kind::Corrupt | Kind::InvalidInput => {
            Error::Request(format!("the build context is refused: {error}"))
        }
        Kind::Exhausted => Error::Limit(format!("the build context is refused: {error}")),
        _ => error.into(),
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
