//! An archive, taken apart: each file of it under a digest that we have counted ourselves, and its names only as names.
//! Nothing is written where a name of the archive says.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use tare_model::Digest;
use tare_snapshot::{ListedKind, Listing};
use tokio::sync::mpsc::Receiver;

use crate::arriving::Arriving;
use crate::config::Limits;
use crate::content::{Content, discard, from_hash};
use crate::inflate::Compression;
use crate::progress::{Listener, Reporter};
use crate::{Error, Result};

/// Entries of an archive: a layer makes three at most.
const ENTRIES: usize = 100_000;
/// The longest name.
const NAME: usize = 4096;
/// Bytes of an archive when it is unpacked.
const ARCHIVE_BYTES: u64 = 1 << 40;
/// Links that lead to links.
const HOPS: usize = 8;
const BUFFER: usize = 256 << 10;
/// 128 MiB: what zstd itself takes without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Files that are smaller are not worth a line.
const SHOWN: u64 = 64 << 10;

/// The files of an archive. They go with it, unless they were adopted.
pub(crate) struct Shelf {
    items: BTreeMap<String, Item>,
}

enum Item {
    File(Shelved),
    /// A name that stands for another one, complete.
    Link(String),
}

/// A file of the archive.
#[derive(Clone, Debug)]
pub(crate) struct Shelved {
    /// Of its bytes.
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// How it begins.
    pub(crate) magic: Vec<u8>,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

impl Drop for Shelf {
    fn drop(&mut self) {
        for item in self.items.values() {
            if let Item::File(file) = item {
                discard(&file.path);
            }
        }
    }
}

impl Shelf {
    /// Takes an archive apart. Blocking.
    pub(crate) fn fill(
        content: &Content,
        limits: &Limits,
        archive: Receiver<io::Result<Bytes>>,
        listener: &Listener,
    ) -> Result<Self> {
        let mut shelf = Self { items: BTreeMap::new() };
        let mut listing = Listing::new(decoded(archive, limits)?);
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
                ListedKind::File { size } => {
                    Item::File(shelve(content, &mut listing, size, reporter(&name, size, listener))?)
                }
            };
            shelf.put(name, item)?;
        }
        listing.drain().map_err(unreadable)?;
        Ok(shelf)
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
        if let Some(Item::File(old)) = self.items.insert(name, item) {
            discard(&old.path);
        }
        complaint.map_or(Ok(()), Err)
    }

    /// The file that a path of the archive means.
    pub(crate) fn find(&self, path: &str) -> Result<Option<&Shelved>> {
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
    pub(crate) fn with_digest(&self, digest: &Digest) -> Option<&Shelved> {
        self.items.values().find_map(|item| match item {
            Item::File(file) if file.digest == *digest => Some(file),
            _ => None,
        })
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

/// Writes the entry's content to a file of ours.
fn shelve<R: Read>(
    content: &Content,
    listing: &mut Listing<R>,
    size: u64,
    mut reporter: Option<Reporter>,
) -> Result<Shelved> {
    let (path, mut file) = content.scratch()?;
    let (mut hash, mut magic, mut read) = (Context::new(&SHA256), Vec::new(), 0);
    let mut copy = || -> Result<()> {
        loop {
            let chunk = listing.chunk().map_err(unreadable)?;
            if chunk.is_empty() {
                return Ok(());
            }
            magic.extend(chunk.iter().take(4 - magic.len()));
            hash.update(chunk);
            file.write_all(chunk).map_err(Error::io("write", &path))?;
            let length = chunk.len();
            read += length as u64;
            listing.consume(length);
            if let Some(reporter) = &mut reporter {
                reporter.loading(read, size);
            }
        }
    };
    if let Err(error) = copy() {
        discard(&path);
        return Err(error);
    }
    Ok(Shelved { digest: from_hash(&hash.finish()), size, magic, path })
}

/// Who is told of a file that is named after a digest, as layers are.
fn reporter(name: &str, size: u64, listener: &Listener) -> Option<Reporter> {
    let id = name
        .split('/')
        .find_map(|word| word.get(..12).filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit())))?;
    (size >= SHOWN).then(|| Reporter::new(id.to_owned(), size, listener.clone()))
}

/// A name without `./` and doubled slashes; `None` for the archive's root. One that leads out is refused.
fn name(bytes: &[u8]) -> Result<Option<String>> {
    let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= NAME && !text.contains('\0'));
    let text = text.ok_or_else(|| Error::Archive(format!("{:?} is no valid name", shown())))?;
    if text.starts_with('/') || text.split('/').any(|word| word == "..") {
        return Err(Error::Archive(format!("{:?} leads out of it", shown())));
    }
    let words: Vec<_> = text.split('/').filter(|word| !matches!(*word, "" | ".")).collect();
    Ok((!words.is_empty()).then(|| words.join("/")))
}

/// Where a link leads inside the archive.
fn linked(name_of_link: &str, target: &[u8], hard: bool) -> Result<String> {
    let refused = || Error::Archive(format!("the link {name_of_link:?} leads out of it"));
    let target = std::str::from_utf8(target).map_err(|_| refused())?;
    if target.starts_with('/') || target.len() > NAME {
        return Err(refused());
    }
    let mut words: Vec<&str> = if hard { Vec::new() } else { name_of_link.split('/').collect() };
    words.pop();
    for word in target.split('/') {
        match word {
            "" | "." => {}
            ".." => drop(words.pop().ok_or_else(refused)?),
            word => words.push(word),
        }
    }
    if words.is_empty() { Err(refused()) } else { Ok(words.join("/")) }
}

/// The archive's tar, whatever it is wrapped in.
pub(crate) fn decoded(archive: Receiver<io::Result<Bytes>>, limits: &Limits) -> Result<Bounded> {
    let arriving = Arriving::new(archive);
    let taken = arriving.taken();
    let mut input = BufReader::with_capacity(BUFFER, arriving);
    let broken = |e: io::Error| Error::Archive(e.to_string());
    let magic = input.fill_buf().map_err(broken)?;
    if magic.is_empty() {
        return Err(Error::Archive("it is empty".to_owned()));
    }
    let compression = match magic {
        [b'B', b'Z', b'h', ..] => {
            return Err(Error::Archive("bzip2 is not supported; use gzip or zstd".to_owned()));
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            return Err(Error::Archive("xz is not supported; use gzip or zstd".to_owned()));
        }
        magic => Compression::of(magic),
    };
    let decoder: Box<dyn Read + Send> = match compression {
        Compression::Plain => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(broken)?;
            Box::new(decoder)
        }
    };
    Ok(Bounded { decoder, taken, bytes: 0, ratio: limits.ratio, ratio_from: limits.ratio_from })
}

/// A decoder that is no bomb.
pub(crate) struct Bounded {
    decoder: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
    bytes: u64,
    ratio: u64,
    ratio_from: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        self.bytes += read as u64;
        let taken = self.taken.load(Ordering::Relaxed).max(1);
        let blown = self.bytes > self.ratio_from && self.bytes / taken > self.ratio;
        if blown || self.bytes > ARCHIVE_BYTES {
            let cause = format!("{taken} bytes unpack to {} and more, which is refused", self.bytes);
            return Err(io::Error::other(cause));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for (given, expected) in [
            ("manifest.json", Some("manifest.json")),
            ("./blobs//sha256/ab", Some("blobs/sha256/ab")),
            ("./", None),
            ("a/", Some("a")),
        ] {
            assert_eq!(name(given.as_bytes()).unwrap().as_deref(), expected, "{given}");
        }
        for bad in ["/etc/passwd", "../x", "a/../../x", "a/..", "a\0b"] {
            assert!(name(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(name(b"\xff").is_err() && name(&[b'a'; 5000]).is_err());
    }

    #[test]
    fn links_stay_inside() {
        for (link, target, hard, expected) in [
            ("ab/layer.tar", "../cd/layer.tar", false, "cd/layer.tar"),
            ("ab/layer.tar", "other.tar", false, "ab/other.tar"),
            ("ab/layer.tar", "cd/layer.tar", true, "cd/layer.tar"),
        ] {
            assert_eq!(linked(link, target.as_bytes(), hard).unwrap(), expected);
        }
        for (link, target, hard) in [
            ("a/b", "../../etc/passwd", false),
            ("a", "/etc/passwd", false),
            ("a", "../x", true),
            ("a", ".", true),
        ] {
            assert!(linked(link, target.as_bytes(), hard).is_err(), "{link} to {target}");
        }
    }
}
