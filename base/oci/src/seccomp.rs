//! Seccomp profiles in Docker's own form: those of the runtime specification, with rules that hold for certain
//! capabilities, architectures and kernels only. This is what people keep in files and what clients send.

use std::collections::BTreeSet;

use serde::Deserialize;
use tare_model::Capability;

use crate::runtime::{Seccomp, SyscallArgument, SyscallRule};

/// A profile as a file holds it. Reading it as [`Seccomp`] would apply every rule to everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<Architecture>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<std::path::PathBuf>,
    #[serde(default)]
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<SyscallArgument>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<BTreeSet<String>>,
    #[serde(default)]
    arches: Option<BTreeSet<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// What decides which rules hold.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The container's bounding set.
    pub capabilities: &'a [Capability],
    /// By Go's name: `amd64`, `arm64`.
    pub architecture: &'a str,
    /// Version and major revision, as in `6.1`.
    pub kernel: (u32, u32),
}

impl Profile {
    /// The rules that hold, as the runtime specification writes them.
    ///
    /// # Errors
    /// What contradicts itself, as Docker words it.
    pub fn resolve(self, circumstances: Circumstances<'_>) -> Result<Seccomp, String> {
        let architectures = self.architectures.unwrap_or_default();
        let map = self.arch_map.unwrap_or_default();
        if !architectures.is_empty() && !map.is_empty() {
            return Err("use either 'architectures' or 'archMap'".to_owned());
        }
        let mut syscalls = Vec::new();
        for rule in self.syscalls.unwrap_or_default() {
            if rule.holds(circumstances)? {
                syscalls.push(rule.plain()?);
            }
        }
        Ok(Seccomp {
            default_action: self.default_action,
            default_errno_ret: self.default_errno_ret,
            architectures: if map.is_empty() {
                architectures
            } else {
                mapped(map, circumstances.architecture)
            },
            flags: self.flags.unwrap_or_default(),
            listener_path: self.listener_path,
            listener_metadata: self.listener_metadata,
            syscalls,
        })
    }
}

fn mapped(map: Vec<Architecture>, architecture: &str) -> Vec<String> {
    let native = match architecture {
        "amd64" => "SCMP_ARCH_X86_64",
        "arm64" => "SCMP_ARCH_AARCH64",
        "386" => "SCMP_ARCH_X86",
        "arm" => "SCMP_ARCH_ARM",
        "s390x" => "SCMP_ARCH_S390X",
        "riscv64" => "SCMP_ARCH_RISCV64",
        "ppc64le" => "SCMP_ARCH_PPC64LE",
        _ => return Vec::new(),
    };
    let entry = map.into_iter().find(|entry| entry.architecture == native);
    entry
        .map(|entry| [vec![entry.architecture], entry.sub_architectures.unwrap_or_default()].concat())
        .unwrap_or_default()
}

impl Rule {
    fn holds(&self, circumstances: Circumstances<'_>) -> Result<bool, String> {
        let has = |name: &String| {
            name.parse().is_ok_and(|capability: Capability| circumstances.capabilities.contains(&capability))
        };
        let here = |arches: &BTreeSet<String>| arches.contains(circumstances.architecture);
        let new_enough = |filter: &Filter| -> Result<bool, String> {
            filter.min_kernel.as_deref().map_or(Ok(true), |text| Ok(circumstances.kernel >= kernel(text)?))
        };
        let includes = self.includes.clone().unwrap_or_default();
        let excludes = self.excludes.clone().unwrap_or_default();
        let included = includes.caps.iter().flatten().all(has)
            && includes.arches.as_ref().is_none_or(|arches| arches.is_empty() || here(arches))
            && new_enough(&includes)?;
        let excluded = excludes.caps.iter().flatten().any(has)
            || excludes.arches.as_ref().is_some_and(here)
            || (excludes.min_kernel.is_some() && new_enough(&excludes)?);
        Ok(included && !excluded)
    }

    fn plain(self) -> Result<SyscallRule, String> {
        let names = match (self.name, self.names.unwrap_or_default()) {
            (Some(_), names) if !names.is_empty() => return Err("use either 'name' or 'names'".to_owned()),
            (Some(name), _) => vec![name],
            (None, names) => names,
        };
        let args = self.args.unwrap_or_default();
        Ok(SyscallRule { names, action: self.action, errno_ret: self.errno_ret, args })
    }
}

fn kernel(text: &str) -> Result<(u32, u32), String> {
    let parsed =
        text.split_once('.').and_then(|(version, major)| Some((version.parse().ok()?, major.parse().ok()?)));
    parsed.ok_or_else(|| format!("invalid kernel version \"{text}\": two numbers joined by a dot are wanted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                    {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null}],
        "syscalls": [
            {"names": ["always"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["boot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_BOOT"]}},
            {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
            {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"name": "humble", "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}}
        ]}"#;

    fn resolved(capabilities: &[&str], kernel: (u32, u32)) -> (Vec<String>, Vec<String>) {
        let capabilities: Vec<Capability> = capabilities.iter().map(|name| name.parse().unwrap()).collect();
        let circumstances = Circumstances { capabilities: &capabilities, architecture: "amd64", kernel };
        let profile: Profile = serde_json::from_str(TEXT).unwrap();
        let seccomp = profile.resolve(circumstances).unwrap();
        (seccomp.architectures, seccomp.syscalls.into_iter().flat_map(|rule| rule.names).collect())
    }

    #[test]
    fn rules_hold_where_they_say() {
        let (architectures, names) = resolved(&[], (6, 1));
        assert_eq!(architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        assert_eq!(names, ["always", "humble"]);
        assert_eq!(resolved(&["SYS_BOOT", "SYS_ADMIN"], (6, 2)).1, ["always", "boot", "new"]);
        assert_eq!(resolved(&[], (10, 0)).1, ["always", "new", "humble"]);
    }

    #[test]
    fn contradictions_are_named() {
        let circumstances = Circumstances { capabilities: &[], architecture: "amd64", kernel: (6, 1) };
        let resolve = |text: &str| serde_json::from_str::<Profile>(text).unwrap().resolve(circumstances);
        assert!(
            resolve(r#"{"defaultAction":"A","syscalls":[{"name":"a","names":["b"],"action":"A"}]}"#).is_err()
        );
        assert!(resolve(r#"{"defaultAction":"A","syscalls":[{"names":["b"],"action":"A","includes":{"minKernel":"6"}}]}"#).is_err());
        assert!(serde_json::from_str::<Profile>(r#"{"syscalls":[]}"#).is_err());
    }
}
