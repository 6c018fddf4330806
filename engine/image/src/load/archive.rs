//! An archive, taken apart: each file of it under a digest that we have counted ourselves, and its names only as names.
//! Nothing is written where a name of the archive says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use tare_model::Digest;
use tare_snapshot::{ListedKind, Listing};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use super::ahead::{Ahead, HEAD};
use super::names::{linked, name};
use crate::content::{Content, Writeback, discard, from_hash};
use crate::garbage::Pinned;
use crate::layer::{Arrived, Budget, Opened};
use crate::progress::{Listener, Reporter};
use crate::wrapping::decoded;
use crate::{Error, Images, Result};

/// Entries of an archive: a layer makes three at most.
const ENTRIES: usize = 100_000;
/// Links that lead to links.
const HOPS: usize = 8;
/// What tells a compression.
const MAGIC: usize = 4;
/// Files that are smaller are not worth a line.
const SHOWN: u64 = 64 << 10;

/// The files of an archive. They go with it, unless they were adopted.
pub(crate) struct Archive {
    items: BTreeMap<String, Item>,
    /// The name of a file with this content: documents of an archive may ask for as many as it has entries.
    names: BTreeMap<Digest, String>,
    /// Trees of files that look like layers, by the files' digests.
    opening: Mutex<BTreeMap<Digest, oneshot::Receiver<Result<Opened>>>>,
    ahead: Ahead,
    /// Kept here before; the archive brought them once more.
    pinned: Vec<Pinned>,
}

/// Where an archive is taken apart.
pub(crate) struct Surroundings<'a> {
    pub(crate) images: &'a Images,
    pub(crate) listener: &'a Listener,
    /// The digests of all tars whose trees are here.
    pub(crate) unpacked: BTreeSet<Digest>,
}

enum Item {
    File(ArchiveFile),
    /// A name that stands for another one, complete.
    Link(String),
}

/// A file of the archive.
#[derive(Clone, Debug)]
pub(crate) struct ArchiveFile {
    /// Of its bytes.
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// How it begins.
    pub(crate) magic: Vec<u8>,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Whether that is its place among the blobs.
    kept: bool,
}

impl ArchiveFile {
    fn discard(&self) {
        if !self.kept {
            discard(&self.path);
        }
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        for item in self.items.values() {
            if let Item::File(file) = item {
                file.discard();
            }
        }
    }
}

impl Archive {
    /// Takes an archive apart. Blocking.
    pub(crate) fn take_apart(
        around: &Surroundings<'_>,
        ahead: Ahead,
        bytes: Receiver<io::Result<Bytes>>,
    ) -> Result<Self> {
        let limits = &around.images.settings.limits;
        let mut archive = Self {
            items: BTreeMap::new(),
            names: BTreeMap::new(),
            opening: Mutex::default(),
            ahead,
            pinned: Vec::new(),
        };
        let mut listing = Listing::new(decoded(bytes, limits)?);
        let mut entries = 0;
        while let Some(entry) = listing.next().map_err(unreadable)? {
            entries += 1;
            if entries > ENTRIES {
                return Err(Error::Archive(format!("it has more than {ENTRIES} entries")));
            }
            let Some(name) = name(&entry.name)? else { continue };
            let item = match entry.kind {
                ListedKind::Directory => continue,
                ListedKind::Other => {
                    return Err(Error::Archive(format!("{name:?} is neither file, link nor directory")));
                }
                ListedKind::Link { target, hard } => Item::Link(linked(&name, &target, hard)?),
                ListedKind::File { size } if size > limits.layer_bytes => {
                    return Err(Error::Archive(format!(
                        "{name:?} has {size} bytes, more than {}",
                        limits.layer_bytes
                    )));
                }
                ListedKind::File { size } => Item::File(archive.take(around, &mut listing, &name, size)?),
            };
            archive.put(name, item)?;
        }
        listing.drain().map_err(unreadable)?;
        Ok(archive)
    }

    /// Takes one file in, unless it is here already.
    fn take<R: Read>(
        &mut self,
        around: &Surroundings<'_>,
        listing: &mut Listing<R>,
        name: &str,
        size: u64,
    ) -> Result<ArchiveFile> {
        let mut reporter = reporter(name, size, around.listener);
        let report = |read| {
            if let Some(reporter) = &mut reporter {
                reporter.loading(read, size);
            }
        };
        let claimed = claimed(name);
        if let Some(digest) = claimed
            && let Some(pinned) = kept(around.images, &digest)
        {
            self.pinned.push(pinned);
            return again(around.images.content.path(&digest), digest, listing, size, report);
        }
        let known = claimed.is_some_and(|digest| around.unpacked.contains(&digest));
        let ahead = (!known).then_some(&self.ahead);
        let (file, opened) = store(&around.images.content, ahead, listing, size, report)?;
        if let Some(opened) = opened {
            self.opening().insert(file.digest, opened);
        }
        Ok(file)
    }

    fn opening(&self) -> MutexGuard<'_, BTreeMap<Digest, oneshot::Receiver<Result<Opened>>>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name that stands twice in an archive could mean one file to us and the other to somebody else.
    fn put(&mut self, name: String, item: Item) -> Result<()> {
        let same = |old: &Item| match (old, &item) {
            (Item::File(old), Item::File(new)) => old.digest == new.digest,
            (Item::Link(old), Item::Link(new)) => old == new,
            _ => false,
        };
        let differs = self.items.get(&name).is_some_and(|old| !same(old));
        let complaint = differs.then(|| Error::Archive(format!("{name:?} is in it twice")));
        if let Item::File(file) = &item {
            self.names.insert(file.digest, name.clone());
        }
        if let Some(Item::File(old)) = self.items.insert(name, item) {
            old.discard();
        }
        complaint.map_or(Ok(()), Err)
    }

    /// The file that a path of the archive means.
    pub(crate) fn find(&self, path: &str) -> Result<Option<&ArchiveFile>> {
        let Some(mut at) = name(path.as_bytes())? else { return Ok(None) };
        for _ in 0..=HOPS {
            match self.items.get(&at) {
                None => return Ok(None),
                Some(Item::File(file)) => return Ok(Some(file)),
                Some(Item::Link(target)) => at.clone_from(target),
            }
        }
        Err(Error::Archive(format!("{path:?} is a link that leads nowhere")))
    }

    /// A file with this content, under whatever name.
    pub(crate) fn with_digest(&self, digest: &Digest) -> Option<&ArchiveFile> {
        match self.items.get(self.names.get(digest)?)? {
            Item::File(file) => Some(file),
            Item::Link(_) => None,
        }
    }

    /// The bytes of a small file.
    pub(crate) fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.find(path)? else { return Ok(None) };
        if file.size > limit {
            return Err(Error::Archive(format!("{path:?} has {} bytes, more than {limit}", file.size)));
        }
        std::fs::read(&file.path).map(Some).map_err(Error::io("read", &file.path))
    }
}

/// What is wrong with a tar that is no layer.
fn unreadable(error: tare_snapshot::Error) -> Error {
    use tare_snapshot::Error as Tar;
    Error::Archive(match error {
        Tar::Read(cause) => cause.to_string(),
        Tar::Malformed { why } => format!("it is no sound tar: {why}"),
        Tar::Limit { what, limit } => format!("it has more than {limit} {what}"),
        other => other.to_string(),
    })
}

/// The digest that a file is named after, as those of layouts and of newer archives of Docker's are.
fn claimed(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let stem = last.strip_suffix(".json").or_else(|| last.strip_suffix(".tar")).unwrap_or(last);
    Digest::from_hex(stem).ok()
}

/// Sees to it that a blob which is here stays.
fn kept(images: &Images, digest: &Digest) -> Option<Pinned> {
    let _quiet = images.sweep.blocking_read();
    images.content.has(digest).then(|| images.pins.pin(vec![*digest]))
}

/// Hands on the entry's content piece by piece; its digest.
fn pour<R: Read>(
    listing: &mut Listing<R>,
    mut take: impl FnMut(&[u8], u64) -> Result<()>,
    mut report: impl FnMut(u64),
) -> Result<Digest> {
    let (mut hash, mut read) = (Context::new(&SHA256), 0);
    loop {
        let chunk = listing.chunk().map_err(unreadable)?;
        if chunk.is_empty() {
            return Ok(from_hash(&hash.finish()));
        }
        let length = chunk.len();
        read += length as u64;
        take(chunk, read)?;
        hash.update(chunk);
        listing.consume(length);
        report(read);
    }
}

/// A file that is here: it must be what it is named after, and is not written again.
fn again<R: Read>(
    path: PathBuf,
    expected: Digest,
    listing: &mut Listing<R>,
    size: u64,
    report: impl FnMut(u64),
) -> Result<ArchiveFile> {
    let mut magic = Vec::new();
    let found = pour(
        listing,
        |chunk, _| {
            magic.extend(chunk.iter().take(MAGIC - magic.len().min(MAGIC)));
            Ok(())
        },
        report,
    )?;
    if found != expected {
        return Err(Error::Digest { what: format!("blob {}", expected.short()), found, expected });
    }
    Ok(ArchiveFile { digest: found, size, magic, path, kept: true })
}

impl Arrived for Archive {
    fn budget(&self) -> Arc<Budget> {
        self.ahead.budget()
    }

    fn has(&self, blob: &Digest) -> bool {
        self.with_digest(blob).is_some()
    }

    fn opened(&self, blob: &Digest) -> Option<oneshot::Receiver<Result<Opened>>> {
        self.opening().remove(blob)
    }
}

type Opening = Option<oneshot::Receiver<Result<Opened>>>;

/// Writes the entry's content to a file of ours, which is unpacked meanwhile where it looks like a layer.
fn store<R: Read>(
    content: &Content,
    ahead: Option<&Ahead>,
    listing: &mut Listing<R>,
    size: u64,
    report: impl FnMut(u64),
) -> Result<(ArchiveFile, Opening)> {
    let (path, file) = content.scratch()?;
    let mut writeback = Writeback::default();
    let (mut magic, mut opening, mut growing) = (Vec::new(), None, None);
    let poured = pour(
        listing,
        |chunk, read| {
            if magic.len() < HEAD {
                magic.extend(chunk.iter().take(HEAD - magic.len()));
                if let Some(ahead) = ahead.filter(|_| magic.len() == HEAD && Ahead::wants(&magic, size)) {
                    let (told, opened) = ahead.follow(&path, &magic)?;
                    (growing, opening) = (Some(told), Some(opened));
                }
            }
            writeback.write(&file, chunk).map_err(Error::io("write", &path))?;
            if let Some(growing) = &growing {
                growing.is(read);
            }
            Ok(())
        },
        report,
    );
    match poured {
        Ok(digest) => Ok((ArchiveFile { digest, size, magic, path, kept: false }, opening)),
        Err(error) => {
            discard(&path);
            Err(error)
        }
    }
}

/// Who is told of a file that is named after a digest, as layers are.
fn reporter(name: &str, size: u64, listener: &Listener) -> Option<Reporter> {
    let id = name
        .split('/')
        .find_map(|word| word.get(..12).filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit())))?;
    (size >= SHOWN).then(|| Reporter::new(id.to_owned(), size, listener.clone()))
}
