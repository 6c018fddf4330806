//! What is mounted inside the root. Every mount is made detached, and attached to a descriptor of its place.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, fsconfig_create, fsconfig_reconfigure,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick,
};
use tare_sys::mount::{self, Change, Propagation};

use super::overlay::{self, explain};
use super::{RootDir, copyup, put};
use crate::create::sources::{CgroupSource, is_directory, spread};
use crate::failure::{Failure, Step};
use crate::plan::{Attributes, Mount, MountKind};
use crate::procfs;

/// Mounts one after the other. `binds` runs along with `mounts`. A procfs that is there becomes /proc: to end one that is
/// mounted nowhere takes the kernel longer than all else that is done with it (it waits for every processor).
pub(crate) fn mount_all(
    root: &RootDir,
    mounts: &[Mount],
    binds: &[Option<OwnedFd>],
    cgroups: &[CgroupSource],
    mut proc: Option<OwnedFd>,
) -> Result<(), Failure> {
    for (wanted, bind) in mounts.iter().zip(binds) {
        match (&wanted.kind, bind) {
            (MountKind::New { fs, parameters, copy_up, .. }, _) if fs == "tmpfs" => {
                mount_tmpfs(root, wanted, parameters, *copy_up)?;
            }
            (MountKind::New { fs, parameters, .. }, _) if fs == "overlay" => {
                mount_overlay(root, wanted, parameters)?;
            }
            (MountKind::New { fs, source, parameters, .. }, _) => {
                let there = proc.take_if(|_| procfs::serves(wanted));
                let tree = there.map_or_else(|| new(wanted, fs, source, parameters), Ok)?;
                attach_directory(root, wanted, &tree)?;
            }
            (MountKind::Remount { parameters }, _) => remount(root, wanted, parameters)?,
            (MountKind::Bind { .. }, Some(tree)) => attach_bind(root, wanted, tree).step(|| name(wanted))?,
            (MountKind::Cgroup, _) => mount_cgroups(root, wanted, cgroups)?,
            (MountKind::Bind { .. }, None) => {
                return Err(Failure::rule(format!("{}: it was not opened", name(wanted))));
            }
        }
    }
    Ok(())
}

fn name(wanted: &Mount) -> String {
    format!("mount {}", wanted.destination.display())
}

fn new(
    wanted: &Mount,
    fs: &str,
    source: &str,
    parameters: &[(String, Option<String>)],
) -> Result<OwnedFd, Failure> {
    let context = fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC)
        .step(|| format!("{}: open file system {fs}", name(wanted)))?;
    let complain = |what: &str, cause: Errno| explain(&context, &name(wanted), what, &cause.into());
    fsconfig_set_string(&context, "source", source).map_err(|e| complain("source", e))?;
    configure(&context, wanted, parameters)?;
    fsconfig_create(&context).map_err(|e| complain(fs, e))?;
    let attributes = MountAttrFlags::from_bits_retain((wanted.attributes.set | wanted.recursive.set) as u32);
    let tree = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(|e| complain(fs, e))?;
    if wanted.propagation != Propagation::Private {
        mount::set(tree.as_fd(), false, spread(wanted.propagation)).step(|| name(wanted))?;
    }
    Ok(tree)
}

fn configure(
    context: &OwnedFd,
    wanted: &Mount,
    parameters: &[(String, Option<String>)],
) -> Result<(), Failure> {
    for (parameter, value) in parameters {
        match value {
            Some(value) => fsconfig_set_string(context, parameter.as_str(), value.as_str()),
            None => fsconfig_set_flag(context, parameter.as_str()),
        }
        .map_err(|e| explain(context, &name(wanted), parameter, &e.into()))?;
    }
    Ok(())
}

/// As wide open as the directory that it covers, unless its mode is given.
fn mount_tmpfs(
    root: &RootDir,
    wanted: &Mount,
    parameters: &[(String, Option<String>)],
    copy_up: bool,
) -> Result<(), Failure> {
    let step = || name(wanted);
    let MountKind::New { source, .. } = &wanted.kind else { return Ok(()) };
    let place = root.directory(&wanted.destination).step(step)?;
    let mut parameters = parameters.to_vec();
    if !parameters.iter().any(|(name, _)| name == "mode") {
        let mode = rustix::fs::fstat(&place).step(step)?.st_mode & 0o7777;
        parameters.push(("mode".to_owned(), Some(format!("{mode:o}"))));
    }
    if !copy_up {
        return put(&new(wanted, "tmpfs", source, &parameters)?, place.as_fd()).step(step);
    }
    // It must be writable until it is filled.
    let writable = Mount { attributes: Default::default(), recursive: Default::default(), ..wanted.clone() };
    let tree = new(&writable, "tmpfs", source, &parameters)?;
    copyup::copy(place.as_fd(), tree.as_fd()).step(|| format!("{}: tmpcopyup", name(wanted)))?;
    mount::set(tree.as_fd(), false, attributes(wanted)).step(step)?;
    put(&tree, place.as_fd()).step(step)
}

/// Its layers are directories of the host.
fn mount_overlay(
    root: &RootDir,
    wanted: &Mount,
    parameters: &[(String, Option<String>)],
) -> Result<(), Failure> {
    let option = |(name, value): &(String, Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    };
    let options: Vec<String> = parameters.iter().map(option).collect();
    let tree = overlay::mount(&name(wanted), &options)?;
    let change = Change { propagation: Some(wanted.propagation), ..attributes(wanted) };
    mount::set(tree.as_fd(), false, change).step(|| name(wanted))?;
    attach_directory(root, wanted, &tree)
}

/// Of a mount that has none below it.
fn attributes(wanted: &Mount) -> Change {
    Change {
        set: wanted.attributes.set | wanted.recursive.set,
        clear: wanted.attributes.clear | wanted.recursive.clear,
        propagation: None,
    }
}

/// As mount(2) has it: attributes that are not named are taken away.
fn remount(root: &RootDir, wanted: &Mount, parameters: &[(String, Option<String>)]) -> Result<(), Failure> {
    let step = || format!("re{}", name(wanted));
    let place = root.open(&wanted.destination, OFlags::PATH).step(step)?;
    if !parameters.is_empty() {
        let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
        let context = fspick(&place, "", flags).step(step)?;
        configure(&context, wanted, parameters)?;
        let complain = |e: Errno| explain(&context, &step(), "reconfigure", &e.into());
        fsconfig_reconfigure(&context).map_err(complain)?;
    }
    let set = wanted.attributes.set;
    mount::set(place.as_fd(), false, Change { set, clear: mount::ALL, propagation: None }).step(step)?;
    if !wanted.recursive.is_nothing() {
        let Attributes { set, clear } = wanted.recursive;
        mount::set(place.as_fd(), true, Change { set, clear, propagation: None }).step(step)?;
    }
    match wanted.propagation {
        Propagation::Private => Ok(()),
        other => mount::set(place.as_fd(), true, spread(other)).step(step),
    }
}

fn attach_directory(root: &RootDir, wanted: &Mount, tree: &OwnedFd) -> Result<(), Failure> {
    let place = root.directory(&wanted.destination).step(|| name(wanted))?;
    put(tree, place.as_fd()).step(|| name(wanted))
}

fn attach_bind(root: &RootDir, wanted: &Mount, tree: &OwnedFd) -> io::Result<()> {
    let place = if is_directory(tree)? {
        root.directory(&wanted.destination)?
    } else {
        root.file(&wanted.destination)?
    };
    put(tree, place.as_fd())
}

/// The container's own groups: one directory where there is one hierarchy, else a tmpfs with one directory for each.
fn mount_cgroups(root: &RootDir, wanted: &Mount, sources: &[CgroupSource]) -> Result<(), Failure> {
    let change = Change { set: wanted.attributes.set | wanted.recursive.set, ..Change::default() };
    for source in sources {
        mount::set(source.tree.as_fd(), true, Change { propagation: Some(Propagation::Private), ..change })
            .step(|| format!("{}: {}", name(wanted), source.name))?;
    }
    match sources {
        [] => mount_unified(root, wanted),
        [only] if only.name.is_empty() => attach_directory(root, wanted, &only.tree),
        several => {
            let parameters = [("mode".to_owned(), Some("755".to_owned()))];
            let writable =
                Mount { attributes: Default::default(), recursive: Default::default(), ..wanted.clone() };
            let tree = new(&writable, "tmpfs", "cgroup", &parameters)?;
            attach_directory(root, wanted, &tree)?;
            several.iter().try_for_each(|one| attach_hierarchy(&tree, one)).step(|| name(wanted))?;
            mount::set(tree.as_fd(), false, change).step(|| name(wanted))
        }
    }
}

/// Without a group of its own the container sees what its cgroup namespace shows; without that one either, nothing: the
/// host's groups may be the user's to write to (CVE-2023-25809).
fn mount_unified(root: &RootDir, wanted: &Mount) -> Result<(), Failure> {
    let tree = new(wanted, "cgroup2", "cgroup", &[]).or_else(|first| {
        let attributes = Attributes { set: wanted.attributes.set | mount::READ_ONLY, clear: 0 };
        new(&Mount { attributes, ..wanted.clone() }, "tmpfs", "cgroup", &[]).map_err(|_| first)
    })?;
    attach_directory(root, wanted, &tree)
}

fn attach_hierarchy(above: &OwnedFd, source: &CgroupSource) -> io::Result<()> {
    rustix::fs::mkdirat(above, source.name.as_str(), Mode::from_raw_mode(0o755))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    put(&source.tree, openat(above, source.name.as_str(), flags, Mode::empty())?.as_fd())?;
    // Programs look for "cpu", also where "cpu,cpuacct" are one hierarchy.
    if source.name.contains(',') {
        for controller in source.name.split(',') {
            symlinkat(Path::new(&source.name), above, controller)?;
        }
    }
    Ok(())
}
