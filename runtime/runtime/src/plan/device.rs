use std::path::PathBuf;

use tare_oci::runtime;

use super::inside;
use crate::error::{Error, Result};

/// A node of /dev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) path: PathBuf,
    pub(crate) kind: DeviceKind,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

/// What sort of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    Character,
    Block,
    Pipe,
}

/// Every container has these.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The default devices and those that were asked for; the latter win.
pub(crate) fn plan(list: &[runtime::Device]) -> Result<Vec<Device>> {
    let asked = list
        .iter()
        .enumerate()
        .map(|(i, d)| device(&format!("linux.devices[{i}]"), d))
        .collect::<Result<Vec<_>>>()?;
    let default = DEFAULT.map(|(path, major, minor)| Device {
        path: PathBuf::from(path),
        kind: DeviceKind::Character,
        major,
        minor,
        mode: 0o666,
        owner: (0, 0),
    });
    let default = default.into_iter().filter(|d| !asked.iter().any(|a| a.path == d.path));
    Ok(default.chain(asked.iter().cloned()).collect())
}

fn device(field: &str, device: &runtime::Device) -> Result<Device> {
    let kind = match device.kind.as_str() {
        "c" | "u" => DeviceKind::Character,
        "b" => DeviceKind::Block,
        "p" => DeviceKind::Pipe,
        other => {
            return Err(Error::spec(
                format!("{field}.type"),
                format!("must be c, u, b or p, not \"{other}\""),
            ));
        }
    };
    // As many bits as the kernel gives to each.
    for (name, number, bits) in [("major", device.major, 12), ("minor", device.minor, 20)] {
        if number >> bits != 0 {
            return Err(Error::spec(format!("{field}.{name}"), format!("must be below {}", 1 << bits)));
        }
    }
    let mode = device.file_mode.unwrap_or(0o666);
    Ok(Device {
        path: inside(&format!("{field}.path"), &device.path)?,
        kind,
        major: device.major,
        minor: device.minor,
        mode: mode & 0o7777,
        owner: (device.uid.unwrap_or(0), device.gid.unwrap_or(0)),
    })
}
