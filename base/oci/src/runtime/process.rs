//! `process`: what runs, as whom, and with which rights.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tare_model::Capability;

/// A process to run in the container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// With a pty.
    pub terminal: bool,
    /// The pty's size at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Who it runs as.
    pub user: User,
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Absolute.
    pub cwd: PathBuf,
    /// The five sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// setrlimit(2).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// AppArmor profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    /// /proc/PID/oom_score_adj.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// SELinux label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    /// ioprio_set(2).
    #[serde(rename = "ioPriority", skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// sched_setattr(2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Of a program that joins a running container.
    #[serde(rename = "execCPUAffinity", skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

/// sched_setaffinity(2), lists as `0-3,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuAffinity {
    /// Before it is in the container's cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// From then on.
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Numeric ids, in the container's user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// umask(2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups, exactly these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// capabilities(7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "NamedCapabilities")]
pub struct Capabilities {
    /// Upper bound.
    pub bounding: Vec<Capability>,
    /// In force.
    pub effective: Vec<Capability>,
    /// Kept over execve with file capabilities; must stay empty for safety.
    pub inheritable: Vec<Capability>,
    /// May be put in force.
    pub permitted: Vec<Capability>,
    /// Kept over execve for non-root users.
    pub ambient: Vec<Capability>,
    /// Names in any of them that this version does not know; they grant nothing.
    #[serde(skip)]
    pub unknown: Vec<String>,
}

/// As they are written. A kernel to come may have more than are known here, which must not keep a container from running.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct NamedCapabilities {
    bounding: Vec<String>,
    effective: Vec<String>,
    inheritable: Vec<String>,
    permitted: Vec<String>,
    ambient: Vec<String>,
}

impl From<NamedCapabilities> for Capabilities {
    fn from(named: NamedCapabilities) -> Self {
        let mut unknown = Vec::new();
        let mut known = |names: Vec<String>| {
            let mut list = Vec::with_capacity(names.len());
            for name in names {
                match name.parse() {
                    Ok(capability) => list.push(capability),
                    Err(_) if unknown.contains(&name) => {}
                    Err(_) => unknown.push(name),
                }
            }
            list
        };
        let NamedCapabilities { bounding, effective, inheritable, permitted, ambient } = named;
        let [bounding, effective, inheritable, permitted, ambient] =
            [bounding, effective, inheritable, permitted, ambient].map(&mut known);
        Self { bounding, effective, inheritable, permitted, ambient, unknown }
    }
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Soft.
    pub soft: u64,
    /// Hard.
    pub hard: u64,
}

/// ioprio_set(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `_BE`, `_IDLE`.
    pub class: String,
    /// 0 to 7.
    #[serde(default)]
    pub priority: i32,
}

/// sched_setattr(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scheduler {
    /// `SCHED_OTHER`, …
    pub policy: String,
    /// -20 to 19.
    pub nice: i32,
    /// 1 to 99 for real-time policies.
    pub priority: i32,
    /// `SCHED_FLAG_…`.
    pub flags: Vec<String>,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}
