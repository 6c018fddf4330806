use std::io;
use std::path::PathBuf;

use tare_model::{HasKind, Kind};
use thiserror::Error;

/// What can go wrong with a cgroup.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No cgroup file system is mounted.
    #[error("no cgroup hierarchy is mounted: mount cgroup2 on /sys/fs/cgroup")]
    NoHierarchy,
    /// The path of a group is relative, empty or climbs.
    #[error("invalid cgroup path {path:?}: it must be absolute, name a group and hold no \"..\"")]
    InvalidPath {
        /// As it was given.
        path: PathBuf,
    },
    /// A `cgroupsPath` that names no unit of systemd.
    #[error("invalid linux.cgroupsPath {path:?} for the systemd driver: {rule}")]
    InvalidUnit {
        /// As it was given.
        path: String,
        /// The rule that is broken.
        rule: &'static str,
    },
    /// There is no systemd to talk to.
    #[error(
        "cannot reach {} ({reason}): leave out --systemd-cgroup where there is none",
        if *user { "the user's systemd" } else { "systemd" }
    )]
    NoSystemd {
        /// Whether it is the user's own.
        user: bool,
        /// The last socket's answer.
        reason: String,
    },
    /// systemd's answer about a unit.
    #[error("systemd cannot {action} {unit}: {reason}")]
    Unit {
        /// `start`, `stop`, …
        action: &'static str,
        /// Its name.
        unit: String,
        /// In systemd's words.
        reason: String,
    },
    /// A limit that no kernel could take.
    #[error("invalid {field}: {reason}")]
    InvalidLimit {
        /// Its name in `config.json`, below `resources`.
        field: &'static str,
        /// The rule that is broken.
        reason: String,
    },
    /// The host's hierarchies do not carry what a limit needs.
    #[error("{field} cannot be limited: the {controller} controller is not mounted on this host")]
    NoController {
        /// What was to be limited.
        field: &'static str,
        /// What is missing.
        controller: &'static str,
    },
    /// A controller that was named but has no hierarchy here.
    #[error("unknown cgroup controller {controller}: it is not mounted on this host")]
    UnknownController {
        /// Its name.
        controller: String,
    },
    /// The controller is there, and knows no such limit.
    #[error("{field} cannot be limited: this kernel has no {file}")]
    NoFile {
        /// What was to be limited.
        field: &'static str,
        /// The control file.
        file: String,
    },
    /// The host has the controller, and the group does not.
    #[error("{field} cannot be limited: the {controller} controller does not reach {path:?}, {reason}")]
    NotDelegated {
        /// What was to be limited.
        field: &'static str,
        /// What is missing.
        controller: &'static str,
        /// The group's directory.
        path: PathBuf,
        /// Where it stops, and what to do.
        reason: String,
    },
    /// A group that cannot take processes, by the rules of v2.
    #[error("cgroup {path:?} takes no process: {reason}")]
    TakesNobody {
        /// The group's directory.
        path: PathBuf,
        /// The rule, and what to do.
        reason: String,
    },
    /// A limit below what the group's processes use already, with `checkBeforeUpdate`.
    #[error("memory limit {limit} is below the {usage} bytes in use: stop something or choose a higher one")]
    InUse {
        /// Bytes wanted.
        limit: i64,
        /// Bytes used.
        usage: u64,
    },
    /// The group is there already and has processes in it, or has some when it is to be removed.
    #[error("cgroup {path:?} has processes in it")]
    Busy {
        /// The group's directory.
        path: PathBuf,
    },
    /// The kernel does not settle.
    #[error(
        "the processes of cgroup {path:?} did not {wanted} within {seconds} s: one may be stuck in a system call"
    )]
    Stuck {
        /// The group's directory.
        path: PathBuf,
        /// `freeze`, `thaw` or `end`.
        wanted: &'static str,
        /// How long was waited.
        seconds: u32,
    },
    /// A system call on a file of a hierarchy.
    #[error("{action} {path:?}: {source}")]
    File {
        /// `open`, `write "100" to`, …
        action: String,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The device filter of cgroup v2.
    #[error("{action} the device filter of {path:?}: {source}")]
    DeviceFilter {
        /// `load`, `attach`, …
        action: &'static str,
        /// The group's directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The room's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn file(
        action: impl Into<String>,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::File { action: action.into(), path: path.into(), source: source.into() }
    }

    /// Whether it is for want of rights.
    pub fn is_forbidden(&self) -> bool {
        matches!(
            self.errno(),
            Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS)
        )
    }

    /// The errno of a failed system call on a file.
    pub(crate) fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Self::File { source, .. } => rustix::io::Errno::from_io_error(source),
            _ => None,
        }
    }
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::InvalidPath { .. }
            | Self::UnknownController { .. }
            | Self::InvalidUnit { .. }
            | Self::InvalidLimit { .. }
            | Self::InUse { .. } => Kind::InvalidInput,
            Self::NoController { .. }
            | Self::NoFile { .. }
            | Self::NotDelegated { .. }
            | Self::NoHierarchy
            | Self::NoSystemd { .. } => Kind::NotSupported,
            Self::Busy { .. } | Self::TakesNobody { .. } => Kind::Conflict,
            Self::Stuck { .. } | Self::Unit { .. } => Kind::Internal,
            // The kernel answers EINVAL, ERANGE or EBUSY to a limit that it cannot honour.
            Self::File { source, .. } => match source.raw_os_error() {
                Some(22 | 34) => Kind::InvalidInput,
                Some(16) => Kind::Conflict,
                _ => HasKind::kind(source),
            },
            Self::DeviceFilter { source, .. } => HasKind::kind(source),
        }
    }
}
