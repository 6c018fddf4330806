use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A Linux capability, by its number in `linux/capability.h` (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(u8);

const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The fourteen that a container has unless asked otherwise, the same as Docker's; none is ever inheritable (CVE-2022-24769).
pub const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability(0),
    Capability(1),
    Capability(3),
    Capability(4),
    Capability(5),
    Capability(6),
    Capability(7),
    Capability(8),
    Capability(10),
    Capability(13),
    Capability(18),
    Capability(27),
    Capability(29),
    Capability(31),
];

impl Capability {
    /// The bit number in the kernel's sets, 0 to 63.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The bit in a 64-bit set.
    pub const fn bit(self) -> u64 {
        1 << self.0
    }

    /// Every capability known to this version, lowest number first.
    pub fn all() -> impl Iterator<Item = Capability> {
        (0..NAMES.len() as u8).map(Capability)
    }
}

impl FromStr for Capability {
    type Err = String;

    /// Reads a name with or without `CAP_`, in either case.
    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES.iter().position(|known| *known == name);
        number.map(|number| Self(number as u8)).ok_or_else(|| format!("unknown capability \"{text}\""))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CAP_{}", NAMES[usize::from(self.0)])
    }
}

impl TryFrom<String> for Capability {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_dockers_fourteen() {
        let names: Vec<String> = DEFAULT_CAPABILITIES.iter().map(ToString::to_string).collect();
        let expected = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP";
        assert_eq!(names, expected.split(' ').map(|n| format!("CAP_{n}")).collect::<Vec<_>>());
    }

    #[test]
    fn names_are_taken_with_and_without_the_prefix() {
        assert_eq!("net_admin".parse::<Capability>().unwrap().number(), 12);
        assert_eq!("CAP_CHECKPOINT_RESTORE".parse::<Capability>().unwrap().number(), 40);
        assert!("ALL".parse::<Capability>().is_err());
        assert!("é".parse::<Capability>().is_err());
    }
}
