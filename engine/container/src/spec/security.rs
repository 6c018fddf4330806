use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tare_model::Capability;

use crate::{Error, Result};

/// Privileges.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecuritySpec {
    /// Every capability, every device, no seccomp, nothing masked.
    pub privileged: bool,
    /// Added to the default fourteen.
    pub capabilities_added: Vec<Capability>,
    /// Taken away, before the added ones come.
    pub capabilities_dropped: Vec<Capability>,
    /// The system call filter.
    pub seccomp: SeccompChoice,
    /// execve(2) never gives privileges.
    pub no_new_privileges: bool,
    /// The root file system is read-only.
    pub read_only_root: bool,
    /// Supplementary groups, by name or number.
    pub groups: Vec<String>,
    /// Host devices inside.
    pub devices: Vec<DeviceSpec>,
    /// Further device access, `c 89:* rwm`.
    pub device_rules: Vec<DeviceAccessRule>,
    /// Below /proc/sys.
    pub sysctls: BTreeMap<String, String>,
    /// Instead of the default masked paths.
    pub masked_paths: Option<Vec<PathBuf>>,
    /// Instead of the default read-only paths.
    pub readonly_paths: Option<Vec<PathBuf>>,
}

/// The system call filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompChoice {
    /// Docker's profile for the container's capabilities.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The caller's own, JSON that was checked.
    Custom(String),
}

/// A host device inside the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// On the host; a directory means every device below it.
    pub host: PathBuf,
    /// In the container, absolute.
    pub container: PathBuf,
    /// Letters of `rwm`.
    pub access: String,
}

/// A rule of the devices control group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAccessRule {
    /// `a`, `b` or `c`.
    pub kind: String,
    /// Absent = any.
    pub major: Option<i64>,
    /// Absent = any.
    pub minor: Option<i64>,
    /// Letters of `rwm`.
    pub access: String,
}

impl SecuritySpec {
    /// Applies one of Docker's `--security-opt` texts; the docker CLI sends a seccomp profile as inlined JSON.
    pub fn apply_option(&mut self, option: &str) -> Result<()> {
        let invalid = || Error::InvalidSpec(format!("invalid --security-opt: \"{option}\""));
        // The first separator decides: `seccomp={"a":…}` holds colons of its own, `label:disable` is the old spelling.
        let at = option.find(['=', ':']);
        let (key, value) = at.map_or((option, ""), |at| (&option[..at], &option[at + 1..]));
        match (key, value) {
            ("no-new-privileges", "" | "true") => self.no_new_privileges = true,
            ("no-new-privileges", "false") => self.no_new_privileges = false,
            ("no-new-privileges", _) => return Err(invalid()),
            ("seccomp", "unconfined") => self.seccomp = SeccompChoice::Unconfined,
            ("seccomp", "builtin") => self.seccomp = SeccompChoice::Default,
            ("seccomp", profile) if profile.trim_start().starts_with('{') => {
                crate::seccomp::check_profile(profile)?;
                self.seccomp = SeccompChoice::Custom(profile.to_owned());
            }
            ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor", profile) if !profile.is_empty() => {
                return Err(Error::NotSupported(format!(
                    "the AppArmor profile \"{profile}\"; use apparmor=unconfined"
                )));
            }
            ("label", label) if !label.is_empty() => {
                return Err(Error::NotSupported(format!("the SELinux label \"{label}\"; use label=disable")));
            }
            ("systempaths", "unconfined") => {
                self.masked_paths = Some(Vec::new());
                self.readonly_paths = Some(Vec::new());
            }
            _ => return Err(invalid()),
        }
        Ok(())
    }
}

impl std::str::FromStr for DeviceAccessRule {
    type Err = Error;

    /// Reads `c 1:3 rwm`, `b *:* r`, `a *:* rwm`.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::InvalidSpec(format!("invalid device cgroup rule format: '{text}'"));
        let number = |text: &str| match text {
            "*" => Ok(None),
            digits => digits.parse::<u32>().map(|n| Some(i64::from(n))).map_err(|_| invalid()),
        };
        let words: Vec<&str> = text.split(' ').collect();
        let [kind @ ("a" | "b" | "c"), numbers, access] = words[..] else { return Err(invalid()) };
        let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
        if !is_access(access) {
            return Err(invalid());
        }
        Ok(Self {
            kind: kind.to_owned(),
            major: number(major)?,
            minor: number(minor)?,
            access: access.to_owned(),
        })
    }
}

/// Whether `text` is one to three letters of `rwm`, none twice.
pub(crate) fn is_access(text: &str) -> bool {
    let letters = text.as_bytes();
    (1..=3).contains(&letters.len())
        && letters
            .iter()
            .enumerate()
            .all(|(at, letter)| b"rwm".contains(letter) && !letters[..at].contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_options_are_read_in_both_spellings() {
        let mut spec = SecuritySpec::default();
        for option in ["no-new-privileges", "label:disable", "apparmor=unconfined", "seccomp=unconfined"] {
            spec.apply_option(option).unwrap();
        }
        assert!(spec.no_new_privileges);
        assert_eq!(spec.seccomp, SeccompChoice::Unconfined);
        spec.apply_option(r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
        assert!(matches!(spec.seccomp, SeccompChoice::Custom(_)));
        assert!(matches!(spec.apply_option("apparmor=mine"), Err(Error::NotSupported(_))));
        for bad in ["", "nonsense", "no-new-privileges=maybe", "seccomp={", "seccomp=/etc/p.json"] {
            assert!(spec.apply_option(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn device_rules_are_read_strictly() {
        let rule: DeviceAccessRule = "c 89:* rw".parse().unwrap();
        assert_eq!((rule.major, rule.minor, rule.access.as_str()), (Some(89), None, "rw"));
        for bad in ["", "c 1:3", "x 1:3 r", "c 1 r", "c -1:3 r", "c 1:3 rr", "c 1:3 rwx", "c  1:3 r"] {
            assert!(bad.parse::<DeviceAccessRule>().is_err(), "{bad}");
        }
    }
}
