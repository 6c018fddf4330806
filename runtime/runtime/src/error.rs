use std::io;

use tare_model::{HasKind, Kind};
use thiserror::Error;

use crate::failure::Failure;
use crate::seccomp::SeccompError;

/// What can go wrong between a spec and a running program.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// config.json breaks a rule.
    #[error("invalid {field}: {rule}")]
    Spec {
        /// The field, as `process.args` or `mounts[3].options`.
        field: String,
        /// What it must be.
        rule: String,
    },
    /// Part of the specification that this version does not have.
    #[error("not supported yet: {what}")]
    NotSupported {
        /// The field or what it asks for.
        what: String,
    },
    /// The seccomp profile cannot be compiled.
    #[error("invalid {0}")]
    Seccomp(SeccompError),
    /// A step of the preparation failed, in the caller or in init; nothing is left of it.
    #[error("{0}")]
    Step(String),
    /// The program cannot be executed, in the words that Docker's clients look for.
    #[error("{message}")]
    Exec {
        /// `exec: "foo": executable file not found in $PATH`.
        message: String,
        /// 126 or 127.
        exit_code: u8,
    },
    /// init was killed, or died without a word, before it was ready.
    #[error("the container's init process ended while it was being prepared")]
    Died,
    /// The process is there and does not come to its program: it was stopped, or waits for a file system.
    #[error(
        "the process did not become its program within {} s and was killed: somebody in the container stopped it, or a file system does not answer",
        crate::create::PATIENCE
    )]
    Silent,
    /// The container's cgroup does not do what it should.
    #[error(transparent)]
    Cgroup(#[from] tare_cgroup::Error),
    /// No container of that id is kept.
    #[error("container does not exist")]
    NoContainer,
    /// What is kept there is another user's.
    #[error("{path} belongs to user {owner}: run as that user")]
    Foreign {
        /// The directory.
        path: String,
        /// The user.
        owner: u32,
    },
    /// The user may not have a cgroup, and something needs one.
    #[error("{wanted} need a cgroup, which this user may not make: delegate one (systemd: Delegate=yes)")]
    NoGroup {
        /// What needs it.
        wanted: &'static str,
    },
    /// The id is taken.
    #[error("container with given ID already exists")]
    Exists,
    /// The container is in another part of its life than this needs.
    #[error("{0}")]
    NotNow(String),
    /// A file of the bundle cannot be read.
    #[error("cannot read {path}: {reason}")]
    Bundle {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// This room's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What `docker run` exits with: 127 no such program, 126 one that cannot be executed, 125 everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Exec { exit_code, .. } => *exit_code,
            _ => 125,
        }
    }

    pub(crate) fn spec(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Error::Spec { field: one_line(field.into()), rule: one_line(rule.into()) }
    }

    /// A step of the caller's own that failed.
    pub(crate) fn step(step: &str, cause: impl Into<io::Error>) -> Self {
        Failure::new(step, cause).into()
    }
}

/// Text that a stranger may have written, fit for a message.
pub(crate) fn one_line(text: String) -> String {
    const LONGEST: usize = 512;
    if text.len() <= LONGEST && !text.contains(char::is_control) {
        return text;
    }
    let short: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    // Quotes are no danger to a line.
    short.replace("\\\"", "\"").replace("\\'", "'")
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure.exit_code {
            125 => Error::Step(failure.message),
            exit_code => Error::Exec { message: failure.message, exit_code },
        }
    }
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Spec { .. } | Error::Seccomp(_) | Error::Exec { .. } => Kind::InvalidInput,
            Error::NotSupported { .. } | Error::NoGroup { .. } => Kind::NotSupported,
            Error::NoContainer => Kind::NotFound,
            Error::Exists | Error::NotNow(_) | Error::Foreign { .. } => Kind::Conflict,
            Error::Cgroup(cause) => cause.kind(),
            Error::Step(_) | Error::Died | Error::Silent | Error::Bundle { .. } => Kind::Internal,
        }
    }
}
