//! From an archive to a tree: entries are made one after the other, and what only the layers below can tell is settled upon
//! them.

mod content;
mod front;
mod settle;
mod tree;
mod way;

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::archive::{Archive, Entry, Kind};
use crate::files::{Meaning, Name, refused};
use crate::temporary::Guard;
use crate::{Error, Result, Snapshots, directory};

use content::write_file;
use front::Reading;
pub use front::{Found, Front, IN_MEMORY};
use tree::{OVERHEAD, Tree};

/// What one layer may come to. How far it may inflate is checked by who inflates.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all files together, holes included.
    pub bytes: u64,
    /// Entries of the archive, and directories that it names only as the way to one.
    pub entries: u64,
    /// Bytes of memory for names and attributes that are needed once more when all entries are there.
    pub memory: u64,
}

impl Default for Limits {
    /// A quarter of a terabyte in ten million files, some hundred thousand directories among them: more than any real image,
    /// less than what ends a machine.
    fn default() -> Self {
        Self { bytes: 256 << 30, entries: 10_000_000, memory: 128 << 20 }
    }
}

/// A tree in a temporary place. Dropped without [`Snapshots::commit`], it is removed.
pub struct Unpacked {
    pub(crate) tree: Tree,
    /// Hard links, by name and target, whose target must be in a layer below.
    pub(crate) links: Vec<(Name, Name)>,
    guard: Guard,
    /// Whether `.wh.` at the beginning of a name hides something, as it does in layers.
    marks: bool,
    /// Bytes of its files, holes included.
    pub bytes: u64,
    /// Bytes among them that take no place on the disk.
    pub(crate) holes: u64,
    /// Entries that the archive had.
    pub entries: u64,
}

impl Unpacked {
    pub(crate) fn directory(&self) -> &Path {
        self.guard.path()
    }

    /// The tree's root, for `tare_sys::path`.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.tree.root.as_fd()
    }

    /// Takes the directory `name` out of the top of the tree and answers where it stands now, for as long as this value lives;
    /// `None` where there is none. Anything else of that name is refused: the path would lead where a link says.
    fn split_off(&mut self, name: &str) -> Result<Option<PathBuf>> {
        self.tree.describe()?;
        let place = self.directory().join("split");
        let found = rustix::fs::statat(&*self.tree.root, name, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) != FileType::Directory) {
            return Err(refused(name.as_bytes(), "must be a directory"));
        }
        match rustix::fs::renameat(&*self.tree.root, name, rustix::fs::CWD, &place) {
            Ok(()) => {
                self.tree.forget(&Name::parse(name.as_bytes())?);
                Ok(Some(place))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(crate::error::io("take", place)(error)),
        }
    }

    /// Where the tree stands as long as this value lives, for mounts.
    pub fn path(&self) -> PathBuf {
        self.directory().join("fs")
    }
}

impl Snapshots {
    /// Unfolds an uncompressed tar stream (OCI image-spec, *layer*) and reads it to its end, trailing bytes included. A
    /// file is written in pieces as large as the reader's buffer: a quarter of a megabyte is a good size.
    /// Any number of layers may be unpacked side by side, in any order.
    pub fn unpack(&self, tar: impl BufRead, limits: &Limits) -> Result<Unpacked> {
        self.unfold(tar, limits, true, None)
    }

    /// Unfolds a tar stream that is no layer, the context of a build: names that would hide something are names like any
    /// other, a hard link leads to what came before it, and devices are refused. Only where the caller says so has it a
    /// `front`, and must have it then; no name is a special one otherwise.
    pub fn unpack_files(
        &self,
        tar: impl BufRead,
        limits: &Limits,
        front: Option<Front>,
    ) -> Result<(Unpacked, Found)> {
        let mut reading = front.map(Reading::begin);
        let unpacked = self.unfold(tar, limits, false, reading.as_mut())?;
        match unpacked.links.first() {
            Some((name, _)) => Err(refused(name.as_bytes(), "is a hard link to what the archive has not")),
            None => Ok((unpacked, reading.map(Reading::finish).transpose()?.unwrap_or_default())),
        }
    }

    /// Layers have `marks` in their names; other archives have not.
    fn unfold(
        &self,
        tar: impl BufRead,
        limits: &Limits,
        marks: bool,
        mut front: Option<&mut Reading>,
    ) -> Result<Unpacked> {
        let guard = self.temporary.directory()?;
        let path = guard.spacious("fs")?;
        let tree = Tree::new(&path, directory::open(&path)?, guard.temporary().clone(), limits.clone());
        let mut unpacked = Unpacked { tree, links: Vec::new(), guard, marks, bytes: 0, holes: 0, entries: 0 };
        let mut archive = Archive::new(tar);
        while let Some(entry) = archive.next()? {
            unpacked.count(&entry)?;
            if let Some(front) = front.as_deref_mut()
                && front.take(&mut archive, &entry, &mut unpacked)?
            {
                continue;
            }
            unpacked.place(&mut archive, entry)?;
        }
        archive.drain()?;
        unpacked.tree.describe()?;
        Ok(unpacked)
    }
}

impl Unpacked {
    fn count(&mut self, entry: &Entry) -> Result<()> {
        self.entries += 1;
        self.tree.count()?;
        if let Kind::File { size, .. } = entry.kind { self.grow(size) } else { Ok(()) }
    }

    /// Counts bytes of a file.
    pub(crate) fn grow(&mut self, size: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(size);
        let limit = self.tree.limits.bytes;
        if self.bytes > limit { Err(Error::Limit { what: "bytes", limit }) } else { Ok(()) }
    }

    fn place<R: BufRead>(&mut self, archive: &mut Archive<R>, entry: Entry) -> Result<()> {
        let Entry { name, kind, metadata } = entry;
        let tree = &mut self.tree;
        let name = Name::parse(&name)?;
        let meaning = if self.marks { name.meaning()? } else { Meaning::Plain(name) };
        let name = match meaning {
            Meaning::Plain(name) => name,
            Meaning::Whiteout(hidden) => return tree.whiteout(&hidden),
            Meaning::Opaque(directory) => return tree.opaque(directory),
            Meaning::Ignored => return Ok(()),
        };
        match kind {
            Kind::Directory => tree.directory(name, Some(metadata)),
            Kind::File { size, extents } => {
                self.holes += write_file(tree, archive, (&name, &metadata), (size, extents))?;
                Ok(())
            }
            Kind::HardLink { target } => self.hard_link(name, &target),
            Kind::Symlink { target } => tree.symlink(&name, &target, &metadata),
            Kind::Fifo => tree.node(&name, FileType::Fifo, (0, 0), &metadata),
            Kind::Character { major, minor } if self.marks && is_harmless(major, minor) => {
                tree.node(&name, FileType::CharacterDevice, (major, minor), &metadata)
            }
            Kind::Character { major: 0, minor: 0 } => {
                Err(refused(name.as_bytes(), "is a whiteout in disguise"))
            }
            Kind::Character { .. } | Kind::Block { .. } => {
                Err(refused(name.as_bytes(), "is a device of the machine, which no image has a right to"))
            }
        }
    }

    fn hard_link(&mut self, name: Name, target: &[u8]) -> Result<()> {
        let target = Name::parse(target)?;
        if name.is_root() || target.is_root() {
            return Err(refused(name.as_bytes(), "is a hard link to or from the root"));
        }
        if !self.tree.hard_link(&name, &target)? {
            self.tree.vacate(&name)?;
            self.tree.keep(name.as_bytes().len() + target.as_bytes().len())?;
            self.links.push((name, target));
        }
        Ok(())
    }
}

/// The devices that systems installed into a directory have in their /dev and that containers are given anyway
/// (Linux allocated devices): null, zero, full, random, urandom, the consoles, tty, console, ptmx, pseudo terminals,
/// FUSE and TUN. A container's own device rules stand above any node.
fn is_harmless(major: u32, minor: u32) -> bool {
    matches!(
        (major, minor),
        (1, 3 | 5 | 7 | 8 | 9) | (4, 0..=63) | (5, 0..=2) | (136..=143, _) | (10, 200 | 229)
    )
}

#[cfg(test)]
mod tests {
    use super::is_harmless;

    #[test]
    fn only_devices_that_every_container_has_are_harmless() {
        for (major, minor) in [(1, 3), (5, 1), (136, 9)] {
            assert!(is_harmless(major, minor));
        }
        for (major, minor) in [(0, 0), (1, 1), (1, 2), (1, 4), (8, 0), (10, 237), (4, 64)] {
            assert!(!is_harmless(major, minor));
        }
    }
}
