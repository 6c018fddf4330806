//! fuse-overlayfs, for hosts whose kernel does not have overlayfs: a program that serves a tree, and a mount of it that no
//! path leads to.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

/// The program, which is looked for in `PATH`.
pub const PROGRAM: &str = "fuse-overlayfs";

/// Where the program is.
///
/// # Errors
/// Where it is not installed.
pub fn program() -> io::Result<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|place| place.join(PROGRAM)).find(|file| file.is_file());
    found.ok_or_else(|| io::Error::other(format!("{PROGRAM} is not installed")))
}

/// Mounts the overlay of `options` (`lowerdir=a:b`, the topmost first, `upperdir=`, `workdir=`), detached. The program ends by
/// itself with the last mount and descriptor of the tree; who calls has to reap it.
///
/// It is given the connection as its standard input, since that needs no code between fork and exec, and knows no mount
/// point: mount.fuse3(8) has no word for it, but libfuse takes `/dev/fd/N` for a connection that is there already.
pub fn overlay(program: &Path, options: &str, attributes: MountAttrFlags) -> io::Result<(OwnedFd, Child)> {
    let connection = openat(CWD, "/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let number = connection.as_raw_fd().to_string();
    for (name, value) in
        [("source", PROGRAM), ("fd", &number), ("rootmode", "40000"), ("user_id", "0"), ("group_id", "0")]
    {
        fsconfig_set_string(&context, name, value)?;
    }
    // Whoever runs in the container sees it, and the kernel judges permissions by mode and owner as everywhere.
    fsconfig_set_flag(&context, "allow_other")?;
    fsconfig_set_flag(&context, "default_permissions")?;
    fsconfig_create(&context)?;
    let tree = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    // What is written is in the upper directory at once: it is read there while a container runs.
    let options = format!("{options},writeback=0");
    let mut child = Command::new(program)
        .args(["-f", "-o", &options, "/dev/fd/0"])
        .stdin(Stdio::from(connection))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()?;
    crate::descriptors::give_back(child.id() as i32);
    // The answer comes when the program serves, or an error when it has ended.
    if let Err(error) = statat(&tree, ".", AtFlags::empty()) {
        drop(tree);
        let ended = child.wait()?;
        return Err(io::Error::other(format!("{} has ended with {ended}: {error}", program.display())));
    }
    Ok((tree, child))
}
