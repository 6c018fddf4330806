//! What is asked of overlayfs (Documentation/filesystems/overlayfs.rst).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use crate::temporary::Temporary;
use crate::{Error, directory, files::OPAQUE};

/// Whatever the kernel's defaults are: every directory and file that a container changes is whole in its own layer, by
/// which the layer can be packed without looking elsewhere, and taken over as it lies.
pub(crate) const WHOLE: [&str; 3] = ["redirect_dir=off", "metacopy=off", "index=off"];

/// Makes one overlay of what we need, which is gone again when this returns: only the kernel knows whether it can.
pub(crate) fn check(root: &Path, temporary: &Arc<Temporary>) -> crate::Result<()> {
    let guard = temporary.directory()?;
    let at = |name: &str| guard.path().join(name);
    for name in ["lower", "upper", "work"] {
        directory::make(&at(name), 0o700)?;
    }
    try_marks(&at("lower")).and_then(|()| try_mount(&at("lower"), &at("upper"), &at("work"))).map_err(
        |error| {
            let why = match error {
                Errno::NODEV => std::io::Error::other("the kernel does not have it"),
                Errno::INVAL => std::io::Error::other("the file system below cannot carry it"),
                other => other.into(),
            };
            Error::Overlay { root: root.to_owned(), why }
        },
    )
}

pub(crate) fn try_marks(lower: &Path) -> Result<()> {
    setxattr(lower, OPAQUE, b"y", XattrFlags::empty())?;
    mknodat(CWD, lower.join("whiteout"), FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
}

fn try_mount(lower: &Path, upper: &Path, work: &Path) -> Result<()> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "lowerdir", fd_path(&directory_fd(lower)?).as_str())?;
    let (upper, work) = (directory_fd(upper)?, directory_fd(work)?);
    fsconfig_set_string(&context, "upperdir", fd_path(&upper).as_str())?;
    fsconfig_set_string(&context, "workdir", fd_path(&work).as_str())?;
    fsconfig_create(&context)
}

/// A read-only tree of `layers`, topmost first, that is mounted nowhere: only who has the descriptor sees it, and it is
/// gone with the descriptor.
pub(crate) fn view(layers: &[PathBuf]) -> Result<OwnedFd> {
    let directories: Vec<OwnedFd> = layers.iter().map(|layer| directory_fd(layer)).collect::<Result<_>>()?;
    // Overlayfs wants two layers at least where nothing is written.
    if let [single] = &directories[..] {
        return single.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE));
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    set_lower(context.as_fd(), &directories)?;
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A tree of `layers`, topmost first, that is written to in `upper` and mounted nowhere, like [`view`]'s. Devices and set-id
/// programs in it have no effect for who works through the descriptor.
pub(crate) fn workspace(layers: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd> {
    let directories: Vec<OwnedFd> = layers.iter().map(|layer| directory_fd(layer)).collect::<Result<_>>()?;
    let (upper, work) = (directory_fd(upper)?, directory_fd(work)?);
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    set_lower(context.as_fd(), &directories)?;
    fsconfig_set_string(&context, "upperdir", fd_path(&upper).as_str())?;
    fsconfig_set_string(&context, "workdir", fd_path(&work).as_str())?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let writable = tare_sys::overlay::check_writable(mount.as_fd(), upper.as_fd());
    writable.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::ROFS))?;
    Ok(mount)
}

/// One option a layer where the kernel has it (6.8), all in one before that. Descriptors are shorter than paths, as
/// fsconfig(2) takes 255 bytes.
fn set_lower(context: rustix::fd::BorrowedFd<'_>, directories: &[OwnedFd]) -> Result<()> {
    let paths: Vec<String> = directories.iter().map(fd_path).collect();
    match paths.iter().try_for_each(|path| fsconfig_set_string(context, "lowerdir+", path.as_str())) {
        Err(Errno::INVAL) => fsconfig_set_string(context, "lowerdir", paths.join(":").as_str()),
        other => other,
    }
}

fn fd_path(directory: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", directory.as_raw_fd())
}

pub(crate) fn directory_fd(path: &Path) -> Result<OwnedFd> {
    use rustix::fs::{OFlags, openat};
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
