//! A layer's own tree, laid upon the whole tree below it: what overlayfs shows without doing it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, mkdirat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::Result;
use crate::files::{Found, Go, Metadata, Name, failed, kind, open_in_tree, walk};
use crate::temporary::Temporary;

/// Moves everything of `layer` into `whole`, and takes away what the layer hides.
pub(crate) fn merge(layer: &OwnedFd, whole: &OwnedFd, temporary: &Arc<Temporary>) -> Result<()> {
    let mut directories = Vec::new();
    walk(layer, &mut |name, found| {
        match found {
            Found::Whiteout => clear(whole, name, temporary)?,
            Found::Directory { open, opaque, .. } => {
                let metadata = Metadata::read(open.as_fd()).map_err(failed("look at", name))?;
                directory(whole, name, *opaque, temporary)?;
                directories.push((name.clone(), metadata));
            }
            Found::Other { parent, .. } => {
                clear(whole, name, temporary)?;
                let home = open_in_tree(whole, &name.parent())?;
                renameat(parent, name.last(), &home, name.last()).map_err(failed("move", name))?;
            }
        }
        Ok(Go::Into)
    })?;
    directories.iter().rev().try_for_each(|(name, metadata)| {
        metadata.apply(open_in_tree(whole, name)?.as_fd()).map_err(failed("describe", name))
    })
}

fn directory(whole: &OwnedFd, name: &Name, opaque: bool, temporary: &Arc<Temporary>) -> Result<()> {
    if name.is_root() {
        return Ok(());
    }
    let home = open_in_tree(whole, &name.parent())?;
    let there = match statat(&home, name.last(), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => false,
        stat => kind(&stat.map_err(failed("look at", name))?) == FileType::Directory,
    };
    if there && !opaque {
        return Ok(());
    }
    clear(whole, name, temporary)?;
    mkdirat(&home, name.last(), Mode::RWXU).map_err(failed("make", name))
}

/// Takes away what has this name, whatever it is.
fn clear(whole: &OwnedFd, name: &Name, temporary: &Arc<Temporary>) -> Result<()> {
    let home = open_in_tree(whole, &name.parent())?;
    match unlinkat(&home, name.last(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => temporary.bury(&home, name.last(), name.as_path()),
        Err(error) => Err(failed("replace", name)(error)),
    }
}
