//! `image mount`, `image unmount`: an image's tree in the caller's mount namespace. The daemon only tells where the layers
//! lie and keeps them; it mounts nothing on the host.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount as unmount_at,
};

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
    // Kept before it is mounted: in between nothing may go.
    call.client.hold_image(name, &target).await?;
    if let Err(error) = mount_trees(&trees, Path::new(&target)) {
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

fn mount_trees(trees: &[&str], target: &Path) -> io::Result<()> {
    // Overlayfs wants two layers at least where nothing is written; an empty one below changes nothing.
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
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(move_mount(&mounted, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
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
