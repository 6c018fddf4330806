//! The tree that an archive unfolds into. Every step is one component below an open directory: `openat2(2)` without
//! symlinks for what is entered, `O_EXCL` and the like for what is made. No name is ever resolved by the kernel as a
//! path, so there is nothing that a symlink could redirect.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, XattrFlags, fchmod, fsetxattr, linkat, makedev, mkdirat,
    mknodat, openat, openat2, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::error::io;
use crate::metadata::Metadata;
use crate::name::{Name, refused};
use crate::temporary::Temporary;
use crate::{Error, Result, overlay};

/// How many directories on the way to the last entry stay open; deeper ones are entered anew each time.
const OPEN: usize = 64;

pub(crate) struct Tree {
    /// For messages only.
    path: PathBuf,
    root: Rc<OwnedFd>,
    temporary: Arc<Temporary>,
    /// The directories on the way to the last entry, outermost first.
    trail: Vec<(Vec<u8>, Rc<OwnedFd>)>,
    /// The directory that was entered last, however deep.
    latest: Option<(Name, Rc<OwnedFd>)>,
    /// Every directory: `None` where the archive named only what lies in it. Owner, mode and times come last, as filling
    /// a directory changes its times.
    directories: BTreeMap<Name, Option<Metadata>>,
}

/// What a new entry finds in its place.
enum Place {
    Free,
    Directory,
    /// Something that the archive put there earlier, and that is gone now.
    Cleared,
}

impl Tree {
    pub(crate) fn new(path: &Path, root: OwnedFd, temporary: Arc<Temporary>) -> Self {
        let directories = BTreeMap::from([(Name::ROOT, None)]);
        Self {
            path: path.to_owned(),
            root: Rc::new(root),
            temporary,
            trail: Vec::new(),
            latest: None,
            directories,
        }
    }

    pub(crate) fn directory(&mut self, name: Name, metadata: Metadata) -> Result<()> {
        if !name.is_root() {
            let (parent, last) = self.parent(&name)?;
            self.make_directory(&parent, &name, last)?;
        }
        self.directories.insert(name, Some(metadata));
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

    /// The target must have been unpacked before, from this same archive.
    pub(crate) fn hard_link(&mut self, name: &Name, target: &Name) -> Result<()> {
        if name == target {
            return Ok(());
        }
        let (from, old) = self.parent(target)?;
        let missing = || refused(name.as_bytes(), "is a hard link to what the layer does not have");
        match statat(&from, old, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => return Err(missing()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(refused(name.as_bytes(), "is a hard link to a directory"));
            }
            Ok(_) => {}
            Err(Errno::NOENT) => return Err(missing()),
            Err(error) => return Err(self.failed("look at", target)(error)),
        }
        self.make(name, |parent, last| linkat(&from, old, parent, last, AtFlags::empty()))
    }

    /// Hides what layers below have under this name. What this layer itself has there stays (OCI image-spec, *layer*:
    /// whiteouts apply to lower layers only).
    pub(crate) fn whiteout(&mut self, name: &Name) -> Result<()> {
        if name.is_root() {
            return Err(refused(name.as_bytes(), "is a whiteout of the root"));
        }
        let (parent, last) = self.parent(name)?;
        match mknodat(&parent, last, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
            Err(Errno::EXIST) if self.kind(&parent, name, last)? == FileType::Directory => self.opaque(name),
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(self.failed("hide", name)(error)),
        }
    }

    /// Hides everything that layers below have in this directory.
    pub(crate) fn opaque(&mut self, name: &Name) -> Result<()> {
        let directory = self.enter(name)?;
        self.mark_opaque(&directory, name)
    }

    /// Gives every directory its metadata and returns those that the archive did not describe.
    pub(crate) fn finish(mut self) -> Result<Vec<Name>> {
        let mut implied = Vec::new();
        for (name, metadata) in std::mem::take(&mut self.directories) {
            let directory = self.enter(&name)?;
            let described = match &metadata {
                Some(metadata) => metadata.apply(directory.as_fd()),
                None => fchmod(&directory, Mode::from_raw_mode(0o755)),
            };
            described.map_err(self.failed("describe", &name))?;
            if metadata.is_none() {
                implied.push(name);
            }
        }
        Ok(implied)
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
    fn make<T>(&mut self, name: &Name, make: impl Fn(&OwnedFd, &[u8]) -> rustix::io::Result<T>) -> Result<T> {
        if name.is_root() {
            return Err(refused(name.as_bytes(), "would replace the root"));
        }
        let (parent, last) = self.parent(name)?;
        match make(&parent, last) {
            Err(Errno::EXIST) => {
                if let Place::Directory = self.clear(&parent, name, last)? {
                    self.bury(&parent, name, last)?;
                }
                make(&parent, last).map_err(self.failed("make", name))
            }
            other => other.map_err(self.failed("make", name)),
        }
    }

    fn make_directory(&mut self, parent: &OwnedFd, name: &Name, last: &[u8]) -> Result<()> {
        match mkdirat(parent, last, Mode::RWXU) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => match self.clear(parent, name, last)? {
                Place::Directory => Ok(()),
                Place::Free | Place::Cleared => {
                    mkdirat(parent, last, Mode::RWXU).map_err(self.failed("make", name))?;
                    // What was there hid the layers below, as a directory by itself would not.
                    let directory = self.step(parent, name, last)?;
                    self.mark_opaque(&directory, name)
                }
            },
            Err(error) => Err(self.failed("make", name)(error)),
        }
    }

    /// Removes what is in the way, unless it is a directory.
    fn clear(&self, parent: &OwnedFd, name: &Name, last: &[u8]) -> Result<Place> {
        if self.kind(parent, name, last)? == FileType::Directory {
            return Ok(Place::Directory);
        }
        match unlinkat(parent, last, AtFlags::empty()) {
            Ok(()) => Ok(Place::Cleared),
            Err(Errno::NOENT) => Ok(Place::Free),
            Err(error) => Err(self.failed("replace", name)(error)),
        }
    }

    fn bury(&mut self, parent: &OwnedFd, name: &Name, last: &[u8]) -> Result<()> {
        let depth = name.components().count();
        self.trail.truncate(depth - 1);
        self.latest = None;
        let (from, to) = name.range_below();
        let below: Vec<Name> =
            self.directories.range(from..to).map(|(directory, _)| directory.clone()).collect();
        below.iter().chain([name]).for_each(|gone| drop(self.directories.remove(gone)));
        self.temporary.bury(parent, last, &self.path)
    }

    fn kind(&self, parent: &OwnedFd, name: &Name, last: &[u8]) -> Result<FileType> {
        let stat = statat(parent, last, AtFlags::SYMLINK_NOFOLLOW).map_err(self.failed("look at", name))?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }

    fn mark_opaque(&self, directory: &OwnedFd, name: &Name) -> Result<()> {
        let marked = fsetxattr(directory, overlay::OPAQUE, b"y", XattrFlags::empty());
        marked.map_err(self.failed("mark as opaque", name))
    }

    fn parent<'n>(&mut self, name: &'n Name) -> Result<(Rc<OwnedFd>, &'n [u8])> {
        Ok((self.enter(&name.parent())?, name.last()))
    }

    /// Opens a directory, making it and those above it where they are missing.
    fn enter(&mut self, name: &Name) -> Result<Rc<OwnedFd>> {
        let (known, mut current) = self.nearest(name);
        for (depth, component) in name.components().enumerate().skip(known) {
            let opened = match open_directory(&current, component) {
                Ok(directory) => directory,
                Err(error) => self.make_way(&current, &name.upto(depth + 1), component, error)?,
            };
            current = Rc::new(opened);
            if depth < OPEN {
                self.trail.push((component.to_owned(), current.clone()));
            }
        }
        self.latest = Some((name.clone(), current.clone()));
        Ok(current)
    }

    /// The open directory that is furthest on the way to `name`, and how far that is. What leads elsewhere is closed.
    fn nearest(&mut self, name: &Name) -> (usize, Rc<OwnedFd>) {
        let known =
            name.components().zip(&self.trail).take_while(|(component, (open, _))| component == open).count();
        self.trail.truncate(known);
        match &self.latest {
            Some((latest, directory)) if known == OPEN && (name == latest || name.is_below(latest)) => {
                (latest.components().count(), directory.clone())
            }
            _ => (known, self.trail.last().map_or_else(|| self.root.clone(), |(_, open)| open.clone())),
        }
    }

    fn make_way(&mut self, parent: &OwnedFd, name: &Name, last: &[u8], error: Errno) -> Result<OwnedFd> {
        if error != Errno::NOENT {
            self.must_be_whiteout(parent, name, last, error)?;
        }
        self.make_directory(parent, name, last)?;
        self.directories.entry(name.clone()).or_insert(None);
        self.step(parent, name, last)
    }

    fn step(&self, parent: &OwnedFd, name: &Name, last: &[u8]) -> Result<OwnedFd> {
        open_directory(parent, last).map_err(self.failed("open", name))
    }

    /// Only a whiteout makes way for a directory that an entry below it implies.
    fn must_be_whiteout(&self, parent: &OwnedFd, name: &Name, last: &[u8], error: Errno) -> Result<()> {
        match (error, statat(parent, last, AtFlags::SYMLINK_NOFOLLOW)) {
            (Errno::NOTDIR | Errno::LOOP, Ok(stat)) if is_whiteout(&stat) => Ok(()),
            (Errno::LOOP, _) => {
                Err(refused(name.as_bytes(), "is a symlink, and another entry leads through it"))
            }
            (Errno::NOTDIR, Ok(stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                Err(refused(name.as_bytes(), "is a symlink, and another entry leads through it"))
            }
            (Errno::NOTDIR, _) => {
                Err(refused(name.as_bytes(), "is no directory, and another entry lies below it"))
            }
            (error, _) => Err(self.failed("open", name)(error)),
        }
    }
}

fn open_directory(parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    openat2(parent, name, flags, Mode::empty(), resolve)
}

fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(0, 0)
}
