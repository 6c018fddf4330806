//! What a start has to know of the host, and the three files that tell a container where it is.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::FileType;
use tare_network::{DnsOverrides, Endpoint};

use crate::engine::Config;
use crate::error::Step;
use crate::plan::{self, Files, Host, HostDevice, Input};
use crate::spec::{ContainerSpec, DeviceSpec, NetworkMode, Ulimit};
use crate::{Error, Result};

/// How deep below /dev devices are looked for.
const DEVICE_DEPTH: u32 = 8;

/// How many processors are online; at least one.
pub(crate) fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| {
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
        let last = online.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
        last.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |last| last + 1)
    })
}

/// Everything about the host that decides about a container.
pub(crate) fn facts(config: &Config, spec: &ContainerSpec) -> Result<Host> {
    let uname = rustix::system::uname();
    Ok(Host {
        cpus: cpus(),
        kernel: kernel(&uname.release().to_string_lossy()),
        hostname: uname.nodename().to_string_lossy().into_owned(),
        init: config.init.clone(),
        init_by_default: config.defaults.init,
        ulimits: ulimits(&config.defaults.ulimits),
        devices: devices(spec)?,
        block_devices: block_devices(spec)?,
    })
}

/// The default limits, and where none of them is for descriptors what the daemon itself was started with: the shim has a
/// higher one, which is not meant for programs.
fn ulimits(default: &[Ulimit]) -> Vec<Ulimit> {
    let mut ulimits = default.to_vec();
    if !ulimits.iter().any(|limit| limit.name == "nofile") {
        let value = |limit: Option<u64>| limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1);
        let ours = tare_sys::descriptors::started_with();
        let (soft, hard) = (value(ours.current), value(ours.maximum));
        ulimits.push(Ulimit { name: "nofile".to_owned(), soft, hard });
    }
    ulimits
}

/// The first two numbers of a release such as `6.18.3-arch1`; what cannot be read counts as old.
fn kernel(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn devices(spec: &ContainerSpec) -> Result<Vec<HostDevice>> {
    let mut devices = Vec::new();
    if spec.security.privileged {
        collect(Path::new("/dev"), Path::new("/dev"), "rwm", DEVICE_DEPTH, &mut devices);
        let own = ["console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"];
        devices.retain(|device| !own.iter().any(|name| device.path == Path::new("/dev").join(name)));
    }
    for wanted in &spec.security.devices {
        add_device(wanted, &mut devices)?;
    }
    Ok(devices)
}

fn add_device(wanted: &DeviceSpec, devices: &mut Vec<HostDevice>) -> Result<()> {
    let missing = |error: std::io::Error| {
        let message = format!(
            "error gathering device information while adding custom device \"{}\": {error}",
            wanted.host.display()
        );
        Error::InvalidSpec(message)
    };
    // Links on the host, as /dev/disk/by-id/…, are the administrator's and followed.
    let host = std::fs::canonicalize(&wanted.host).map_err(missing)?;
    if host.is_dir() {
        collect(&host, &wanted.container, &wanted.access, DEVICE_DEPTH, devices);
        return Ok(());
    }
    let device = device(&host, wanted.container.clone(), &wanted.access);
    let device = device.ok_or_else(|| missing(std::io::Error::other("not a device node")))?;
    devices.retain(|known| known.path != device.path);
    devices.push(device);
    Ok(())
}

/// Every device below `host`, at the same place below `container`. What comes with mounts of their own is left out.
fn collect(host: &Path, container: &Path, access: &str, depth: u32, devices: &mut Vec<HostDevice>) {
    const OTHERS: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
    let entries = std::fs::read_dir(host).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| !OTHERS.iter().any(|other| entry.file_name() == *other)) {
        let target = container.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => {
                collect(&entry.path(), &target, access, depth - 1, devices)
            }
            Ok(_) => devices.extend(device(&entry.path(), target, access)),
            Err(_) => {}
        }
    }
}

fn device(host: &Path, container: PathBuf, access: &str) -> Option<HostDevice> {
    let stat = rustix::fs::lstat(host).ok()?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => 'b',
        FileType::CharacterDevice => 'c',
        _ => return None,
    };
    Some(HostDevice {
        path: container,
        kind,
        major: rustix::fs::major(stat.st_rdev),
        minor: rustix::fs::minor(stat.st_rdev),
        mode: stat.st_mode & 0o777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        access: access.to_owned(),
    })
}

fn block_devices(spec: &ContainerSpec) -> Result<Vec<(String, i64, i64)>> {
    let limits = &spec.limits.block_io;
    let rates = [&limits.read_bps, &limits.write_bps, &limits.read_iops, &limits.write_iops];
    let paths = rates
        .into_iter()
        .flatten()
        .map(|rate| &rate.path)
        .chain(limits.weight_device.iter().map(|device| &device.path));
    let paths: BTreeSet<&String> = paths.collect();
    let numbers = |path: &&String| {
        let stat = rustix::fs::stat(path.as_str())
            .ok()
            .filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice);
        let stat = stat.ok_or_else(|| Error::InvalidSpec(format!("{path} is not a block device")))?;
        Ok(((*path).clone(), rustix::fs::major(stat.st_rdev).into(), rustix::fs::minor(stat.st_rdev).into()))
    };
    paths.iter().map(numbers).collect()
}

/// Writes /etc/hostname, /etc/hosts and /etc/resolv.conf of a container.
pub(crate) fn write_network_files(
    config: &Config,
    files: &Files,
    input: &Input,
    endpoint: Option<&Endpoint>,
) -> Result<()> {
    let spec = &input.spec.network;
    let on_host = spec.mode == NetworkMode::Host;
    let hostname = plan::hostname(input);
    write(&files.hostname, &tare_network::hostname_file(&hostname))?;
    let endpoint = endpoint.filter(|endpoint| endpoint.has_address());
    let gateway = endpoint.map(|endpoint| endpoint.gateway).or(Some(Ipv4Addr::LOCALHOST));
    let extra: Vec<(String, IpAddr)> =
        spec.extra_hosts.iter().filter_map(|text| tare_network::extra_host(text, gateway)).collect();
    let full = input.spec.identity.domainname.as_ref().map(|domain| format!("{hostname}.{domain}"));
    let names: Vec<&str> = full.iter().map(String::as_str).chain([hostname.as_str()]).collect();
    let hosts = match (on_host, std::fs::read_to_string("/etc/hosts")) {
        (true, Ok(mut text)) => {
            extra.iter().for_each(|(name, address)| text.push_str(&format!("{address}\t{name}\n")));
            text
        }
        _ => tare_network::hosts_file(endpoint.map(|endpoint| endpoint.address), &names, &extra),
    };
    write(&files.hosts, &hosts)?;
    write(&files.resolv_conf, &resolv_conf(config, input, on_host))
}

fn resolv_conf(config: &Config, input: &Input, on_host: bool) -> String {
    let (spec, defaults) = (&input.spec.network, &config.defaults);
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let or =
        |own: &[String], default: &[String]| if own.is_empty() { default.to_vec() } else { own.to_vec() };
    let servers: Vec<IpAddr> = if spec.dns.is_empty() { defaults.dns.clone() } else { spec.dns.clone() };
    let overrides = DnsOverrides {
        servers,
        search: or(&spec.dns_search, &defaults.dns_search),
        options: or(&spec.dns_options, &defaults.dns_options),
    };
    let untouched =
        overrides.servers.is_empty() && overrides.search.is_empty() && overrides.options.is_empty();
    if on_host && untouched { text } else { tare_network::resolv_conf(&text, &overrides) }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).step(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_and_others_refused() {
        let mut spec = ContainerSpec::default();
        let wanted =
            |host: &str| DeviceSpec { host: host.into(), container: "/dev/x".into(), access: "r".into() };
        spec.security.devices = vec![wanted("/dev/null")];
        let found = devices(&spec).unwrap();
        assert_eq!(
            (found[0].kind, found[0].major, found[0].minor, found[0].access.as_str()),
            ('c', 1, 3, "r")
        );
        for bad in ["/etc/passwd", "/dev/no-such-device"] {
            spec.security.devices = vec![wanted(bad)];
            assert!(matches!(devices(&spec), Err(Error::InvalidSpec(_))), "{bad}");
        }
    }

    #[test]
    fn the_host_is_known() {
        assert!(cpus() >= 1);
        assert_eq!(kernel("6.18.3-arch1"), (6, 18));
        assert_eq!(kernel("nonsense"), (0, 0));
    }
}
