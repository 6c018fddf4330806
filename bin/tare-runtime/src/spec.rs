//! `tare-runtime spec`: a config.json to start from, as confined as a default container.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::process::{getegid, geteuid};
use tare_model::DEFAULT_CAPABILITIES;
use tare_oci::paths::{MASKED_PATHS, READONLY_PATHS};
use tare_oci::runtime::{
    Capabilities, DeviceRule, IdMapping, Linux, Mount, Namespace, NamespaceKind, Process, Resources, Root,
    Spec,
};

use crate::failure::{Failure, Outcome};
use crate::flags::{Given, switch, value};

/// Writes it into the bundle, where there must be none yet.
pub(crate) fn command(arguments: &[&str]) -> Outcome {
    let given = Given::parse_anywhere(arguments, &[value("bundle", "b"), switch("rootless", "")])?;
    if let Some(extra) = given.rest.first() {
        return Err(Failure::new(format!("unexpected argument {extra}")));
    }
    let path = Path::new(given.value("bundle").unwrap_or(".")).join("config.json");
    let mut spec = example();
    if given.is("rootless") {
        make_rootless(&mut spec, (geteuid().as_raw(), getegid().as_raw()));
    }
    let text = serde_json::to_string_pretty(&spec).map_err(Failure::new)? + "\n";
    let written = File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))?;
    Ok(0)
}

/// The version of the specification that this follows.
pub(crate) const VERSION: &str = "1.2.0";

const MOUNTS: [(&str, &str, &str, &str); 7] = [
    ("/proc", "proc", "proc", "nosuid,noexec,nodev"),
    ("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
];

/// Runs a shell in `rootfs`.
fn example() -> Spec {
    Spec {
        oci_version: VERSION.to_owned(),
        root: Some(Root { path: PathBuf::from("rootfs"), readonly: true }),
        process: Some(process()),
        hostname: Some("tare".to_owned()),
        mounts: MOUNTS.iter().map(mount).collect(),
        linux: Some(linux()),
        ..Spec::default()
    }
}

/// For a user who has nothing but the own two ids: no network namespace, no limits, and the host's /sys.
fn make_rootless(spec: &mut Spec, (uid, gid): (u32, u32)) {
    let foreign = |option: &String| option.starts_with("gid=") || option.starts_with("uid=");
    spec.mounts.retain(|mount| mount.destination != Path::new("/sys"));
    spec.mounts.iter_mut().for_each(|mount| mount.options.retain(|option| !foreign(option)));
    let sys = mount(&("/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro"));
    // Below it comes the container's own view of the cgroups.
    let place = spec.mounts.iter().position(|mount| mount.destination.starts_with("/sys"));
    spec.mounts.insert(place.unwrap_or(spec.mounts.len()), sys);
    let Some(linux) = spec.linux.as_mut() else { return };
    linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Network);
    linux.namespaces.push(Namespace { kind: NamespaceKind::User, path: None });
    linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: uid, size: 1 }];
    linux.gid_mappings = vec![IdMapping { container_id: 0, host_id: gid, size: 1 }];
    linux.resources = None;
}

fn process() -> Process {
    let capabilities = DEFAULT_CAPABILITIES.to_vec();
    Process {
        args: vec!["sh".to_owned()],
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        cwd: PathBuf::from("/"),
        no_new_privileges: true,
        capabilities: Some(Capabilities {
            bounding: capabilities.clone(),
            effective: capabilities.clone(),
            permitted: capabilities,
            ..Capabilities::default()
        }),
        ..Process::default()
    }
}

fn mount((destination, kind, source, options): &(&str, &str, &str, &str)) -> Mount {
    Mount {
        destination: PathBuf::from(destination),
        kind: Some((*kind).to_owned()),
        source: Some(PathBuf::from(source)),
        options: options.split(',').map(str::to_owned).collect(),
        ..Mount::default()
    }
}

fn linux() -> Linux {
    use NamespaceKind as N;
    let namespace = |kind| Namespace { kind, path: None };
    let deny = DeviceRule { allow: false, access: Some("rwm".to_owned()), ..DeviceRule::default() };
    Linux {
        namespaces: [N::Pid, N::Network, N::Ipc, N::Uts, N::Mount, N::Cgroup].map(namespace).to_vec(),
        resources: Some(Resources { devices: vec![deny], ..Resources::default() }),
        masked_paths: MASKED_PATHS.map(PathBuf::from).to_vec(),
        readonly_paths: READONLY_PATHS.map(PathBuf::from).to_vec(),
        ..Linux::default()
    }
}
