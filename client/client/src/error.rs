use std::io;
use std::path::PathBuf;

use tare_model::{HasKind, Kind};
use thiserror::Error;

use crate::host::Host;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call to the daemon failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The address of the daemon cannot be read.
    #[error("invalid host \"{text}\": {why}")]
    Host {
        /// As given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nothing listens there, or it may not be spoken to.
    #[error("cannot connect to the tare daemon at {host}: {source}")]
    Connect {
        /// Where.
        host: Host,
        /// As the kernel says.
        source: io::Error,
    },
    /// The daemon was to be started and could not be.
    #[error("cannot start the daemon: {why}")]
    Start {
        /// What went wrong.
        why: String,
        /// Where the daemon wrote what it had to say, where it came so far.
        log: Option<PathBuf>,
    },
    /// The daemon answered with an error.
    #[error("{message}")]
    Api {
        /// The HTTP status.
        status: u16,
        /// The daemon's own words.
        message: String,
    },
    /// The connection broke.
    #[error("the connection to the daemon broke: {0}")]
    Transport(String),
    /// The daemon answered something else than the API promises.
    #[error("the daemon's answer to {call} cannot be read: {why}")]
    Answer {
        /// Method and path.
        call: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// The line that tells a person what to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Host { .. } => {
                Some("name a host as in -H unix:///run/tare/tare.sock or -H tcp://127.0.0.1:2375".into())
            }
            Self::Connect { host: Host::Unix(path), source }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some(format!("run it as root, or join the group that owns {}", path.display()))
            }
            Self::Connect { host, .. } => {
                Some(format!("is it running? start one with: tare daemon --host {host}"))
            }
            Self::Start { log: Some(log), .. } => Some(format!("see {} for what it says", log.display())),
            Self::Start { log: None, .. } => {
                Some("install tared beside tare, or name a running daemon with -H".into())
            }
            _ => None,
        }
    }

    /// The HTTP status, where the daemon gave one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub(crate) fn answer(call: &str, why: &impl ToString) -> Self {
        Self::Answer { call: call.to_owned(), why: why.to_string() }
    }
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Host { .. } => Kind::InvalidInput,
            Self::Connect { .. } | Self::Start { .. } | Self::Transport(_) => Kind::Unavailable,
            Self::Answer { .. } => Kind::Corrupt,
            Self::Api { status, .. } => kind_of(*status),
        }
    }
}

fn kind_of(status: u16) -> Kind {
    match status {
        304 => Kind::NotModified,
        400 => Kind::InvalidInput,
        401 => Kind::Unauthorized,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        409 => Kind::Conflict,
        501 => Kind::NotSupported,
        502..=504 => Kind::Unavailable,
        507 => Kind::Exhausted,
        _ => Kind::Internal,
    }
}
