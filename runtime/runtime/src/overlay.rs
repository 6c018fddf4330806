//! The root of layers: overlayfs through the new mount interface, so that neither the number of layers nor the length
//! of their paths is limited by a page of options.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use crate::failure::{Failure, describe};

/// The longest string that fsconfig(2) takes.
const LONGEST: usize = 255;

/// Mounts an overlay of `lowerdir=`, `upperdir=`, `workdir=` and other options of its own; answers the detached mount.
pub(crate) fn mount(options: &[String]) -> Result<OwnedFd, Failure> {
    let fs =
        fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| Failure::new("mount root overlay", e))?;
    let complain = |what: &str, cause: io::Error| explain(&fs, "mount root overlay", what, &cause);
    let mut attributes = MountAttrFlags::empty();
    // Layers of kernels before 6.8 are named by descriptors, which stay open until the file system is made.
    let mut layers = Vec::new();
    set(&fs, "source", "overlay").map_err(|e| complain("source", e))?;
    for option in options.iter().flat_map(|option| option.split(',')).filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("lowerdir", list)) => lower(&fs, list, &mut layers).map_err(|e| complain("lowerdir", e))?,
            Some((name, value)) => set_path(&fs, name, value, &mut layers).map_err(|e| complain(name, e))?,
            None => match option {
                "ro" => attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY,
                "nodev" => attributes |= MountAttrFlags::MOUNT_ATTR_NODEV,
                "nosuid" => attributes |= MountAttrFlags::MOUNT_ATTR_NOSUID,
                "noatime" => attributes |= MountAttrFlags::MOUNT_ATTR_NOATIME,
                flag => fsconfig_set_flag(&fs, flag).map_err(|e| complain(flag, e.into()))?,
            },
        }
    }
    fsconfig_create(&fs).map_err(|e| complain("create", e.into()))?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(|e| complain("fsmount", e.into()))
}

/// One `lowerdir+` a layer where the kernel has it (6.8), else one list of short names.
fn lower(fs: &OwnedFd, list: &str, layers: &mut Vec<OwnedFd>) -> io::Result<()> {
    let list: Vec<String> = split(list);
    for (i, layer) in list.iter().enumerate() {
        match set_path(fs, "lowerdir+", layer, layers) {
            Err(e) if i == 0 && e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                return lower_as_one(fs, &list, layers);
            }
            answer => answer?,
        }
    }
    Ok(())
}

fn lower_as_one(fs: &OwnedFd, list: &[String], layers: &mut Vec<OwnedFd>) -> io::Result<()> {
    let names = list.iter().map(|layer| short_name(layer, layers)).collect::<io::Result<Vec<_>>>()?;
    set(fs, "lowerdir", &names.join(":"))
}

fn set_path(fs: &OwnedFd, name: &str, value: &str, layers: &mut Vec<OwnedFd>) -> io::Result<()> {
    if value.len() > LONGEST { set(fs, name, &short_name(value, layers)?) } else { set(fs, name, value) }
}

fn set(fs: &OwnedFd, name: &str, value: &str) -> io::Result<()> {
    fsconfig_set_string(fs, name, value).map_err(io::Error::from)
}

fn short_name(path: &str, layers: &mut Vec<OwnedFd>) -> io::Result<String> {
    use std::os::fd::AsRawFd;
    let layer = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let name = format!("/proc/self/fd/{}", layer.as_raw_fd());
    layers.push(layer);
    Ok(name)
}

/// `a:b\:c` is two directories.
fn split(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = list.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ':' => parts.push(String::new()),
            '\\' => parts.last_mut().into_iter().for_each(|part| part.extend(letters.next())),
            other => parts.last_mut().into_iter().for_each(|part| part.push(other)),
        }
    }
    parts
}

/// The kernel's own words, where it left some in the file system's context.
pub(crate) fn explain(fs: &OwnedFd, step: &str, what: &str, cause: &io::Error) -> Failure {
    let mut text = [0; 512];
    let length = rustix::io::read(fs.as_fd(), &mut text).unwrap_or(0);
    let said = String::from_utf8_lossy(&text[..length]);
    let said = said.trim().trim_start_matches("e ");
    let said = if said.is_empty() { what } else { said };
    Failure { message: format!("{step}: {} ({said})", describe(cause)), exit_code: 125 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_split_at_colons_that_stand_for_themselves() {
        assert_eq!(split(r"/a:/b\:c:/d\\e"), ["/a", "/b:c", r"/d\e"]);
    }
}
