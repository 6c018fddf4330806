//! What a container shall be: the checked description that every front end makes from its own words.

mod limits;
mod mount;
mod namespace;
mod network;
mod security;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tare_model::Signal;

pub use limits::{
    BlockIoLimits, CpuLimits, DeviceRate, DeviceWeight, Limits, MINIMUM_MEMORY, MemoryLimits, Ulimit,
};
pub use mount::{BindPropagation, MountSource, MountSpec, TmpfsOptions};
pub(crate) use mount::{check_target, clean};
pub use namespace::{IpcMode, NamespaceMode, NamespaceSpec};
pub use network::{NetworkMode, NetworkSpec};
pub(crate) use security::is_access;
pub use security::{DeviceAccessRule, DeviceSpec, SeccompChoice, SecuritySpec};

/// A container as asked for. Parsed fields are valid by their types; [`ContainerSpec::check`] holds the rules between
/// fields, and the engine calls it once, at creation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// The image, as the user named it.
    pub image: String,
    /// What runs, as whom and where.
    pub command: CommandSpec,
    /// Terminal and standard streams.
    pub streams: StreamSpec,
    /// What the container is called inside.
    pub identity: IdentitySpec,
    /// How it is stopped, restarted, logged and removed.
    pub lifecycle: LifecycleSpec,
    /// Which network, which ports.
    pub network: NetworkSpec,
    /// Binds, volumes and temporary file systems.
    pub mounts: Vec<MountSpec>,
    /// Which namespaces are the container's own.
    pub namespaces: NamespaceSpec,
    /// Privileges.
    pub security: SecuritySpec,
    /// What it may use.
    pub limits: Limits,
    /// Free text to find it by.
    pub labels: BTreeMap<String, String>,
    /// The front end's own words, kept with the record and given back unread (Docker's JSON).
    pub origin: String,
}

/// What runs, as whom and where. Absent = as the image says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandSpec {
    /// What comes first. `Some` (also empty) drops the image's command as well.
    pub entrypoint: Option<Vec<String>>,
    /// What comes after the entrypoint.
    pub arguments: Option<Vec<String>>,
    /// `NAME=value`, or `NAME` alone to take the image's variable away.
    pub environment: Vec<String>,
    /// Absolute; made when it is missing.
    pub working_directory: Option<String>,
    /// `user`, `uid`, `user:group`, `uid:gid`.
    pub user: Option<String>,
}

/// Terminal and standard streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamSpec {
    /// With a pseudo-terminal.
    pub tty: bool,
    /// Rows and columns at the start.
    pub console_size: Option<(u16, u16)>,
    /// Standard input stays open without anybody attached.
    pub open_stdin: bool,
    /// Standard input closes when the first client that was attached to it leaves.
    pub stdin_once: bool,
}

/// What the container is called inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentitySpec {
    /// Absent = the short id.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
}

/// How a container is stopped, restarted, logged and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LifecycleSpec {
    /// Absent = as the image says, else SIGTERM.
    pub stop_signal: Option<Signal>,
    /// Seconds between the stop signal and SIGKILL; negative = wait for ever. Absent = 10.
    pub stop_timeout: Option<i64>,
    /// What happens when it ends by itself.
    pub restart: RestartPolicy,
    /// Removed, with its anonymous volumes, as soon as it has ended.
    pub auto_remove: bool,
    /// A small init that reaps zombies and passes signals on. Absent = as the daemon is configured.
    pub init: Option<bool>,
    /// Where its output goes.
    pub log: LogSpec,
}

/// What happens when a container ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again, also when the daemon starts.
    Always,
    /// As `Always`, but a container that was stopped stays stopped over a restart of the daemon.
    UnlessStopped,
    /// Only when its exit code is not zero, this many times; 0 = without end.
    OnFailure(u32),
}

/// Where a container's output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// Whether a log file is written at all (`json-file`), or nothing (`none`).
    pub enabled: bool,
    /// Bytes after which the file is rotated; 0 = never.
    pub max_size: u64,
    /// How many files are kept, the current one included.
    pub max_files: u32,
}

impl Default for LogSpec {
    /// 3 files of 10 MB: a log never fills the disk unless somebody asked for that.
    fn default() -> Self {
        Self { enabled: true, max_size: 10_000_000, max_files: 3 }
    }
}
