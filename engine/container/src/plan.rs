//! Decides what the runtime gets: from what was asked for, what the image says and what the host is to an OCI
//! configuration. Pure: no file is read and nothing is made.

mod mounts;
mod process;
mod resources;

use std::path::{Path, PathBuf};

use tare_model::Id;
use tare_oci::paths::{MASKED_PATHS, READONLY_PATHS};
use tare_oci::runtime::{Linux, Namespace, NamespaceKind, Root, Spec};

use crate::container::{ImageUse, MountPoint};
use crate::spec::{ContainerSpec, IpcMode, NamespaceMode, NetworkMode, Ulimit};
use crate::user::ResolvedUser;
use crate::{Error, Result};

pub(crate) use process::{command_line, exec_process};

/// Where the daemon binds its small init.
pub(crate) const INIT_TARGET: &str = "/sbin/docker-init";

/// Everything that decides about a container's configuration.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub id: &'a Id,
    pub spec: &'a ContainerSpec,
    pub image: &'a ImageUse,
    pub mounts: &'a [MountPoint],
    pub user: &'a ResolvedUser,
    pub host: &'a Host,
    pub files: &'a Files,
    pub joined: &'a Joined,
}

/// What is known of the host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// Online processors.
    pub cpus: usize,
    /// Version and major revision of the kernel.
    pub kernel: (u32, u32),
    /// The host's own name.
    pub hostname: String,
    /// The small init, bound into containers that ask for it.
    pub init: PathBuf,
    /// Whether containers that do not say get it.
    pub init_by_default: bool,
    /// Limits of containers that do not say.
    pub ulimits: Vec<Ulimit>,
    /// Devices of the host: those named by the container, or all for a privileged one.
    pub devices: Vec<HostDevice>,
    /// Major and minor numbers of block devices that have limits.
    pub block_devices: Vec<(String, i64, i64)>,
}

/// A device node of the host, and where it shall appear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostDevice {
    pub path: PathBuf,
    pub kind: char,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub access: String,
}

/// Files on the host that belong to this container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// The directory that the root is mounted over.
    pub root: PathBuf,
    /// Bound over /etc/hostname, /etc/hosts and /etc/resolv.conf.
    pub hostname: PathBuf,
    pub hosts: PathBuf,
    pub resolv_conf: PathBuf,
}

/// Namespaces of other containers that this one shares, as paths below /proc.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joined {
    pub pid: Option<PathBuf>,
    pub network: Option<PathBuf>,
    /// The host name inside, when another container's network decides it.
    pub hostname: Option<String>,
    /// Where that container's hosts and resolv.conf lie.
    pub network_files: Option<PathBuf>,
}

/// The OCI configuration of a container.
pub(crate) fn plan(input: &Input) -> Result<Spec> {
    let capabilities = process::capabilities(&input.spec.security);
    Ok(Spec {
        oci_version: "1.2.0".to_owned(),
        root: Some(Root { path: input.files.root.clone(), readonly: input.spec.security.read_only_root }),
        process: Some(process::process(input, &capabilities)?),
        hostname: own_uts(input).then(|| hostname(input)),
        domainname: own_uts(input).then(|| input.spec.identity.domainname.clone()).flatten(),
        mounts: mounts::mounts(input),
        linux: Some(linux(input, &capabilities)?),
        ..Spec::default()
    })
}

/// The host name inside.
pub(crate) fn hostname(input: &Input) -> String {
    if !own_uts(input) {
        return input.host.hostname.clone();
    }
    let asked = input.spec.identity.hostname.clone().or_else(|| input.joined.hostname.clone());
    match (asked, &input.spec.network.mode) {
        (Some(name), _) => name,
        (None, NetworkMode::Host) => input.host.hostname.clone(),
        (None, _) => input.id.short().to_owned(),
    }
}

/// Where the container's control group lies in every hierarchy.
pub(crate) fn cgroup_path(id: &Id, spec: &ContainerSpec) -> String {
    let parent = spec.limits.cgroup_parent.as_deref().unwrap_or("/tare");
    format!("{}/{id}", crate::spec::clean(Path::new(parent)).display())
}

fn own_uts(input: &Input) -> bool {
    input.spec.namespaces.uts != NamespaceMode::Host
}

fn linux(input: &Input, capabilities: &[tare_model::Capability]) -> Result<Linux> {
    let security = &input.spec.security;
    let privileged = security.privileged;
    let or_default = |chosen: &Option<Vec<PathBuf>>, default: Vec<PathBuf>| match chosen {
        Some(paths) => paths.clone(),
        None if privileged => Vec::new(),
        None => default,
    };
    Ok(Linux {
        namespaces: namespaces(input)?,
        devices: resources::devices(input),
        cgroups_path: Some(cgroup_path(input.id, input.spec)),
        resources: Some(resources::resources(input)),
        seccomp: crate::seccomp::filter(&security.seccomp, privileged, capabilities, input.host.kernel)?,
        sysctl: resources::sysctls(input),
        masked_paths: or_default(&security.masked_paths, masked_paths(input.host.cpus)),
        readonly_paths: or_default(
            &security.readonly_paths,
            READONLY_PATHS.iter().map(PathBuf::from).collect(),
        ),
        rootfs_propagation: mounts::root_propagation(input.mounts),
        ..Linux::default()
    })
}

fn namespaces(input: &Input) -> Result<Vec<Namespace>> {
    let wanted = &input.spec.namespaces;
    if wanted.user != NamespaceMode::Private && wanted.user != NamespaceMode::Host {
        return Err(Error::NotSupported("sharing the user namespace of another container".to_owned()));
    }
    let new = |kind| Namespace { kind, path: None };
    let mut namespaces = vec![new(NamespaceKind::Mount)];
    let mut add = |kind, mode: &NamespaceMode, joined: &Option<PathBuf>| match mode {
        NamespaceMode::Host => {}
        NamespaceMode::Private => namespaces.push(new(kind)),
        NamespaceMode::Container(_) => namespaces.push(Namespace { kind, path: joined.clone() }),
    };
    let network = match &input.spec.network.mode {
        NetworkMode::Host => NamespaceMode::Host,
        NetworkMode::Container(name) => NamespaceMode::Container(name.clone()),
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::Named(_) => NamespaceMode::Private,
    };
    add(NamespaceKind::Network, &network, &input.joined.network);
    add(NamespaceKind::Uts, &wanted.uts, &None);
    add(NamespaceKind::Pid, &wanted.pid, &input.joined.pid);
    add(NamespaceKind::Cgroup, &wanted.cgroup, &None);
    if wanted.ipc != IpcMode::Host {
        add(NamespaceKind::Ipc, &NamespaceMode::Private, &None);
    }
    Ok(namespaces)
}

fn masked_paths(cpus: usize) -> Vec<PathBuf> {
    let thermal =
        (0..cpus).map(|cpu| PathBuf::from(format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle")));
    MASKED_PATHS.iter().map(PathBuf::from).chain(thermal).collect()
}

#[cfg(test)]
mod tests;
