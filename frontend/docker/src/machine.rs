//! What `info` and `version` tell of the machine, read from proc(5) and os-release(5).

use std::fs;

/// The kernel's release, `6.1.0-18-amd64`.
pub(crate) fn kernel() -> String {
    proc("sys/kernel/osrelease")
}

/// The machine's name.
pub(crate) fn hostname() -> String {
    proc("sys/kernel/hostname")
}

/// Whether packets are passed on between interfaces.
pub(crate) fn forwards_ipv4() -> bool {
    proc("sys/net/ipv4/ip_forward") == "1"
}

/// Bytes of memory.
pub(crate) fn memory() -> u64 {
    let meminfo = proc("meminfo");
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.map_or(0, |count| count << 10)
}

/// Processors that this program may use.
pub(crate) fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

/// Descriptors that this program has open.
pub(crate) fn descriptors() -> u64 {
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

/// The distribution's name for people, and its version.
pub(crate) fn system() -> (String, String) {
    let release =
        fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    let release = release.unwrap_or_default();
    (
        field(&release, "PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
        field(&release, "VERSION_ID").unwrap_or_default(),
    )
}

fn field(release: &str, name: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

fn proc(file: &str) -> String {
    fs::read_to_string(format!("/proc/{file}")).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_describes_itself() {
        assert!(!kernel().is_empty() && memory() > 1 << 20 && processors() > 0 && descriptors() > 2);
        assert_eq!(field("A=1\nPRETTY_NAME=\"Debian 12\"\n", "PRETTY_NAME").as_deref(), Some("Debian 12"));
        assert_eq!(field("PRETTY_NAMES=x", "PRETTY_NAME"), None);
    }
}
