//! A part of merged layers, as something that a container can have mounted without a copy being made.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use tare_model::{Digest, RootMount};

use crate::driver::overlay;
use crate::error::io;
use crate::files::{Name, follow, is_opaque, kind, read_link, there};
use crate::{Driver, Error, Result, Snapshots, directory, layer};

impl Snapshots {
    /// What is mounted so that a container sees what `path` leads to in the layers up to `chain`, links resolved inside them:
    /// an overlay of a directory's pieces, or a bind. `scratch` is an empty directory that lives as long as the mount; with
    /// `writable` it takes what is written. `None` where no mount can say it, and a copy is needed: a file to be written to,
    /// a name that is no text or has a letter that options of overlays give a meaning, layers of [`Driver::Copy`] to be written
    /// to, a directory of those of [`Driver::Fuse`].
    ///
    /// # Errors
    /// [`Error::Lookup`] where the path leads to neither file nor directory.
    pub fn part(
        &self,
        chain: &Digest,
        path: &Path,
        scratch: &Path,
        writable: bool,
    ) -> Result<Option<RootMount>> {
        let trees = self.chain_trees(chain)?;
        let merged = self.view(&trees)?;
        let name = resolved(&merged, path)?;
        let lookup = |why| Error::Lookup { path: path.to_owned(), why };
        let found = there(&merged, name.as_path()).map_err(io("look up", path))?;
        let found = found.ok_or_else(|| lookup("no such file or directory"))?;
        match kind(&fstat(&found).map_err(io("look at", path))?) {
            FileType::Directory if self.driver() == Driver::Overlay => {
                overlaid(&pieces(&trees, &name)?, scratch, writable)
            }
            // The program that would show the pieces as one ends with a container, and would have to be started for each.
            FileType::Directory if self.driver() == Driver::Fuse => Ok(None),
            FileType::Directory | FileType::RegularFile if writable => Ok(None),
            FileType::Directory => Ok(trees.first().and_then(|tree| bind(&tree.join(name.as_path())))),
            FileType::RegularFile => {
                let here = |tree: &&PathBuf| directory::open(tree).is_ok_and(|root| is_file(&root, &name));
                Ok(trees.iter().find(here).and_then(|tree| bind(&tree.join(name.as_path()))))
            }
            _ => Err(lookup("neither file nor directory")),
        }
    }
}

/// The name of the same place with no symlink in it.
fn resolved(merged: &OwnedFd, path: &Path) -> Result<Name> {
    use std::os::unix::ffi::OsStrExt;
    let name = Name::parse(path.as_os_str().as_bytes())?;
    follow(&name, |name| match there(merged, name.as_path()).map_err(io("look at", name.as_path()))? {
        Some(found) => read_link(&found).map_err(io("read", name.as_path())),
        None => Ok(None),
    })
}

/// The directories that make up the directory `name`, topmost first: down to the layer that hides those below it.
fn pieces(trees: &[PathBuf], name: &Name) -> Result<Vec<PathBuf>> {
    let mut pieces = Vec::new();
    for tree in trees {
        let mut current = directory::open(tree)?;
        let mut hides = is_opaque(&current).map_err(io("look at", tree))?;
        let mut here = true;
        for component in name.components() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&current, component, flags, Mode::empty()) {
                Ok(open) => current = open,
                Err(Errno::NOENT) => here = false,
                // A whiteout, or anything else that is no directory.
                Err(Errno::NOTDIR | Errno::LOOP) => (here, hides) = (false, true),
                Err(error) => return Err(io("open", tree.join(name.as_path()))(error)),
            }
            if !here {
                break;
            }
            hides |= is_opaque(&current).map_err(io("look at", tree))?;
        }
        if here {
            pieces.push(tree.join(name.as_path()));
        }
        if hides {
            break;
        }
    }
    Ok(pieces)
}

fn is_file(root: &OwnedFd, name: &Name) -> bool {
    let found = there(root, name.as_path()).ok().flatten();
    found.is_some_and(|found| fstat(found.as_fd()).is_ok_and(|stat| kind(&stat) == FileType::RegularFile))
}

/// `None` for a name that is no text: made one, it would be another name, which may be a symlink of the image to anywhere
/// (class of CVE-2024-1753).
fn bind(source: &Path) -> Option<RootMount> {
    let options = vec!["bind".to_owned(), "ro".to_owned()];
    Some(RootMount { kind: "bind".to_owned(), source: source.to_str()?.to_owned(), options })
}

fn overlaid(pieces: &[PathBuf], scratch: &Path, writable: bool) -> Result<Option<RootMount>> {
    let plain = |path: &PathBuf| path.to_str().is_some_and(|text| !text.contains([':', ',', '\\', '"']));
    let Some(top) = pieces.first().filter(|_| pieces.iter().all(plain)) else { return Ok(None) };
    let mut lower: Vec<String> = pieces.iter().map(|piece| piece.to_string_lossy().into_owned()).collect();
    let place = |name: &str, mode| {
        let path = scratch.join(name);
        directory::make(&path, mode)?;
        Ok::<_, Error>(path)
    };
    let mut options = Vec::new();
    if writable {
        let (upper, work) = (place("upper", 0o755)?, place("work", 0o700)?);
        layer::copy_root(top, &upper)?;
        options.extend([format!("upperdir={}", upper.display()), format!("workdir={}", work.display())]);
    } else {
        options.push("ro".to_owned());
        if lower.len() == 1 {
            // Overlayfs wants two layers where nothing is written.
            lower.push(place("empty", 0o755)?.to_string_lossy().into_owned());
        }
    }
    options.push(format!("lowerdir={}", lower.join(":")));
    options.extend(overlay::WHOLE.map(str::to_owned));
    Ok(Some(RootMount { kind: "overlay".to_owned(), source: "overlay".to_owned(), options }))
}
