//! A layer beside what its archive says, and what is done about the difference.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, OFlags, Stat, readlinkat, renameat, statat};
use rustix::io::Errno;
use tare_model::Digest;
use tare_sys::path::open_without_links;

use crate::error::io;
use crate::files::{
    Found, Go, Metadata, Name, failed, is_opaque, is_whiteout, kind, open_file, open_in_tree, same_content,
    walk,
};
use crate::temporary::Guard;
use crate::{Error, Result, Snapshots, Unpacked, directory};

impl Snapshots {
    /// The paths of the layer `chain` that are missing, changed or too many, when `fresh` is what was unpacked from the
    /// archive that the layer was made of. With `repair` they are made as they should be.
    ///
    /// # Errors
    /// [`Error::NoLayer`]; an error of its own for a tree that is gone altogether.
    pub fn verify_layer(&self, chain: &Digest, mut fresh: Unpacked, repair: bool) -> Result<Vec<PathBuf>> {
        let stored = directory::open(&self.layer_tree(chain)?)?;
        let parent = self.parent(chain)?;
        let below = parent.map(|parent| self.view(&self.chain_trees(&parent)?)).transpose()?;
        fresh.settle(below)?;
        let whole = self.whole(&fresh, parent.as_ref())?;
        let finished = whole.as_ref().map_or(fresh.directory(), Guard::path);
        let fresh = directory::open(&finished.join("fs"))?;
        let damage = Damage { fresh, stored };
        let mut damaged = damage.found()?;
        damaged.sort();
        if repair {
            damaged.iter().try_for_each(|name| self.mend(&damage, name))?;
        }
        Ok(damaged.iter().map(path).collect())
    }

    /// Brings one name of the stored tree into the state that the fresh one has.
    fn mend(&self, damage: &Damage, name: &Name) -> Result<()> {
        let Damage { fresh, stored } = damage;
        let shown = name.as_path();
        let parent = |root: &OwnedFd| open_in_tree(root, &name.parent());
        let right = stat(fresh, name)?;
        let is_directory = |stat: &Option<Stat>| stat.is_some_and(|stat| kind(&stat) == FileType::Directory);
        if is_directory(&right) && is_directory(&stat(stored, name)?) {
            let right = open_in_tree(fresh, name)?;
            let described = Metadata::read(right.as_fd()).map_err(failed("look at", name))?;
            return described.apply(open_in_tree(stored, name)?.as_fd()).map_err(failed("describe", name));
        }
        let home = parent(stored)?;
        match rustix::fs::unlinkat(&home, name.last(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => self.temporary.bury(&home, name.last(), shown)?,
            Err(error) => return Err(failed("replace", name)(error)),
        }
        match right {
            // It may have come along with a directory above it.
            None => Ok(()),
            Some(_) => {
                renameat(parent(fresh)?, name.last(), &home, name.last()).map_err(failed("replace", name))
            }
        }
    }
}

fn path(name: &Name) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(name.as_bytes()))
}

fn stat(root: &OwnedFd, name: &Name) -> Result<Option<Stat>> {
    let parent = name.parent();
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let home = match open_without_links(root.as_fd(), parent.as_path(), flags) {
        Ok(home) => home,
        Err(error) if matches!(error.raw_os_error(), Some(code) if [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].iter().any(|e| e.raw_os_error() == code)) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(io("open", parent.as_path())(error)),
    };
    let last = if name.is_root() { b"." } else { name.last() };
    match statat(&home, last, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        stat => stat.map(Some).map_err(failed("look at", name)),
    }
}

struct Damage {
    fresh: OwnedFd,
    stored: OwnedFd,
}

impl Damage {
    /// The topmost names that differ: of a directory that is gone not what was in it.
    fn found(&self) -> Result<Vec<Name>> {
        let mut damaged = Vec::new();
        walk(&self.fresh, &mut |name, found| {
            let same = match stat(&self.stored, name)? {
                Some(stored) => self.same(name, found, &stored)?,
                None => false,
            };
            if !same {
                damaged.push(name.clone());
            }
            let directory = matches!(found, Found::Directory { .. });
            let entered = same || (directory && is_directory(&self.stored, name)?);
            Ok(if entered { Go::Into } else { Go::Past })
        })?;
        walk(&self.stored, &mut |name, _| match stat(&self.fresh, name)? {
            Some(fresh) if kind(&fresh) == FileType::Directory || !is_directory(&self.stored, name)? => {
                Ok(Go::Into)
            }
            Some(_) => Ok(Go::Past),
            None => {
                damaged.push(name.clone());
                Ok(Go::Past)
            }
        })?;
        Ok(damaged)
    }

    fn same(&self, name: &Name, fresh: &Found<'_>, stored: &Stat) -> Result<bool> {
        match fresh {
            Found::Whiteout => Ok(is_whiteout(stored)),
            Found::Directory { open, opaque, .. } => self.same_directory(name, open, *opaque, stored),
            Found::Other { stat, .. } => {
                let described = |stat: &Stat| {
                    let time = (stat.st_mtime, stat.st_mtime_nsec);
                    (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev, stat.st_size, time)
                };
                if described(stat) != described(stored) {
                    return Ok(false);
                }
                match kind(stat) {
                    FileType::Symlink => self.same_target(name),
                    FileType::RegularFile => self.same_file(name),
                    _ => Ok(true),
                }
            }
        }
    }

    /// Times of directories are not compared: those that an archive only implies have none of their own.
    fn same_directory(&self, name: &Name, fresh: &OwnedFd, opaque: bool, stored: &Stat) -> Result<bool> {
        if kind(stored) != FileType::Directory {
            return Ok(false);
        }
        let stored = open_in_tree(&self.stored, name)?;
        let read = |open: &OwnedFd| Metadata::read(open.as_fd()).map_err(failed("look at", name));
        let (fresh, other) = (read(fresh)?, read(&stored)?);
        let described = |of: &Metadata| (of.mode, of.uid, of.gid);
        let marked = is_opaque(&stored).map_err(failed("look at", name))?;
        Ok(described(&fresh) == described(&other)
            && fresh.xattrs == other.xattrs
            && (marked == opaque || marked))
    }

    fn same_target(&self, name: &Name) -> Result<bool> {
        let target = |root: &OwnedFd| {
            let parent = open_in_tree(root, &name.parent())?;
            readlinkat(&parent, name.last(), Vec::new()).map_err(failed("read", name))
        };
        Ok(target(&self.fresh)? == target(&self.stored)?)
    }

    fn same_file(&self, name: &Name) -> Result<bool> {
        let open = |root: &OwnedFd| -> Result<File> {
            let parent = open_in_tree(root, &name.parent())?;
            open_file(&parent, name.last()).map_err(failed("open", name))
        };
        let (fresh, stored) = (open(&self.fresh)?, open(&self.stored)?);
        let xattrs = |file: &File| {
            Metadata::read(file.as_fd()).map(|read| read.xattrs).map_err(failed("look at", name))
        };
        if xattrs(&fresh)? != xattrs(&stored)? {
            return Ok(false);
        }
        match same_content([&fresh, &stored], name) {
            // What the disk cannot read is damaged.
            Err(Error::Io { .. }) => Ok(false),
            same => same,
        }
    }
}

fn is_directory(root: &OwnedFd, name: &Name) -> Result<bool> {
    Ok(stat(root, name)?.is_some_and(|stat| kind(&stat) == FileType::Directory))
}
