//! What init needs of the host, opened by the caller before the clone: mounts that no mount namespace holds. They go
//! with the last descriptor, so a failure at any later step leaves nothing behind, and the host never sees them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, fstat, fstatfs, major, minor};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use tare_cgroup::Cgroup;
use tare_model::RootMount;
use tare_sys::mount::{self, Change, Propagation};

use super::idmap::MappedNamespaces;
use crate::error::{Error, Result};
use crate::failure::{Failure, Step};
use crate::plan::{Device, DeviceKind, InitPlan, Mount, MountKind};
use crate::root::overlay;

/// Detached mounts and open files.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The root, the lowest first; its directory where nothing may be mounted.
    pub(crate) root: Vec<OwnedFd>,
    /// One for each of the plan's mounts that is a bind.
    pub(crate) binds: Vec<Option<OwnedFd>>,
    /// One for each of the plan's devices, where they are bound.
    pub(crate) devices: Vec<OwnedFd>,
    /// The container's group in each hierarchy.
    pub(crate) cgroups: Vec<CgroupSource>,
}

/// A container's group in one hierarchy.
#[derive(Debug)]
pub(crate) struct CgroupSource {
    /// Its name below /sys/fs/cgroup; empty where there is but one hierarchy.
    pub(crate) name: String,
    pub(crate) tree: OwnedFd,
}

impl Sources {
    /// `user` is the user namespace that the container joins.
    pub(crate) fn open(
        plan: &InitPlan,
        rootfs: &[RootMount],
        cgroup: Option<&Cgroup>,
        user: Option<BorrowedFd<'_>>,
    ) -> Result<Self> {
        let mut maps = MappedNamespaces::new(user);
        let devices = if plan.devices.bind && plan.devices.fill { plan.devices.list.as_slice() } else { &[] };
        Ok(Self {
            root: root(plan, rootfs)?,
            binds: plan.mounts.iter().map(|wanted| bind(wanted, &mut maps)).collect::<Result<_, _>>()?,
            devices: devices.iter().map(device).collect::<Result<_, _>>()?,
            cgroups: cgroups(plan, cgroup)?,
        })
    }

    /// All descriptors, which init must keep open.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let cgroups = self.cgroups.iter().map(|source| &source.tree);
        self.root
            .iter()
            .chain(self.binds.iter().flatten())
            .chain(&self.devices)
            .chain(cgroups)
            .map(OwnedFd::as_fd)
    }
}

fn root(plan: &InitPlan, rootfs: &[RootMount]) -> Result<Vec<OwnedFd>> {
    if plan.shares_mounts() {
        if !rootfs.is_empty() {
            let rule = "must hold a mount namespace: the root is mounted there";
            return Err(Error::spec("linux.namespaces", rule));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&plan.root.path, flags, Mode::empty());
        return Ok(vec![root.step(|| format!("open root {}", plan.root.path.display()))?]);
    }
    if rootfs.is_empty() {
        let tree =
            clone_tree(&plan.root.path, true).step(|| format!("open root {}", plan.root.path.display()))?;
        if !is_directory(&tree).at("open root")? {
            return Err(
                Failure::rule(format!("open root {}: not a directory", plan.root.path.display())).into()
            );
        }
        return Ok(vec![tree]);
    }
    Ok(rootfs.iter().map(root_mount).collect::<Result<_, _>>()?)
}

fn root_mount(wanted: &RootMount) -> Result<OwnedFd, Failure> {
    match wanted.kind.as_str() {
        "overlay" => overlay::mount("mount root overlay", &wanted.options),
        // Its process ends with the container's mount namespace, and is reaped by who reaps init.
        "fuse-overlayfs" => {
            let served = tare_sys::fuse::overlay(
                Path::new(&wanted.source),
                &wanted.options.join(","),
                MountAttrFlags::empty(),
            );
            served.map(|(tree, _)| tree).step(|| "mount root fuse-overlayfs".to_owned())
        }
        "bind" => {
            let read_only = wanted.options.iter().any(|option| option == "ro");
            let step = || format!("bind root {}", wanted.source);
            let tree = clone_tree(Path::new(&wanted.source), true).step(step)?;
            let change = Change { set: if read_only { mount::READ_ONLY } else { 0 }, ..Change::default() };
            mount::set(tree.as_fd(), false, change).step(step)?;
            Ok(tree)
        }
        other => Err(Failure::rule(format!(
            "mount root: cannot mount a \"{other}\", only overlay, fuse-overlayfs and bind"
        ))),
    }
}

fn bind(wanted: &Mount, maps: &mut MappedNamespaces<'_>) -> Result<Option<OwnedFd>, Failure> {
    let MountKind::Bind { source, recursive } = &wanted.kind else { return Ok(None) };
    let step = || format!("mount {}: open {}", wanted.destination.display(), source.display());
    let tree = clone_tree(source, *recursive).step(step)?;
    if wanted.destination == Path::new("/proc") && fstatfs(&tree).step(step)?.f_type != PROC_SUPER_MAGIC {
        return Err(Failure::rule(format!("mount /proc: {} is not procfs", source.display())));
    }
    let all = |attributes: crate::plan::Attributes| Change {
        set: attributes.set,
        clear: attributes.clear,
        propagation: None,
    };
    if let Some(map) = &wanted.id_map {
        let step = || format!("mount {}: map the ids of {}", wanted.destination.display(), source.display());
        let namespace = maps.of(map.maps.as_ref()).step(step)?;
        mount::map_ids(tree.as_fd(), map.recursive, namespace).step(step)?;
    }
    if !wanted.recursive.is_nothing() {
        mount::set(tree.as_fd(), true, all(wanted.recursive)).step(step)?;
    }
    if !wanted.attributes.is_nothing() {
        mount::set(tree.as_fd(), false, all(wanted.attributes)).step(step)?;
    }
    // A copy of a shared mount is shared too: what is mounted below it would show on the host.
    mount::set(tree.as_fd(), true, spread(wanted.propagation)).step(step)?;
    Ok(Some(tree))
}

fn device(wanted: &Device) -> Result<OwnedFd, Failure> {
    let step = || format!("make device {}", wanted.path.display());
    let tree = clone_tree(&wanted.path, false).step(step)?;
    if !is_device(&tree, wanted).step(step)? {
        let message = format!("make device {0}: {0} of the host is another device", wanted.path.display());
        return Err(Failure::rule(message));
    }
    Ok(tree)
}

fn cgroups(plan: &InitPlan, cgroup: Option<&Cgroup>) -> Result<Vec<CgroupSource>> {
    let Some(cgroup) = cgroup.filter(|_| plan.mounts.iter().any(|m| m.kind == MountKind::Cgroup)) else {
        return Ok(Vec::new());
    };
    let open = |source: tare_cgroup::MountSource| {
        let tree =
            clone_tree(&source.path, false).step(|| format!("open cgroup {}", source.path.display()))?;
        Ok(CgroupSource { name: source.name, tree })
    };
    cgroup.mount_sources().into_iter().map(open).collect()
}

/// Whether this process may mount anything in its mount namespace.
pub(crate) fn may_mount() -> bool {
    clone_tree(Path::new("/"), false).is_ok()
}

/// A copy of a mounted tree, detached.
pub(crate) fn clone_tree(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    let tree = open_tree(CWD, path, flags)?;
    Ok(tree)
}

pub(crate) fn spread(propagation: Propagation) -> Change {
    Change { propagation: Some(propagation), ..Change::default() }
}

pub(crate) fn is_directory(fd: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Directory)
}

/// Whether an open file is the node that was meant.
pub(crate) fn is_device(fd: &OwnedFd, wanted: &Device) -> io::Result<bool> {
    let found = fstat(fd)?;
    let same_number = (major(found.st_rdev), minor(found.st_rdev)) == (wanted.major, wanted.minor);
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::CharacterDevice => wanted.kind == DeviceKind::Character && same_number,
        FileType::BlockDevice => wanted.kind == DeviceKind::Block && same_number,
        FileType::Fifo => wanted.kind == DeviceKind::Pipe,
        _ => false,
    })
}
