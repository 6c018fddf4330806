use std::path::PathBuf;

use tare_container::{DeviceSpec, SecuritySpec};
use tare_docker_api::{DeviceMapping, HostConfig};
use tare_model::Capability;

use super::parsed;
use crate::{Error, Result};

pub(super) fn check(host: &HostConfig) -> Result<SecuritySpec> {
    let dropped = capabilities("CapDrop", host.cap_drop.as_ref())?;
    let mut added = capabilities("CapAdd", host.cap_add.as_ref())?;
    if names_all(host.cap_add.as_ref()) {
        // Of all, what is dropped stays dropped; named one by one, adding comes last.
        added.retain(|capability| names_all(host.cap_drop.as_ref()) || !dropped.contains(capability));
    }
    let mut spec = SecuritySpec {
        privileged: host.privileged,
        capabilities_added: added,
        capabilities_dropped: dropped,
        read_only_root: host.readonly_rootfs,
        groups: host.group_add.clone().unwrap_or_default(),
        devices: host.devices.iter().flatten().map(device).collect::<Result<_>>()?,
        device_rules: host
            .device_cgroup_rules
            .iter()
            .flatten()
            .map(|rule| parsed(rule))
            .collect::<Result<_>>()?,
        sysctls: host.sysctls.clone().unwrap_or_default(),
        masked_paths: paths(host.masked_paths.as_ref())?,
        readonly_paths: paths(host.readonly_paths.as_ref())?,
        ..SecuritySpec::default()
    };
    for option in host.security_opt.iter().flatten() {
        spec.apply_option(option)?;
    }
    Ok(spec)
}

fn names_all(names: Option<&Vec<String>>) -> bool {
    names.into_iter().flatten().any(|name| name.eq_ignore_ascii_case("all"))
}

fn capabilities(field: &str, names: Option<&Vec<String>>) -> Result<Vec<Capability>> {
    if names_all(names) {
        return Ok(Capability::all().collect());
    }
    let parse = |name: &String| name.parse().map_err(|why| Error::invalid(format!("invalid {field}: {why}")));
    names.into_iter().flatten().map(parse).collect()
}

fn device(device: &DeviceMapping) -> Result<DeviceSpec> {
    if device.path_on_host.contains('=') && !device.path_on_host.starts_with('/') {
        return Err(Error::unsupported(format!("CDI devices ({})", device.path_on_host)));
    }
    let inside =
        if device.path_in_container.is_empty() { &device.path_on_host } else { &device.path_in_container };
    let access = if device.cgroup_permissions.is_empty() { "rwm" } else { &device.cgroup_permissions };
    Ok(DeviceSpec {
        host: device.path_on_host.clone().into(),
        container: inside.into(),
        access: access.to_owned(),
    })
}

fn paths(list: Option<&Vec<String>>) -> Result<Option<Vec<PathBuf>>> {
    let Some(list) = list else { return Ok(None) };
    match list.iter().find(|path| !path.starts_with('/')) {
        Some(relative) => {
            Err(Error::invalid(format!("the masked or read-only path \"{relative}\" must be absolute")))
        }
        None => Ok(Some(list.iter().map(PathBuf::from).collect())),
    }
}
