//! What is asked of fuse-overlayfs. It keeps its layers as overlayfs does, and beside the mark of an opaque directory two
//! files of its own.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::mount::MountAttrFlags;
pub(crate) use tare_sys::fuse::{PROGRAM, program};

use crate::driver::overlay;
use crate::temporary::Temporary;
use crate::{Error, directory};

/// What it makes in an opaque directory, whose extended attribute says the same.
const MARKS: [&[u8]; 2] = [b".wh..wh..opq", b".wh..opq"];

/// Whether a name in a writable layer is one of its marks.
pub(crate) fn is_mark(last: &[u8]) -> bool {
    MARKS.contains(&last)
}

/// Makes one overlay of what we need, which is gone again when this returns.
pub(crate) fn check(root: &Path, temporary: &Arc<Temporary>) -> crate::Result<()> {
    let guard = temporary.directory()?;
    let at = |name: &str| guard.path().join(name);
    for name in ["lower", "upper", "work"] {
        directory::make(&at(name), 0o700)?;
    }
    let works = overlay::try_marks(&at("lower")).map_err(io::Error::from).and_then(|()| {
        let tree = workspace(&[at("lower")], &at("upper"), &at("work"))?;
        rustix::fs::mkdirat(&tree, "made", rustix::fs::Mode::RWXU)?;
        Ok(())
    });
    works.map_err(|why| Error::Fuse { root: root.to_owned(), why })
}

/// A read-only tree of `layers`, topmost first, that is mounted nowhere and gone with the descriptor.
pub(crate) fn view(layers: &[PathBuf]) -> io::Result<OwnedFd> {
    if let [single] = layers {
        return overlay::directory_fd(single).map_err(io::Error::from);
    }
    served(&lower(layers), MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// A tree of `layers`, topmost first, that is written to in `upper`, like [`view`]'s.
pub(crate) fn workspace(layers: &[PathBuf], upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    let options = format!("{},upperdir={},workdir={}", lower(layers), upper.display(), work.display());
    served(&options, MountAttrFlags::empty())
}

/// Paths below a data root, which has no letter that an option could be cut at.
fn lower(layers: &[PathBuf]) -> String {
    let layers: Vec<_> = layers.iter().map(|layer| layer.display().to_string()).collect();
    format!("lowerdir={}", layers.join(":"))
}

/// Devices, set-id programs and programs at all have no effect for who works through the descriptor.
fn served(options: &str, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let attributes = attributes
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let (tree, mut child) = tare_sys::fuse::overlay(&program()?, options, attributes)?;
    // It ends with the descriptor; somebody has to wait for it.
    std::thread::Builder::new().name(PROGRAM.to_owned()).spawn(move || drop(child.wait()))?;
    Ok(tree)
}
