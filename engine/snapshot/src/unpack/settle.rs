//! What can be decided only with the layers below at hand, as if the archive had been unfolded upon them (OCI
//! image-spec, *layer*, "Applying Changesets"): implied directories that are symlinks there, or have an owner and mode
//! there, and hard links to what is there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, fstat, major, minor, openat, readlinkat, renameat,
    renameat_with, statat,
};
use rustix::io::Errno;
use tare_sys::path::open_without_links;

use super::tree::Tree;
use crate::files::{self, Metadata, Name, copy_file, is_opaque, is_whiteout, kind, refused};
use crate::{Result, Unpacked};

impl Unpacked {
    /// Finishes the tree upon the merged layers below it.
    pub(crate) fn settle(&mut self, below: Option<OwnedFd>) -> Result<()> {
        self.tree.below = below;
        let diverted = self.tree.divert()?;
        let links = std::mem::take(&mut self.links);
        links.iter().try_for_each(|(name, target)| self.link(name, target))?;
        if diverted || !links.is_empty() {
            self.tree.describe()?;
        }
        self.tree.describe_implied()
    }

    /// Makes a hard link whose target the archive did not have when it named it.
    fn link(&mut self, name: &Name, target: &Name) -> Result<()> {
        let mut place = name.clone();
        let parent = self.tree.parent(&mut place)?;
        match statat(&parent, place.last(), AtFlags::SYMLINK_NOFOLLOW) {
            // A later entry has taken the name.
            Ok(stat) if !is_whiteout(&stat) => return Ok(()),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(self.tree.failed("look at", name)(error)),
        }
        if self.tree.hard_link(name, target)? {
            return Ok(());
        }
        self.copy_up(target)?;
        if self.tree.hard_link(name, target)? {
            Ok(())
        } else {
            Err(refused(name.as_bytes(), "is a hard link to what is in no layer"))
        }
    }

    /// Copies something of a layer below into this one; nothing where there is nothing. A copy counts as this layer's.
    fn copy_up(&mut self, name: &Name) -> Result<()> {
        let name = self.tree.without_links(&name.parent())?.join(name.last());
        let Some(found) = self.tree.below(&name)? else { return Ok(()) };
        let failed = |tree: &Tree, error| tree.failed("copy from the layer below", &name)(error);
        let stat = fstat(&found).map_err(|error| failed(&self.tree, error))?;
        match kind(&stat) {
            FileType::Directory => {
                Err(refused(name.as_bytes(), "is a directory, and a hard link leads to it"))
            }
            FileType::RegularFile => {
                self.grow(stat.st_size.unsigned_abs())?;
                let source = reopen(&found).map_err(|error| failed(&self.tree, error))?;
                let copy = File::from(self.tree.file(&name)?);
                let copied = copy_file(&source, &copy, &stat);
                copied.map_err(|error| failed(&self.tree, Errno::from_io_error(&error).unwrap_or(Errno::IO)))
            }
            FileType::Symlink => {
                let target = readlinkat(&found, "", Vec::new()).map_err(|error| failed(&self.tree, error))?;
                self.tree.symlink(&name, target.as_bytes(), &Metadata::of(&stat))
            }
            _ if is_whiteout(&stat) => Ok(()),
            kind => {
                let device = (major(stat.st_rdev), minor(stat.st_rdev));
                self.tree.node(&name, kind, device, &Metadata::of(&stat))
            }
        }
    }
}

impl Tree {
    /// Moves what lies in an implied directory that is a symlink below to where that leads, which is what everybody
    /// expects who writes `lib/x` upon an image with `lib -> usr/lib`. Answers whether there was any.
    fn divert(&mut self) -> Result<bool> {
        let implied: Vec<Name> = self.implied().collect();
        let mut any = false;
        for name in implied {
            // It may have gone with one above it; and what hides the layers below hides the symlink too.
            if self.directories.get(&name) == Some(&None)
                && self.link_below(&name)?.is_some()
                && !self.is_opaque(&name)?
            {
                self.pour_out(&name)?;
                any = true;
            }
        }
        Ok(any)
    }

    fn implied(&self) -> impl Iterator<Item = Name> {
        self.directories.iter().filter(|(_, described)| described.is_none()).map(|(name, _)| name.clone())
    }

    fn is_opaque(&self, name: &Name) -> Result<bool> {
        let directory = open_plain(&self.root, name.as_path());
        directory.and_then(|directory| is_opaque(&directory)).map_err(self.failed("look at", name))
    }

    /// Takes a directory away and brings its entries once more, each by its old name, which now leads elsewhere.
    fn pour_out(&mut self, name: &Name) -> Result<()> {
        let aside = self.temporary.directory()?;
        let home = crate::directory::open(aside.path())?;
        let parent = self.parent(&mut name.clone())?;
        renameat(&parent, name.last(), &home, "0").map_err(self.failed("move", name))?;
        let mut known = self.forget(name);
        let mut left = vec![name.clone()];
        while let Some(directory) = left.pop() {
            let path = [b"0".as_slice(), name.rest_of(&directory)].concat();
            let from = open_plain(&home, Path::new(OsStr::from_bytes(&path)));
            let from = from.map_err(self.failed("move", &directory))?;
            if directory != *name {
                self.directory_again(&directory, &from, &mut known)?;
            }
            for child in files::names(&from).map_err(self.failed("list", &directory))? {
                let to = directory.join(&child);
                let stat = statat(&from, child.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
                match stat.map_err(self.failed("move", &to))? {
                    stat if kind(&stat) == FileType::Directory => left.push(to),
                    stat if is_whiteout(&stat) => self.whiteout(&to)?,
                    _ => self.make(&to, |parent, last| {
                        renameat_with(&from, child.as_slice(), parent, last, RenameFlags::NOREPLACE)
                    })?,
                }
            }
        }
        Ok(())
    }

    fn directory_again(
        &mut self,
        name: &Name,
        old: &OwnedFd,
        known: &mut BTreeMap<Name, Option<Metadata>>,
    ) -> Result<()> {
        let described = known.remove(name).flatten();
        let opaque = is_opaque(old).map_err(self.failed("look at", name))?;
        if described.is_none() && !opaque {
            return self.enter(&mut name.clone()).map(drop);
        }
        self.directory(name.clone(), described)?;
        if opaque { self.opaque(name.clone()) } else { Ok(()) }
    }

    /// A directory that an archive only implies is the same as in the layer below: without this, unpacking `a/b` would
    /// change the owner and mode of `a`.
    fn describe_implied(&self) -> Result<()> {
        for name in self.implied() {
            let Some(found) = self.below(&name)? else { continue };
            let failed = |error| self.failed("describe", &name)(error);
            // No directory there, or hidden: then this layer begins it.
            if kind(&fstat(&found).map_err(failed)?) != FileType::Directory || self.is_opaque(&name)? {
                continue;
            }
            let original = open_plain(&found, Path::new(".")).map_err(failed)?;
            let mine = open_plain(&self.root, name.as_path()).map_err(failed)?;
            let described = Metadata::read(original.as_fd()).and_then(|found| found.apply(mine.as_fd()));
            described.map_err(failed)?;
        }
        Ok(())
    }
}

fn open_plain(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let opened = open_without_links(root.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY);
    opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Opens a file for reading that is known to be one: opening a device or a pipe may do things or block.
fn reopen(found: &OwnedFd) -> rustix::io::Result<File> {
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map(File::from)
}
