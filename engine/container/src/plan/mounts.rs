use std::path::{Path, PathBuf};

use tare_oci::runtime::Mount;

use super::{INIT_TARGET, Input};
use crate::container::{MountKind, MountPoint};
use crate::spec::IpcMode;

const DEFAULT_SHM: i64 = 64 << 20;

/// Everything that is mounted in the container, in order: shallow targets first, so that none covers another.
pub(super) fn mounts(input: &Input) -> Vec<Mount> {
    let mut own: Vec<Mount> = input.mounts.iter().map(mount_point).collect();
    own.sort_by_key(|mount| mount.destination.components().count());
    let covered = |target: &Path| own.iter().any(|mount| mount.destination == target);
    let mut mounts: Vec<Mount> =
        system(input).into_iter().filter(|mount| !covered(&mount.destination)).collect();
    mounts.extend(files(input).into_iter().filter(|mount| !covered(&mount.destination)));
    if has_init(input) {
        mounts.push(bind(&input.host.init, INIT_TARGET, &["rbind", "ro", "rprivate"]));
    }
    mounts.extend(own);
    mounts
}

/// Whether the container's first process is the daemon's small init. It makes no sense in another's process namespace.
pub(super) fn has_init(input: &Input) -> bool {
    let asked = input.spec.lifecycle.init.unwrap_or(input.host.init_by_default);
    asked && input.spec.namespaces.pid == crate::spec::NamespaceMode::Private
}

/// A bind that shall see later mounts of the host, or show its own, needs a root that lets them through.
pub(super) fn root_propagation(mounts: &[MountPoint]) -> Option<String> {
    let any = |words: [&str; 2]| mounts.iter().any(|mount| words.contains(&mount.propagation.as_str()));
    match (any(["shared", "rshared"]), any(["slave", "rslave"])) {
        (true, _) => Some("shared".to_owned()),
        (false, true) => Some("slave".to_owned()),
        (false, false) => None,
    }
}

fn system(input: &Input) -> Vec<Mount> {
    let access = if input.spec.security.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("proc", "/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "devpts",
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("sysfs", "/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("cgroup", "/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", access]),
    ];
    // Message queues are those of the namespace that the mount is made in, shared memory is a plain directory.
    mounts.push(mount("mqueue", "/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    if input.spec.namespaces.ipc == IpcMode::Host {
        mounts.push(bind("/dev/shm", "/dev/shm", &["rbind", "nosuid", "noexec", "nodev"]));
        return mounts;
    }
    if input.spec.namespaces.ipc != IpcMode::None {
        let size =
            format!("size={}", input.spec.limits.shm_size.filter(|size| *size > 0).unwrap_or(DEFAULT_SHM));
        mounts.push(mount("tmpfs", "/dev/shm", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]));
    }
    mounts
}

/// The three files that say who and where the container is.
fn files(input: &Input) -> Vec<Mount> {
    let access = if input.spec.security.read_only_root { "ro" } else { "rw" };
    let options = ["rbind", "rprivate", access];
    vec![
        bind(&input.files.resolv_conf, "/etc/resolv.conf", &options),
        bind(&input.files.hostname, "/etc/hostname", &options),
        bind(&input.files.hosts, "/etc/hosts", &options),
    ]
}

fn mount_point(point: &MountPoint) -> Mount {
    let access = if point.writable { "rw" } else { "ro" };
    match &point.kind {
        MountKind::Bind { source, non_recursive } => {
            let kind = if *non_recursive { "bind" } else { "rbind" };
            bind(source, &point.target, &[kind, access, &point.propagation])
        }
        MountKind::Volume { source, .. } => bind(source, &point.target, &["rbind", access, "rprivate"]),
        MountKind::Overlay { options } => mount(
            "overlay",
            point.target.clone(),
            "overlay",
            &options.iter().map(String::as_str).collect::<Vec<_>>(),
        ),
        MountKind::Tmpfs { options } => {
            let mut words = vec!["noexec".to_owned(), "nosuid".to_owned(), "nodev".to_owned()];
            for option in options {
                let opposite = option.strip_prefix("no").map_or_else(|| format!("no{option}"), str::to_owned);
                words.retain(|word| *word != opposite && word != option);
                words.push(option.clone());
            }
            if !point.writable {
                words.push("ro".to_owned());
            }
            Mount {
                destination: point.target.clone(),
                kind: Some("tmpfs".into()),
                source: Some("tmpfs".into()),
                options: words,
                ..Mount::default()
            }
        }
    }
}

fn mount(kind: &str, target: impl Into<PathBuf>, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: target.into(),
        kind: Some(kind.to_owned()),
        source: Some(source.into()),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

fn bind(source: impl AsRef<Path>, target: impl Into<PathBuf>, options: &[&str]) -> Mount {
    Mount {
        destination: target.into(),
        kind: Some("bind".to_owned()),
        source: Some(source.as_ref().to_owned()),
        options: options
            .iter()
            .filter(|option| !option.is_empty())
            .map(|option| (*option).to_owned())
            .collect(),
        ..Mount::default()
    }
}
