//! The tree that an archive unfolds into. What is entered is entered one component at a time ([`super::way`]); what is
//! made is made by `O_EXCL` and the like. No name of an archive is ever resolved by the kernel as a path, so there is
//! nothing that a symlink could redirect.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, XattrFlags, fchmod, fsetxattr, linkat, makedev, mkdirat, mknodat,
    openat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use tare_sys::path::open_without_links;

use crate::error::io;
use crate::files::{Metadata, Name, OPAQUE, is_whiteout, kind, refused};
use crate::temporary::Temporary;
use crate::{Error, Limits, Result};

pub(crate) struct Tree {
    /// For messages only.
    path: Arc<Path>,
    pub(crate) root: Arc<OwnedFd>,
    /// The merged layers below, once they are known.
    pub(crate) below: Option<OwnedFd>,
    pub(crate) temporary: Arc<Temporary>,
    /// The directories on the way to the last entry, outermost first.
    pub(crate) trail: Vec<(Vec<u8>, Arc<OwnedFd>)>,
    /// The directory that was entered last, however deep.
    pub(crate) latest: Option<(Name, Arc<OwnedFd>)>,
    /// Every directory: `None` where the archive named only what lies in it. Owner, mode and times come last, as filling
    /// a directory changes its times.
    pub(crate) directories: BTreeMap<Name, Option<Metadata>>,
    pub(crate) limits: Limits,
    /// Of [`Limits::entries`] and [`Limits::memory`], what is used.
    used: (u64, u64),
}

/// What it costs to keep something in mind, its name aside.
pub(crate) const OVERHEAD: u64 = 128;

/// What a new entry finds in its place.
enum Place {
    Free,
    Directory,
    /// Something that the archive put there earlier, and that is gone now.
    Cleared,
}

impl Tree {
    pub(crate) fn new(path: &Path, root: OwnedFd, temporary: Arc<Temporary>, limits: Limits) -> Self {
        Self {
            path: path.into(),
            root: Arc::new(root),
            below: None,
            temporary,
            trail: Vec::new(),
            latest: None,
            directories: BTreeMap::from([(Name::ROOT, None)]),
            limits,
            used: (0, 0),
        }
    }

    /// Counts an entry, or a directory that one implies.
    pub(crate) fn count(&mut self) -> Result<()> {
        self.used.0 += 1;
        let limit = self.limits.entries;
        if self.used.0 > limit { Err(Error::Limit { what: "entries", limit }) } else { Ok(()) }
    }

    /// Counts bytes that are kept until all entries are there.
    pub(crate) fn keep(&mut self, bytes: usize) -> Result<()> {
        self.used.1 = self.used.1.saturating_add(OVERHEAD + bytes as u64);
        let limit = self.limits.memory;
        let exceeded = Error::Limit { what: "bytes of names and attributes", limit };
        if self.used.1 > limit { Err(exceeded) } else { Ok(()) }
    }

    pub(crate) fn directory(&mut self, mut name: Name, metadata: Option<Metadata>) -> Result<()> {
        if !name.is_root() {
            let parent = self.parent(&mut name)?;
            self.make_directory(&parent, &name)?;
        }
        let attributes = metadata.iter().flat_map(|metadata| &metadata.xattrs);
        let attributes: usize = attributes.map(|xattr| xattr.name.len() + xattr.value.len()).sum();
        self.keep(name.as_bytes().len() + attributes)?;
        self.directories.insert(name, metadata);
        Ok(())
    }

    /// An empty file to write to; its metadata is the caller's to apply when it is written.
    pub(crate) fn file(&mut self, name: &Name) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.make(name, |parent, last| openat(parent, last, flags, Mode::RUSR | Mode::WUSR))
    }

    pub(crate) fn symlink(&mut self, name: &Name, target: &[u8], metadata: &Metadata) -> Result<()> {
        if target.is_empty() || target.contains(&0) {
            return Err(refused(name.as_bytes(), "is a symlink to nothing"));
        }
        self.make(name, |parent, last| {
            symlinkat(target, parent, last)?;
            metadata.apply_at(parent.as_fd(), last, true)
        })
    }

    pub(crate) fn node(
        &mut self,
        name: &Name,
        kind: FileType,
        device: (u32, u32),
        metadata: &Metadata,
    ) -> Result<()> {
        self.make(name, |parent, last| {
            mknodat(parent, last, kind, Mode::RUSR | Mode::WUSR, makedev(device.0, device.1))?;
            metadata.apply_at(parent.as_fd(), last, false)
        })
    }

    /// Makes a second name for something of this layer; false where the layer does not have it (yet).
    pub(crate) fn hard_link(&mut self, name: &Name, target: &Name) -> Result<bool> {
        let target = self.without_links(&target.parent())?.join(target.last());
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let from = match open_without_links(self.root.as_fd(), target.parent().as_path(), flags) {
            Ok(from) => from,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(_) => return Err(refused(name.as_bytes(), "is a hard link to what cannot be there")),
        };
        match statat(&from, target.last(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => {
                return Err(refused(name.as_bytes(), "is a hard link to what the layer hides"));
            }
            Ok(stat) if kind(&stat) == FileType::Directory => {
                return Err(refused(name.as_bytes(), "is a hard link to a directory"));
            }
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(self.failed("look at", &target)(error)),
        }
        let mut name = name.clone();
        self.parent(&mut name)?;
        if name != target {
            self.make(&name, |parent, last| linkat(&from, target.last(), parent, last, AtFlags::empty()))?;
        }
        Ok(true)
    }

    /// Takes away what an earlier entry put under this name, for what comes there later than all entries.
    pub(crate) fn vacate(&mut self, name: &Name) -> Result<()> {
        let mut name = name.clone();
        let parent = self.parent(&mut name)?;
        match unlinkat(&parent, name.last(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => self.bury(&parent, &name),
            Err(error) => Err(self.failed("replace", &name)(error)),
        }
    }

    /// Hides what layers below have under this name. What this layer itself has there stays (OCI image-spec, *layer*:
    /// whiteouts apply to lower layers only).
    pub(crate) fn whiteout(&mut self, name: &Name) -> Result<()> {
        if name.is_root() {
            return Err(refused(name.as_bytes(), "is a whiteout of the root"));
        }
        let mut name = name.clone();
        let parent = self.parent(&mut name)?;
        match mknodat(&parent, name.last(), FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
            Err(Errno::EXIST) if self.kind(&parent, &name)? == FileType::Directory => self.opaque(name),
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(self.failed("hide", &name)(error)),
        }
    }

    /// Hides everything that layers below have in this directory.
    pub(crate) fn opaque(&mut self, mut name: Name) -> Result<()> {
        let directory = self.enter(&mut name)?;
        self.mark_opaque(&directory, &name)
    }

    /// Gives every directory its metadata.
    pub(crate) fn describe(&mut self) -> Result<()> {
        let directories = std::mem::take(&mut self.directories);
        for (name, metadata) in &directories {
            let directory = self.enter(&mut name.clone())?;
            let described = match metadata {
                Some(metadata) => metadata.apply(directory.as_fd()),
                None => fchmod(&directory, Mode::from_raw_mode(0o755)),
            };
            described.map_err(self.failed("describe", name))?;
        }
        self.directories = directories;
        (self.trail, self.latest) = (Vec::new(), None);
        Ok(())
    }

    pub(crate) fn failed<'a>(
        &self,
        action: &'static str,
        name: &'a Name,
    ) -> impl FnOnce(Errno) -> Error + use<'a> {
        let path = self.path.clone();
        move |error| {
            let text = String::from_utf8_lossy(name.as_bytes()).into_owned();
            io(action, path.join(text))(error)
        }
    }

    /// Makes something that is no directory, clearing away what an earlier entry put there.
    pub(crate) fn make<T>(
        &mut self,
        name: &Name,
        make: impl Fn(&OwnedFd, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T> {
        if name.is_root() {
            return Err(refused(name.as_bytes(), "would replace the root"));
        }
        let mut name = name.clone();
        let parent = self.parent(&mut name)?;
        match make(&parent, name.last()) {
            Err(Errno::EXIST) => {
                if let Place::Directory = self.clear(&parent, &name)? {
                    self.bury(&parent, &name)?;
                }
                make(&parent, name.last()).map_err(self.failed("make", &name))
            }
            other => other.map_err(self.failed("make", &name)),
        }
    }

    pub(crate) fn make_directory(&mut self, parent: &OwnedFd, name: &Name) -> Result<()> {
        match mkdirat(parent, name.last(), Mode::RWXU) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => match self.clear(parent, name)? {
                Place::Directory => Ok(()),
                Place::Free | Place::Cleared => {
                    mkdirat(parent, name.last(), Mode::RWXU).map_err(self.failed("make", name))?;
                    // What was there hid the layers below, as a directory by itself would not.
                    let directory = self.step(parent, name)?;
                    self.mark_opaque(&directory, name)
                }
            },
            Err(error) => Err(self.failed("make", name)(error)),
        }
    }

    /// Removes what is in the way, unless it is a directory.
    fn clear(&self, parent: &OwnedFd, name: &Name) -> Result<Place> {
        if self.kind(parent, name)? == FileType::Directory {
            return Ok(Place::Directory);
        }
        match unlinkat(parent, name.last(), AtFlags::empty()) {
            Ok(()) => Ok(Place::Cleared),
            Err(Errno::NOENT) => Ok(Place::Free),
            Err(error) => Err(self.failed("replace", name)(error)),
        }
    }

    fn bury(&mut self, parent: &OwnedFd, name: &Name) -> Result<()> {
        self.forget(name);
        self.temporary.bury(parent, name.last(), &self.path)
    }

    /// What is known of a directory that goes, and of those below it.
    pub(crate) fn forget(&mut self, name: &Name) -> BTreeMap<Name, Option<Metadata>> {
        self.trail.truncate(name.components().count() - 1);
        self.latest = None;
        let (from, to) = name.range_below();
        let below: Vec<Name> = self.directories.range(from..to).map(|(name, _)| name.clone()).collect();
        below
            .into_iter()
            .chain([name.clone()])
            .filter_map(|name| self.directories.remove_entry(&name))
            .collect()
    }

    fn kind(&self, parent: &OwnedFd, name: &Name) -> Result<FileType> {
        let stat = statat(parent, name.last(), AtFlags::SYMLINK_NOFOLLOW);
        stat.map(|stat| kind(&stat)).map_err(self.failed("look at", name))
    }

    pub(crate) fn mark_opaque(&self, directory: &OwnedFd, name: &Name) -> Result<()> {
        let marked = fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty());
        marked.map_err(self.failed("mark as opaque", name))
    }
}
