//! From a writable layer to the tar that says the same (OCI image-spec, *layer*).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat, fstat, major, minor, openat, readlinkat, seek};
use rustix::io::Errno;
use tar::EntryType;

use super::lower::Lower;
use crate::archive::Extent;
use crate::archive::write::{self, Head};
use crate::files::{
    Found, Go, Metadata, Name, Time, failed, holes, kind, open_file, refused, reopen_directory, walk,
};
use crate::{Driver, Error, LayeredRoot, Result, Snapshots};

const BUFFER: usize = 256 << 10;
/// A file is written as a sparse one when this many bytes of it are holes: the specification advises against sparse
/// files, as old readers lack them, and nobody misses what compresses to nothing.
const WORTH_HOLES: u64 = 16 << 20;
/// Holes below this size are written as zeros.
const SMALLEST_HOLE: u64 = 1 << 20;
/// The most extents that our own reader takes.
const MOST_EXTENTS: usize = 1 << 16;

/// How a layer is packed.
#[derive(Clone, Debug, Default)]
pub struct PackOptions {
    /// No time in the layer is later, in seconds since 1970 (`SOURCE_DATE_EPOCH`, reproducible-builds.org).
    pub latest: Option<i64>,
    /// Places inside where something is mounted: what is there only to be mounted upon is left out.
    pub mounted: Vec<PathBuf>,
}

/// What a pack came to.
#[derive(Debug, Default)]
pub struct Packed {
    /// Bytes of its files, each counted once however many names it has, holes included.
    pub bytes: u64,
    /// Bytes among them that take no place on the disk.
    pub(crate) holes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// What the tree has and the archive has not: mount points, and sockets, which no archive can hold.
    pub(crate) surplus: Vec<Name>,
    pub(crate) latest: Option<Time>,
    /// Since when changes count, of a whole tree.
    pub(crate) copied: Option<Time>,
}

impl Snapshots {
    /// Writes what the layer `key` holds as an uncompressed tar. The same content gives the same bytes. A container that
    /// runs meanwhile should be paused: a file that changes while it is read is packed with its first size.
    ///
    /// # Errors
    /// [`Error::Refused`] for a file whose name begins with `.wh.`, which would mean a deletion; [`Error::Read`] with what
    /// `to` said.
    pub fn pack(&self, key: &str, to: &mut dyn Write, options: &PackOptions) -> Result<Packed> {
        let delta = self.delta(key, &options.mounted)?;
        let latest = options.latest.map(|seconds| Time { seconds, nanoseconds: 0 });
        let copied = delta.copied.filter(|_| !self.driver().stacks());
        let packed = Packed { latest, copied, ..Packed::default() };
        let marked = true;
        let mut packer = Packer { to, marked, links: HashMap::new(), packed, buffer: vec![0; BUFFER] };
        delta.walk(&mut |lower, name, found| packer.take(lower, name, found))?;
        packer.packed.surplus.extend(delta.marks()?);
        write::end(packer.to).map_err(Error::Read)?;
        Ok(packer.packed)
    }
}

impl LayeredRoot {
    /// Writes the whole merged tree as an uncompressed tar. Sockets, which no archive can hold, are left out.
    ///
    /// # Errors
    /// [`Error::Read`] with what `to` said.
    pub fn export(&self, to: &mut dyn Write) -> Result<()> {
        self.export_below("", to)?;
        end_export(to)
    }

    /// The same with every name below the directory `folder`, which may be empty, and without the archive's end: more may
    /// follow.
    pub fn export_below(&self, folder: &str, to: &mut dyn Write) -> Result<()> {
        let Some(root) = self.as_fd() else { return Ok(()) };
        let below = Name::parse(folder.as_bytes())?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(root, ".", flags, Mode::empty()).map_err(failed("open", &Name::ROOT))?;
        let (lower, packed) = (Lower::new(&[], None, Driver::Overlay), Packed::default());
        let (marked, links, buffer) = (false, HashMap::new(), vec![0; BUFFER]);
        let mut packer = Packer { to, marked, links, packed, buffer };
        walk(&root, &mut |name, found| {
            let name = name.components().fold(below.clone(), |above, last| above.join(last));
            packer.take(&lower, &name, found)
        })
    }
}

/// Ends an archive of [`LayeredRoot::export_below`].
pub fn end_export(to: &mut dyn Write) -> Result<()> {
    write::end(to).map_err(Error::Read)
}

struct Packer<'a> {
    to: &'a mut dyn Write,
    /// Whether names that begin with `.wh.` mean something.
    marked: bool,
    /// The first name of everything that has several.
    links: HashMap<(u64, u64), Name>,
    packed: Packed,
    buffer: Vec<u8>,
}

impl Packer<'_> {
    fn take(&mut self, lower: &Lower, name: &Name, found: &Found<'_>) -> Result<Go> {
        if self.marked && !matches!(found, Found::Whiteout) && name.last().starts_with(b".wh.") {
            let rule = "begins with \".wh.\", which in a layer marks what is deleted; rename or remove it";
            return Err(refused(name.as_bytes(), rule));
        }
        match found {
            Found::Directory { open, stat, opaque } => {
                let shown = (*open, *stat, *opaque);
                return self.directory(lower, name, shown);
            }
            Found::Whiteout => self.mark(&name.parent(), &[b".wh.", name.last()].concat())?,
            Found::Other { stat, .. } if lower.is_bare_file(name, stat)? => {
                self.packed.surplus.push(name.clone());
            }
            Found::Other { parent, stat } => self.other(name, *parent, stat)?,
        }
        Ok(Go::Into)
    }

    fn directory(
        &mut self,
        lower: &Lower,
        name: &Name,
        (open, stat, opaque): (&OwnedFd, &Stat, bool),
    ) -> Result<Go> {
        let metadata = self.clamped(Metadata::read(open.as_fd()).map_err(failed("look at", name))?);
        if name.is_root() {
            if !is_as_below(lower, &metadata)? {
                self.head(&Head::new(b"./", EntryType::Directory, &metadata))?;
            }
            return Ok(Go::Into);
        }
        if lower.is_bare_directory(name, open, stat)? {
            self.packed.surplus.push(name.clone());
            return Ok(Go::Past);
        }
        self.head(&Head::new(&[name.as_bytes(), b"/"].concat(), EntryType::Directory, &metadata))?;
        if opaque {
            self.mark(name, b".wh..wh..opq")?;
        }
        Ok(Go::Into)
    }

    /// A mark has no content, owner and time of its own.
    fn mark(&mut self, directory: &Name, last: &[u8]) -> Result<()> {
        let name = directory.join(last);
        let metadata = Metadata::nothing();
        self.head(&Head::new(name.as_bytes(), EntryType::Regular, &metadata))
    }

    fn other(&mut self, name: &Name, parent: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
        let metadata = self.clamped(Metadata::of(stat));
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)).cloned() {
                let link = Head::new(name.as_bytes(), EntryType::Link, &metadata);
                return self.head(&Head { target: first.as_bytes(), ..link });
            }
            if kind(stat) != FileType::Socket {
                self.links.insert((stat.st_dev, stat.st_ino), name.clone());
            }
        }
        let plain = |kind| Head::new(name.as_bytes(), kind, &metadata);
        let device = (major(stat.st_rdev), minor(stat.st_rdev));
        match kind(stat) {
            FileType::RegularFile => self.file(name, parent),
            FileType::Symlink => match readlinkat(parent, name.last(), Vec::new()) {
                Err(Errno::NOENT | Errno::INVAL) => Ok(()),
                target => {
                    let target = target.map_err(failed("read", name))?.into_bytes();
                    self.head(&Head { target: &target, ..plain(EntryType::Symlink) })
                }
            },
            FileType::Fifo => self.head(&plain(EntryType::Fifo)),
            FileType::CharacterDevice => self.head(&Head { device, ..plain(EntryType::Char) }),
            FileType::BlockDevice => self.head(&Head { device, ..plain(EntryType::Block) }),
            _ => {
                self.packed.surplus.push(name.clone());
                Ok(())
            }
        }
    }

    fn file(&mut self, name: &Name, parent: BorrowedFd<'_>) -> Result<()> {
        let file = match open_file(parent, name.last()) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
            file => file.map_err(failed("open", name))?,
        };
        let stat = fstat(&file).map_err(failed("look at", name))?;
        if kind(&stat) != FileType::RegularFile {
            return Ok(());
        }
        let size = stat.st_size.unsigned_abs();
        let metadata = self.clamped(Metadata::read(file.as_fd()).map_err(failed("look at", name))?);
        let head = Head { size, ..Head::new(name.as_bytes(), EntryType::Regular, &metadata) };
        self.packed.bytes = self.packed.bytes.saturating_add(size);
        self.packed.holes = self.packed.holes.saturating_add(holes(&stat));
        match extents(&file, &stat).map_err(io_failed("read", name))? {
            Some(extents) => {
                self.packed.entries += 1;
                write::sparse_head(self.to, &head, &extents).map_err(Error::Read)?;
                extents.iter().try_for_each(|extent| self.content(name, &file, *extent))?;
                write::pad(self.to, extents.iter().map(|extent| extent.length).sum()).map_err(Error::Read)
            }
            None => {
                self.head(&head)?;
                self.content(name, &file, Extent { offset: 0, length: size })?;
                write::pad(self.to, size).map_err(Error::Read)
            }
        }
    }

    /// Writes a piece of a file. What was cut off meanwhile is written as zeros: the header has promised a size.
    fn content(&mut self, name: &Name, file: &File, Extent { mut offset, length }: Extent) -> Result<()> {
        let end = offset + length;
        while offset < end {
            let wanted = self.buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            let read = match file.read_at(&mut self.buffer[..wanted], offset) {
                Ok(0) => {
                    self.buffer[..wanted].fill(0);
                    wanted
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                read => read.map_err(io_failed("read", name))?,
            };
            self.to.write_all(&self.buffer[..read]).map_err(Error::Read)?;
            offset += read as u64;
        }
        Ok(())
    }

    fn head(&mut self, head: &Head<'_>) -> Result<()> {
        self.packed.entries += 1;
        write::head(self.to, head).map_err(Error::Read)
    }

    fn clamped(&self, metadata: Metadata) -> Metadata {
        match self.packed.latest {
            Some(latest) if latest < metadata.modified => Metadata { modified: latest, ..metadata },
            _ => metadata,
        }
    }
}

/// Whether the root is described by the layers below. Its time is not compared: every file made in it changes that.
fn is_as_below(lower: &Lower, root: &Metadata) -> Result<bool> {
    let Some(below) = lower.find(&Name::ROOT)? else { return Ok(false) };
    let read = reopen_directory(&below).and_then(|open| Metadata::read(open.as_fd()));
    let below = read.map_err(failed("look below", &Name::ROOT))?;
    let same = |other: &Metadata| (other.mode, other.uid, other.gid) == (root.mode, root.uid, root.gid);
    Ok(same(&below) && below.xattrs == root.xattrs)
}

fn io_failed(action: &'static str, name: &Name) -> impl FnOnce(io::Error) -> Error {
    crate::error::io(action, name.as_path().to_owned())
}

/// The pieces of a file that are no holes, where there are holes enough; the last one ends where the file ends.
fn extents(file: &File, stat: &Stat) -> io::Result<Option<Vec<Extent>>> {
    let size = stat.st_size.unsigned_abs();
    let stored = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    if size < stored.saturating_add(WORTH_HOLES) {
        return Ok(None);
    }
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            start => start?,
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(size);
        at = end;
        match extents.last_mut() {
            Some(last) if start - (last.offset + last.length) < SMALLEST_HOLE => {
                last.length = end - last.offset;
            }
            _ => extents.push(Extent { offset: start, length: end.saturating_sub(start) }),
        }
    }
    if extents.last().is_none_or(|last| last.offset + last.length < size) {
        extents.push(Extent { offset: size, length: 0 });
    }
    Ok((extents.len() <= MOST_EXTENTS).then_some(extents))
}
