use std::path::PathBuf;

use tare_model::{HasKind, Kind};
use thiserror::Error;

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the database did not do as asked. `Clone`, because one failed transaction is the answer to many commits.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// Another process has the file open.
    #[error("the database {} is in use by {holder}: one daemon serves one data root; stop that daemon, or start this one with another --data-root", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// `process 17 (tared)`, or `another process`.
        holder: String,
    },
    /// The file cannot be opened.
    #[error("the database {} cannot be opened: {why}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
        /// Whether the content, not the access, is at fault.
        corrupt: bool,
    },
    /// Reading or writing failed.
    #[error("the database {} cannot be {action}: {why}", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// The cause.
        why: String,
        /// Whether space has run out.
        full: bool,
    },
    /// A record is not what the program that asks for it puts there.
    #[error("the record {table}/{key} cannot be understood: {why}")]
    Decode {
        /// Its table.
        table: &'static str,
        /// Its key.
        key: String,
        /// What the JSON lacks.
        why: String,
    },
    /// A value has no JSON form, or a key holds a NUL.
    #[error("the record {table}/{key} cannot be stored: {why}")]
    Encode {
        /// Its table.
        table: &'static str,
        /// Its key.
        key: String,
        /// Why not.
        why: String,
    },
    /// [`crate::Batch::only_if`] did not hold.
    #[error("{table}/{key} does not exist any more")]
    Missing {
        /// The table.
        table: &'static str,
        /// The key.
        key: String,
    },
    /// [`crate::Batch::unless`] did not hold.
    #[error("{table}/{key} exists already")]
    Exists {
        /// The table.
        table: &'static str,
        /// The key.
        key: String,
    },
    /// [`crate::Batch::unless_leased`] did not hold.
    #[error("{resource} is in use by {}", holders.join(", "))]
    Leased {
        /// The resource.
        resource: String,
        /// Who uses it; never empty.
        holders: Vec<String>,
    },
    /// The writer thread cannot be started or has ended.
    #[error("the database writer has stopped")]
    Stopped,
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::InUse { .. } | Self::Exists { .. } | Self::Leased { .. } => Kind::Conflict,
            Self::Open { corrupt: true, .. } | Self::Decode { .. } => Kind::Corrupt,
            Self::Storage { full: true, .. } => Kind::Exhausted,
            Self::Missing { .. } => Kind::NotFound,
            Self::Open { .. } | Self::Storage { .. } | Self::Encode { .. } | Self::Stopped => Kind::Internal,
        }
    }
}
