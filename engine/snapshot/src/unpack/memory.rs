//! Files of an archive that are never written to a disk.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::OVERHEAD;
use crate::archive::{Archive, Entry, Kind};
use crate::files::{Name, refused};
use crate::{Error, Result};

/// Files by name that [`crate::Snapshots::unpack_files`] kept out of the tree.
pub type InMemory = BTreeMap<Vec<u8>, Vec<u8>>;

/// The most bytes of files, and of their names, that [`crate::Snapshots::unpack_files`] keeps in memory.
pub const IN_MEMORY: u64 = 4 << 20;

/// Files that are not written.
pub(super) struct Kept {
    below: Name,
    pub(super) files: InMemory,
    bytes: u64,
}

impl Kept {
    /// None yet; those below this directory are to be kept.
    pub(super) fn below(directory: &str) -> Result<Self> {
        Ok(Self { below: Name::parse(directory.as_bytes())?, files: InMemory::new(), bytes: 0 })
    }

    /// Takes an entry if it is one of those.
    pub(super) fn take<R: BufRead>(&mut self, archive: &mut Archive<R>, entry: &Entry) -> Result<bool> {
        let name = Name::parse(&entry.name)?;
        if name != self.below && !name.is_below(&self.below) {
            return Ok(false);
        }
        let size = match entry.kind {
            Kind::Directory => return Ok(true),
            Kind::File { size, extents: None } => size,
            _ => return Err(refused(name.as_bytes(), "is no plain file")),
        };
        self.bytes = self.bytes.saturating_add(size).saturating_add(OVERHEAD + entry.name.len() as u64);
        if self.bytes > IN_MEMORY {
            return Err(Error::Limit { what: "bytes of secrets", limit: IN_MEMORY });
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
        let rest = self.below.rest_of(&name);
        self.files.insert(rest.strip_prefix(b"/").unwrap_or(rest).to_vec(), content);
        Ok(true)
    }
}
