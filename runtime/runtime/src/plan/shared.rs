use tare_oci::runtime::{Linux, Spec};
use tare_sys::clone;

use super::namespace::Namespaces;
use crate::error::{Error, Result};

/// Without a mount namespace the container shares the runtime's: what is mounted for it would be mounted on the host, and
/// stay there when it is gone.
pub(super) fn check(spec: &Spec, linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    if namespaces.has(clone::NEW_MOUNT) {
        return Ok(());
    }
    let mounted = [
        ("mounts", !spec.mounts.is_empty()),
        ("root.readonly", spec.root.as_ref().is_some_and(|root| root.readonly)),
        ("linux.maskedPaths", !linux.masked_paths.is_empty()),
        ("linux.readonlyPaths", !linux.readonly_paths.is_empty()),
        ("linux.rootfsPropagation", linux.rootfs_propagation.as_ref().is_some_and(|kind| !kind.is_empty())),
    ];
    if let Some((field, _)) = mounted.into_iter().find(|(_, asked)| *asked) {
        let rule = "needs a mount namespace in linux.namespaces: it would change the host's mounts, and stay";
        return Err(Error::spec(field, rule));
    }
    if namespaces.has(clone::NEW_USER) {
        let rule = "must hold a mount namespace beside the user namespace: devices are bound there";
        return Err(Error::spec("linux.namespaces", rule));
    }
    Ok(())
}
