//! `image mount`, `image unmount`: an image's tree in the caller's mount namespace. The daemon only tells where the layers
//! lie and keeps them; it mounts nothing on the host.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount as unmount_at,
};
use tare_sys::mount::Change;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::output::line;

/// `tare image mount`
pub(crate) async fn mount(call: Call) -> Result<u8> {
    let [name, target] = &call.given.operands[..] else { return Ok(1) };
    let target = absolute(target)?;
    let layers = call.client.image_layers(name).await?;
    let trees: Vec<&str> =
        layers.iter().rev().map(|layer| layer.path.as_str()).filter(|path| !path.is_empty()).collect();
    let info = call.client.info_raw().await?;
    let driver = info["Driver"].as_str().unwrap_or_default();
    // Kept before it is mounted: in between nothing may go.
    call.client.hold_image(name, &target).await?;
    if let Err(error) = mount_trees(driver, &trees, Path::new(&target)) {
        call.client.release(&target).await?;
        return Err(Failure::new(format!("cannot mount {name} at {target}: {error}"))
            .hint("it takes root on the daemon's own machine, and an empty directory"));
    }
    line(target)?;
    Ok(0)
}

fn absolute(directory: &str) -> Result<String> {
    let path = std::fs::canonicalize(directory)
        .map_err(|error| Failure::new(format!("cannot use {directory}: {error}")))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Mounts what layers show together, the topmost first, the way in which the daemon's storage driver keeps them.
fn mount_trees(driver: &str, trees: &[&str], target: &Path) -> io::Result<()> {
    let tree = match (driver, trees) {
        // A tree that is whole.
        ("copy", [tree, ..]) | ("fuse-overlayfs", [tree]) => bound(Path::new(tree))?,
        ("fuse-overlayfs", trees) => served(trees)?,
        (_, trees) => stacked(trees)?,
    };
    Ok(move_mount(&tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn attributes() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID
}

/// The directory as it lies.
fn bound(tree: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let view = open_tree(CWD, tree, flags)?;
    let change = Change { set: attributes().bits().into(), ..Change::default() };
    tare_sys::mount::set(view.as_fd(), false, change)?;
    Ok(view)
}

/// By the program fuse-overlayfs, which ends when this is unmounted.
fn served(trees: &[&str]) -> io::Result<OwnedFd> {
    let layers = format!("lowerdir={}", trees.join(":"));
    let (tree, _outlives_us) = tare_sys::fuse::overlay(&tare_sys::fuse::program()?, &layers, attributes())?;
    Ok(tree)
}

/// By the kernel's overlayfs.
fn stacked(trees: &[&str]) -> io::Result<OwnedFd> {
    // It wants two layers at least where nothing is written; an empty one below changes nothing.
    let empty = Empty::make()?;
    let paths = trees.iter().map(Path::new).chain([empty.0.as_path()]);
    let open: Vec<OwnedFd> = paths.map(directory).collect::<rustix::io::Result<_>>()?;
    let names: Vec<String> = open.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // One option a layer where the kernel has it (6.8), all in one before that.
    match names.iter().try_for_each(|name| fsconfig_set_string(&context, "lowerdir+", name.as_str())) {
        Err(Errno::INVAL) => fsconfig_set_string(&context, "lowerdir", names.join(":").as_str())?,
        other => other?,
    }
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes())?)
}

fn directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// An empty directory, gone when it is no longer needed.
struct Empty(std::path::PathBuf);

impl Empty {
    fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tare-empty-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// `tare image unmount`
pub(crate) async fn unmount(call: Call) -> Result<u8> {
    let target = absolute(&call.given.operands[0])?;
    match unmount_at(target.as_str(), UnmountFlags::NOFOLLOW) {
        // Gone already, as after a start of the machine: then only the daemon is to be told.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(Failure::new(format!("cannot unmount {target}: {error}"))),
    }
    call.client.release(&target).await?;
    Ok(0)
}
