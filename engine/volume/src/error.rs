use std::io;
use std::path::{Path, PathBuf};

use tare_model::{HasKind, Kind};
use thiserror::Error;

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a volume could not be made, found, filled or removed. Texts are Docker's where its clients show them.
#[derive(Debug, Error)]
pub enum Error {
    /// No volume of this name.
    #[error("get {0}: no such volume")]
    Missing(String),
    /// Somebody holds a lease.
    #[error("remove {name}: volume is in use - [{}]", holders.join(", "))]
    InUse {
        /// The volume.
        name: String,
        /// Who uses it, without the sort of user.
        holders: Vec<String>,
    },
    /// Another driver than `local`.
    #[error("error looking up volume plugin {0}: plugin \"{0}\" not found")]
    Driver(String),
    /// An option of the driver.
    #[error(
        "not supported yet: volume option \"{0}\" of the driver \"local\"; volumes are plain directories so far, use a bind mount or a tmpfs mount instead"
    )]
    Option(String),
    /// A system call failed.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] tare_store::Error),
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing(_) | Self::Driver(_) => Kind::NotFound,
            Self::InUse { .. } => Kind::Conflict,
            Self::Option(_) => Kind::NotSupported,
            Self::Io { cause, .. } => HasKind::kind(cause),
            Self::Store(error) => error.kind(),
        }
    }
}

/// Turns a system call's failure into [`Error::Io`], naming what was tried on what.
pub(crate) fn io<E: Into<io::Error>>(
    action: &'static str,
    path: impl AsRef<Path>,
) -> impl FnOnce(E) -> Error {
    move |cause| Error::Io { action, path: path.as_ref().to_owned(), cause: cause.into() }
}
