//! What the kernel shows to everybody and a container must not read or write.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use tare_sys::mount::{self, Change};

use super::{RootDir, copy, put};
use crate::create::sources::{is_device, is_directory};
use crate::failure::{Failure, Step};
use crate::plan::{Device, DeviceKind};

/// Covers files with the null device and directories with an empty, read-only tmpfs. What is not there needs no cover.
pub(crate) fn mask(root: &RootDir, paths: &[PathBuf]) -> Result<(), Failure> {
    let mut covers = Covers::default();
    for path in paths {
        let step = || format!("mask {}", path.display());
        let Some(place) = existing(root, path).step(step)? else { continue };
        let cover = if is_directory(&place).step(step)? { covers.directory() } else { covers.file(root) };
        cover.and_then(|cover| put(&cover, place.as_fd())).step(step)?;
    }
    Ok(())
}

/// Mounts what is there read-only over itself.
pub(crate) fn make_readonly(root: &RootDir, paths: &[PathBuf]) -> Result<(), Failure> {
    for path in paths {
        let step = || format!("make {} read-only", path.display());
        let Some(place) = existing(root, path).step(step)? else { continue };
        let tree = copy(place.as_fd(), true).step(step)?;
        let change = Change { set: mount::READ_ONLY, ..Change::default() };
        mount::set(tree.as_fd(), true, change).step(step)?;
        put(&tree, place.as_fd()).step(step)?;
    }
    Ok(())
}

fn existing(root: &RootDir, path: &Path) -> io::Result<Option<OwnedFd>> {
    match root.open(path, OFlags::PATH) {
        Ok(place) => Ok(Some(place)),
        Err(e)
            if [Errno::NOENT, Errno::NOTDIR]
                .iter()
                .any(|none| e.raw_os_error() == Some(none.raw_os_error())) =>
        {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Made once, copied for every further use.
#[derive(Default)]
struct Covers {
    null: Option<OwnedFd>,
    /// The first one, once it is attached.
    empty: Option<OwnedFd>,
}

impl Covers {
    fn file(&mut self, root: &RootDir) -> io::Result<OwnedFd> {
        let null = match self.null.take() {
            Some(null) => null,
            None => null_device(root)?,
        };
        let cover = copy(null.as_fd(), false)?;
        let set = mount::READ_ONLY | mount::NO_SUID | mount::NO_EXEC;
        mount::set(cover.as_fd(), false, Change { set, ..Change::default() })?;
        self.null = Some(null);
        Ok(cover)
    }

    fn directory(&mut self) -> io::Result<OwnedFd> {
        if let Some(empty) = &self.empty {
            return copy(empty.as_fd(), false);
        }
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (name, value) in [("source", "tmpfs"), ("mode", "555"), ("nr_inodes", "1"), ("size", "4k")] {
            fsconfig_set_string(&fs, name, value)?;
        }
        fsconfig_create(&fs)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let tree = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        self.empty = Some(rustix::io::fcntl_dupfd_cloexec(&tree, 3)?);
        Ok(tree)
    }
}

/// The container's own null device. One that is anything else would let the image choose what is shown, or written to,
/// in place of a masked file (CVE-2025-31133).
fn null_device(root: &RootDir) -> io::Result<OwnedFd> {
    let path = PathBuf::from("/dev/null");
    let null = root.open(&path, OFlags::PATH | OFlags::NOFOLLOW)?;
    let wanted = Device { path, kind: DeviceKind::Character, major: 1, minor: 3, mode: 0, owner: (0, 0) };
    if is_device(&null, &wanted)? {
        Ok(null)
    } else {
        Err(io::Error::other("/dev/null is not the null device"))
    }
}
