//! Interfaces that are moved into the container.

use std::collections::BTreeMap;

use tare_oci::runtime;
use tare_sys::clone;

use super::Namespaces;
use crate::error::{Error, Result};

/// An interface of the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NetDevice {
    pub(crate) name: String,
    /// Its name in the container.
    pub(crate) inside: String,
}

pub(super) fn plan(
    devices: &BTreeMap<String, runtime::NetDevice>,
    namespaces: &Namespaces,
) -> Result<Vec<NetDevice>> {
    if !devices.is_empty() && !namespaces.has(clone::NEW_NETWORK) {
        return Err(Error::spec("linux.netDevices", "needs a network namespace in linux.namespaces"));
    }
    let mut plan: Vec<NetDevice> = Vec::new();
    for (name, device) in devices {
        let field = format!("linux.netDevices.{name}");
        let inside = if device.name.is_empty() { name } else { &device.name };
        if ![name, inside].into_iter().all(|name| is_name(name)) {
            return Err(Error::spec(
                field,
                "is no name of an interface: at most 15 bytes without /, :, % and spaces",
            ));
        }
        if plan.iter().any(|other| other.inside == *inside) {
            return Err(Error::spec(field + ".name", "is the name of another interface inside"));
        }
        plan.push(NetDevice { name: name.clone(), inside: inside.clone() });
    }
    Ok(plan)
}

/// As the kernel has it; `%` would be a pattern.
fn is_name(name: &str) -> bool {
    let forbidden = |c: char| matches!(c, '/' | ':' | '%' | '\0') || c.is_whitespace();
    !name.is_empty() && name.len() < 16 && !matches!(name, "." | "..") && !name.contains(forbidden)
}
