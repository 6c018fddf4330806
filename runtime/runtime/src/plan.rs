//! From config.json to what init will do: pure, and the only place where config.json is judged.

mod device;
mod list;
mod memory;
mod mount;
mod namespace;
mod network;
mod process;
mod rdt;
mod schedule;
mod shared;
mod sysctl;
mod user;

use std::path::{Component, Path, PathBuf};

use tare_oci::runtime::{Linux, Personality, Spec};
use tare_sys::mount::Propagation;

use crate::error::{Error, Result};

pub(crate) use device::{Device, DeviceKind};
pub(crate) use memory::MemoryPlan;
pub(crate) use mount::{Attributes, Mount, MountKind};
pub(crate) use namespace::{IdMaps, Namespaces};
pub(crate) use network::NetDevice;
pub(crate) use process::{CapabilitySets, Identity, Labels, ProcessPlan, Rlimit};
pub(crate) use rdt::Rdt;
pub(crate) use schedule::Schedule;
pub(crate) use sysctl::Sysctl;

/// Everything that init does, checked.
#[derive(Debug)]
pub(crate) struct InitPlan {
    pub(crate) namespaces: Namespaces,
    pub(crate) names: Names,
    pub(crate) root: Root,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) devices: Devices,
    pub(crate) sysctls: Vec<Sysctl>,
    pub(crate) hidden: Hidden,
    pub(crate) personality: Option<u32>,
    pub(crate) memory: Option<MemoryPlan>,
    pub(crate) net_devices: Vec<NetDevice>,
    pub(crate) rdt: Option<Rdt>,
    pub(crate) process: ProcessPlan,
}

impl InitPlan {
    /// Whether the caller has something to do for init before it goes on.
    pub(crate) fn waits(&self) -> bool {
        self.namespaces.id_maps.is_some() || !self.net_devices.is_empty()
    }

    /// Whether it is in the caller's mount namespace, where nothing may be mounted for it.
    pub(crate) fn shares_mounts(&self) -> bool {
        !self.namespaces.has(tare_sys::clone::NEW_MOUNT)
    }

    /// The host's number of the user to whom the container's group is handed over, which is whoever runs the program in
    /// it: only with a cgroup namespace of its own, and where it sees its groups writable. None = it stays root's.
    /// <https://github.com/opencontainers/runtime-spec/blob/v1.2.1/config-linux.md#cgroup-ownership>
    pub(crate) fn group_owner(&self) -> Option<u32> {
        let is_writable = |mount: &Mount| {
            let set = mount.attributes.set | mount.recursive.set;
            mount.kind == MountKind::Cgroup
                && mount.destination == Path::new("/sys/fs/cgroup")
                && set & tare_sys::mount::READ_ONLY == 0
        };
        if !self.namespaces.new_cgroup || !self.mounts.iter().any(is_writable) {
            return None;
        }
        self.namespaces.host_user(self.process.identity.uid).filter(|uid| *uid != 0)
    }
}

/// What the container is called.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) host: Option<String>,
    pub(crate) domain: Option<String>,
}

/// What the kernel shows and a container must not see or change.
#[derive(Debug)]
pub(crate) struct Hidden {
    /// Covered so that they cannot be read.
    pub(crate) masked: Vec<PathBuf>,
    /// Mounted read-only over themselves.
    pub(crate) readonly: Vec<PathBuf>,
}

/// The root file system.
#[derive(Debug)]
pub(crate) struct Root {
    /// On the host, absolute.
    pub(crate) path: PathBuf,
    pub(crate) readonly: bool,
    pub(crate) propagation: Option<Propagation>,
}

/// What is made in /dev.
#[derive(Debug)]
pub(crate) struct Devices {
    /// False where /dev is the host's own.
    pub(crate) fill: bool,
    /// Bound from the host: in a user namespace mknod(2) is not allowed.
    pub(crate) bind: bool,
    pub(crate) list: Vec<Device>,
}

/// Plans a container.
pub(crate) fn plan(spec: &Spec, bundle: &Path) -> Result<InitPlan> {
    let nothing = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&nothing);
    check_version(&spec.oci_version)?;
    check_label(linux)?;
    if spec.annotations.contains_key("") {
        return Err(Error::spec("annotations", "must not have an empty key"));
    }
    let process = spec.process.as_ref().ok_or_else(|| Error::spec("process", "is required"))?;
    let namespaces = namespace::plan(linux)?;
    shared::check(spec, linux, &namespaces)?;
    let mut mounts = mount::plan(&spec.mounts, &namespaces, bundle)?;
    if let Some(label) = linux.mount_label.as_deref().filter(|label| !label.is_empty()) {
        mounts.iter_mut().for_each(|mount| mount.label(label));
    }
    user::adapt(&mut mounts, &namespaces, &linux.gid_mappings);
    let fill = !mounts
        .iter()
        .any(|m| m.destination == Path::new("/dev") && matches!(m.kind, MountKind::Bind { .. }));
    Ok(InitPlan {
        names: Names {
            host: uts("hostname", spec.hostname.as_ref(), &namespaces)?,
            domain: uts("domainname", spec.domainname.as_ref(), &namespaces)?,
        },
        root: root(spec, linux, bundle)?,
        devices: Devices {
            fill,
            bind: namespaces.has(tare_sys::clone::NEW_USER),
            list: device::plan(&linux.devices)?,
        },
        sysctls: sysctl::plan(&linux.sysctl, &namespaces)?,
        hidden: Hidden {
            masked: paths("linux.maskedPaths", &linux.masked_paths)?,
            readonly: paths("linux.readonlyPaths", &linux.readonly_paths)?,
        },
        personality: linux.personality.as_ref().map(personality).transpose()?,
        memory: memory_policy(linux)?,
        net_devices: network::plan(&linux.net_devices, &namespaces)?,
        rdt: class_of_service(linux)?,
        process: process::plan(process)?,
        namespaces,
        mounts,
    })
}

/// Plans another program in a container that runs.
pub(crate) fn plan_process(process: &tare_oci::runtime::Process) -> Result<ProcessPlan> {
    process::plan(process)
}

/// resctrl's.
pub(crate) fn class_of_service(linux: &Linux) -> Result<Option<Rdt>> {
    linux.intel_rdt.as_ref().map(rdt::plan).transpose()
}

/// Of all its processes.
pub(crate) fn memory_policy(linux: &Linux) -> Result<Option<MemoryPlan>> {
    linux.memory_policy.as_ref().map(memory::plan).transpose()
}

/// The kinds of namespaces that a container has for itself or shares with another, as clone flags.
pub(crate) fn own_namespaces(spec: &Spec) -> u64 {
    spec.linux.iter().flat_map(|linux| &linux.namespaces).fold(0, |all, one| all | namespace::flag(one.kind))
}

/// All of 1.x are read alike: what is new in one is optional.
fn check_version(version: &str) -> Result<()> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<Option<u32>> = core.split('.').map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => Err(Error::spec(
            "ociVersion",
            format!("must be a 1.x version of the specification, not {version}"),
        )),
        _ if version.is_empty() => Err(Error::spec("ociVersion", "is required")),
        _ => Err(Error::spec("ociVersion", format!("must be a version as in 1.2.0, not \"{version}\""))),
    }
}

fn check_label(linux: &Linux) -> Result<()> {
    match &linux.mount_label {
        Some(label) if label.contains(['\0', '\n']) => {
            Err(Error::spec("linux.mountLabel", "must be one line without NUL"))
        }
        _ => Ok(()),
    }
}

fn root(spec: &Spec, linux: &Linux, bundle: &Path) -> Result<Root> {
    let root = spec.root.as_ref().ok_or_else(|| Error::spec("root", "is required"))?;
    if root.path.as_os_str().is_empty() {
        return Err(Error::spec("root.path", "must name a directory"));
    }
    if root.path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::spec("root.path", "must hold no NUL"));
    }
    let propagation = match linux.rootfs_propagation.as_deref() {
        None | Some("") => None,
        Some("shared" | "rshared") => Some(Propagation::Shared),
        Some("slave" | "rslave") => Some(Propagation::Slave),
        Some("private" | "rprivate") => Some(Propagation::Private),
        Some("unbindable" | "runbindable") => Some(Propagation::Unbindable),
        Some(other) => {
            let rule = format!("must be shared, slave, private or unbindable, not \"{other}\"");
            return Err(Error::spec("linux.rootfsPropagation", rule));
        }
    };
    Ok(Root { path: bundle.join(&root.path), readonly: root.readonly, propagation })
}

fn uts(field: &str, name: Option<&String>, namespaces: &Namespaces) -> Result<Option<String>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    if !namespaces.has(tare_sys::clone::NEW_UTS) {
        return Err(Error::spec(field, "needs a uts namespace in linux.namespaces"));
    }
    if name.len() > 64 || name.contains('\0') {
        return Err(Error::spec(field, "must have at most 64 characters and no NUL"));
    }
    Ok(Some(name.clone()))
}

fn personality(personality: &Personality) -> Result<u32> {
    if !personality.flags.is_empty() {
        return Err(Error::spec("linux.personality.flags", "none is defined"));
    }
    match personality.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => {
            Err(Error::spec("linux.personality.domain", format!("must be LINUX or LINUX32, not \"{other}\"")))
        }
    }
}

fn paths(field: &str, list: &[PathBuf]) -> Result<Vec<PathBuf>> {
    list.iter().enumerate().map(|(i, path)| inside(&format!("{field}[{i}]"), path)).collect()
}

/// An absolute path inside the root, without `.` and `..`: those are resolved as text, as the field does it.
fn inside(field: &str, path: &Path) -> Result<PathBuf> {
    if !path.is_absolute() {
        return Err(Error::spec(field, format!("must be an absolute path, not \"{}\"", path.display())));
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::spec(field, "must hold no NUL"));
    }
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod refusals;
#[cfg(test)]
mod tests;
