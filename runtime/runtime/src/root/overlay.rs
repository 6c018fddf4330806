//! The root of layers: overlayfs through the new mount interface, so that neither the number of layers nor the length
//! of their paths is limited by a page of options.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use tare_sys::overlay::check_writable;

use crate::failure::{Failure, describe};

/// The longest string that fsconfig(2) takes.
const LONGEST: usize = 255;

/// How the layers are named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// One `lowerdir+` a layer: Linux 6.8.
    OneByOne,
    /// One list, of names short enough for one string.
    List,
}

/// Mounts an overlay of `lowerdir=`, `upperdir=`, `workdir=` and other options of its own; answers the detached mount.
/// `step` is what failures are said of.
pub(crate) fn mount(step: &str, options: &[String]) -> Result<OwnedFd, Failure> {
    match mount_with(step, options, Naming::OneByOne) {
        // Kernels before 6.5 notice what they do not know only when the file system is made.
        Err((Some(Errno::INVAL), _)) => {
            mount_with(step, options, Naming::List).map_err(|(_, failure)| failure)
        }
        answer => answer.map_err(|(_, failure)| failure),
    }
}

fn mount_with(step: &str, options: &[String], naming: Naming) -> Result<OwnedFd, (Option<Errno>, Failure)> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| (None, Failure::new(step, e)))?;
    let complain = |what: &str, cause: io::Error| {
        (cause.raw_os_error().map(Errno::from_raw_os_error), explain(&fs, step, what, &cause))
    };
    let mut attributes = MountAttrFlags::empty();
    // What is named by a descriptor stays open until the file system is made.
    let mut open = Vec::new();
    let mut upper = None;
    set(&fs, "source", "overlay").map_err(|e| complain("source", e))?;
    for option in options.iter().flat_map(|option| option.split(',')).filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("lowerdir", list)) => {
                lower(&fs, list, naming, &mut open).map_err(|e| complain("lowerdir", e))?
            }
            Some((name, value)) => {
                set_path(&fs, name, value, &mut open).map_err(|e| complain(name, e))?;
                if name == "upperdir" {
                    upper = Some(value);
                }
            }
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
    let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes);
    let mount = mount.map_err(|e| complain("fsmount", e.into()))?;
    if let Some(upper) = upper.filter(|_| !attributes.contains(MountAttrFlags::MOUNT_ATTR_RDONLY)) {
        let upper = directory(upper).map_err(|e| complain("upperdir", e.into()))?;
        check_writable(mount.as_fd(), upper.as_fd()).map_err(|e| complain("workdir", e))?;
    }
    Ok(mount)
}

fn directory(path: &str) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn lower(fs: &OwnedFd, list: &str, naming: Naming, open: &mut Vec<OwnedFd>) -> io::Result<()> {
    let layers = split(list);
    if naming == Naming::OneByOne {
        return layers.iter().try_for_each(|layer| set_path(fs, "lowerdir+", layer, open));
    }
    let names = layers.iter().map(|layer| short_name(layer, open)).collect::<io::Result<Vec<_>>>()?.join(":");
    if names.len() > LONGEST {
        return Err(io::Error::other(format!("{} layers need Linux 6.8 or later", layers.len())));
    }
    set(fs, "lowerdir", &names)
}

fn set_path(fs: &OwnedFd, name: &str, value: &str, open: &mut Vec<OwnedFd>) -> io::Result<()> {
    if value.len() > LONGEST { set(fs, name, &short_name(value, open)?) } else { set(fs, name, value) }
}

fn set(fs: &OwnedFd, name: &str, value: &str) -> io::Result<()> {
    fsconfig_set_string(fs, name, value).map_err(io::Error::from)
}

fn short_name(path: &str, open: &mut Vec<OwnedFd>) -> io::Result<String> {
    let directory = directory(path)?;
    let name = format!("/proc/self/fd/{}", directory.as_raw_fd());
    open.push(directory);
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
    fn older_kernels_get_a_list_and_hear_of_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let lower: Vec<String> = (0..20)
            .map(|n| {
                let layer = dir.path().join(n.to_string());
                std::fs::create_dir(&layer).unwrap();
                layer.to_str().unwrap().to_owned()
            })
            .collect();
        let mount = |layers: &[String]| {
            mount_with("mount", &[format!("lowerdir={}", layers.join(":"))], Naming::List)
        };
        match mount(&lower) {
            Err((None, failure)) => {
                assert!(failure.message.contains("20 layers need Linux 6.8"), "{}", failure.message)
            }
            other => panic!("{:?}", other.map(drop).map_err(|(_, failure)| failure)),
        }
        // Needs the right to mount.
        if rustix::process::geteuid().is_root() {
            mount(&lower[..5]).map_err(|(_, failure)| failure).unwrap();
        }
    }

    #[test]
    fn layers_are_split_at_colons_that_stand_for_themselves() {
        assert_eq!(split(r"/a:/b\:c:/d\\e"), ["/a", "/b:c", r"/d\e"]);
    }
}
