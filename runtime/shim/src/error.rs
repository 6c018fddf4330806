use std::io;
use std::path::PathBuf;

use tare_model::{HasKind, Kind};
use thiserror::Error;

/// What ends a shim before its time. What goes wrong with the container itself is told to the daemon instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the container's directory or of its bundle.
    #[error("{action} {path:?}: {source}")]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer, or what is wrong with the text.
        source: io::Error,
    },
    /// A system call of the loop.
    #[error("{action}: {source}")]
    System {
        /// `poll`, …
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The room's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { action, path: path.into(), source: source.into() }
    }

    pub(crate) fn system(action: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System { action, source: source.into() }
    }
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::File { source, .. } | Self::System { source, .. } => HasKind::kind(source),
        }
    }
}
