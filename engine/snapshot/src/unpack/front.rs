//! What an archive carries before its tree.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::PathBuf;

use super::{OVERHEAD, Unpacked};
use crate::archive::{Archive, Entry, Kind};
use crate::files::{Name, refused};
use crate::{Error, Result};

/// How an archive begins that carries more than a tree: entries under top names of their own, and one that ends them. What
/// comes after that is the tree, whatever its names: who wrote the front need not trust who wrote the tree.
#[derive(Clone, Copy, Debug)]
pub struct Front {
    /// Files of these names and below them are never written; each comes once.
    pub in_memory: &'static [&'static str],
    /// A directory that is unpacked apart from the tree.
    pub apart: &'static str,
    /// What ends the front.
    pub end: &'static str,
}

/// What [`crate::Snapshots::unpack_files`] found in front of the tree.
#[derive(Default)]
pub struct Found {
    /// Files that were not written, by name; at most [`IN_MEMORY`] bytes.
    pub files: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the directory apart stands, for as long as what was unpacked lives.
    pub apart: Option<PathBuf>,
}

/// The most bytes of files, and of their names, that [`crate::Snapshots::unpack_files`] keeps in memory.
pub const IN_MEMORY: u64 = 20 << 20;

/// A front that is being read.
pub(super) struct Reading {
    front: Front,
    ended: bool,
    found: Found,
    bytes: u64,
}

impl Reading {
    pub(super) fn begin(front: Front) -> Self {
        Self { front, ended: false, found: Found::default(), bytes: 0 }
    }

    /// Takes an entry unless it belongs among the unpacked files.
    pub(super) fn take<R: BufRead>(
        &mut self,
        archive: &mut Archive<R>,
        entry: &Entry,
        unpacked: &mut Unpacked,
    ) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let name = Name::parse(&entry.name)?;
        let is = |top: &str| name.components().next() == Some(top.as_bytes());
        if is(self.front.end) {
            self.ended = true;
            self.found.apart = unpacked.split_off(self.front.apart)?;
            return Ok(true);
        }
        if is(self.front.apart) {
            return Ok(false);
        }
        if !self.front.in_memory.iter().any(|top| is(top)) {
            return Err(refused(name.as_bytes(), "comes before the end of the reserved entries"));
        }
        self.keep(archive, entry, &name)?;
        Ok(true)
    }

    fn keep<R: BufRead>(&mut self, archive: &mut Archive<R>, entry: &Entry, name: &Name) -> Result<()> {
        let size = match entry.kind {
            Kind::Directory => return Ok(()),
            Kind::File { size, extents: None } => size,
            _ => return Err(refused(name.as_bytes(), "is no plain file")),
        };
        self.bytes = self.bytes.saturating_add(size).saturating_add(OVERHEAD + entry.name.len() as u64);
        if self.bytes > IN_MEMORY {
            return Err(Error::Limit { what: "bytes of files kept in memory", limit: IN_MEMORY });
        }
        let mut content = Vec::new();
        while (content.len() as u64) < size {
            let chunk = archive.chunk()?;
            let wanted = chunk.len().min(size as usize - content.len());
            content.extend_from_slice(&chunk[..wanted]);
            archive.consume(wanted);
            if wanted == 0 {
                return Err(refused(name.as_bytes(), "ends before its time"));
            }
        }
        match self.found.files.insert(name.as_bytes().to_vec(), content) {
            Some(_) => Err(refused(name.as_bytes(), "comes twice")),
            None => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Result<Found> {
        if self.ended { Ok(self.found) } else { Err(refused(self.front.end.as_bytes(), "is missing")) }
    }
}
