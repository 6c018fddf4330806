use std::io::{BufReader, Read};

use crate::Result;
use crate::archive::{Archive, Kind};

const BUFFER: usize = 256 << 10;

/// The entries of a tar stream, one after the other, for who wants their content and not a tree of files: nothing is
/// written anywhere. Headers, extended ones included, are read within the same limits as those of a layer.
pub struct Listing<R>(Archive<BufReader<R>>);

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// As it stands in the archive: bytes that nobody has checked.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: ListedKind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// Its bytes come from [`Listing::chunk`].
    File {
        /// How many.
        size: u64,
    },
    /// Another name for something.
    Link {
        /// Unchecked as well.
        target: Vec<u8>,
        /// Whether the target is told from the archive's root rather than from where the link is.
        hard: bool,
    },
    /// A directory.
    Directory,
    /// A device, a fifo or a file with holes.
    Other,
}

impl<R: Read> Listing<R> {
    /// Of an uncompressed tar.
    pub fn new(tar: R) -> Self {
        Self(Archive::new(BufReader::with_capacity(BUFFER, tar)))
    }

    /// The next entry; what was not read of the one before is passed over. `None` at the archive's end.
    #[expect(clippy::should_implement_trait, reason = "an entry's content is read between two entries")]
    pub fn next(&mut self) -> Result<Option<Listed>> {
        let Some(entry) = self.0.next()? else { return Ok(None) };
        let kind = match entry.kind {
            Kind::File { size, extents: None } => ListedKind::File { size },
            Kind::HardLink { target } => ListedKind::Link { target, hard: true },
            Kind::Symlink { target } => ListedKind::Link { target, hard: false },
            Kind::Directory => ListedKind::Directory,
            _ => ListedKind::Other,
        };
        Ok(Some(Listed { name: entry.name, kind }))
    }

    /// The next piece of the entry's content; empty at its end.
    pub fn chunk(&mut self) -> Result<&[u8]> {
        self.0.chunk()
    }

    /// Marks `length` bytes of the last chunk as used.
    pub fn consume(&mut self, length: usize) {
        self.0.consume(length);
    }

    /// Reads what follows the archive's end, so that who feeds the stream can send all of it.
    pub fn drain(&mut self) -> Result<()> {
        self.0.drain()
    }
}
