//! What the kernel does not let root of a user namespace mount as it is written, and what comes in its place.

use std::path::{Path, PathBuf};

use tare_oci::runtime::IdMapping;
use tare_sys::{clone, mount};

use super::Namespaces;
use super::mount::{Mount, MountKind};

/// Adapts mounts to a user namespace, if there is one. Everywhere, /sys of the host comes in read-only as a whole where
/// it is wanted read-only: below it are the host's cgroups, which the user may own (CVE-2023-25809).
pub(super) fn adapt(mounts: &mut [Mount], namespaces: &Namespaces, gids: &[IdMapping]) {
    for mount in mounts {
        if namespaces.has(clone::NEW_USER) {
            bind_sysfs(mount, namespaces);
            forget_foreign_group(mount, gids);
        }
        if mount.destination == Path::new("/sys") && is_recursive_bind(mount) {
            mount.recursive.set |= mount.attributes.set & mount::READ_ONLY;
        }
    }
}

/// sysfs shows a network namespace, and only its owner may mount it: without an own one it is the host's.
fn bind_sysfs(mount: &mut Mount, namespaces: &Namespaces) {
    let is_sysfs = matches!(&mount.kind, MountKind::New { fs, .. } if fs == "sysfs");
    if is_sysfs && namespaces.new & clone::NEW_NETWORK == 0 {
        mount.kind = MountKind::Bind { source: PathBuf::from("/sys"), recursive: true };
    }
}

/// A terminal's group is 5 by custom, which a user with a single id does not have.
fn forget_foreign_group(mount: &mut Mount, gids: &[IdMapping]) {
    let MountKind::New { fs, parameters, .. } = &mut mount.kind else { return };
    let is_mapped =
        |gid: u32| gids.iter().any(|map| gid >= map.container_id && gid - map.container_id < map.size);
    if fs == "devpts" && !gids.is_empty() {
        parameters.retain(|(name, value)| {
            name != "gid" || value.as_ref().and_then(|gid| gid.parse().ok()).is_none_or(is_mapped)
        });
    }
}

fn is_recursive_bind(mount: &Mount) -> bool {
    matches!(mount.kind, MountKind::Bind { recursive: true, .. })
}
