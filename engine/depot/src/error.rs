use std::io;
use std::path::{Path, PathBuf};

use tare_model::{Digest, HasKind, Kind};
use thiserror::Error;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong, by the distribution specification's names where it has them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// `NAME_INVALID`.
    #[error("invalid repository name \"{0}\"")]
    NameInvalid(String),
    /// `TAG_INVALID`.
    #[error("invalid tag \"{0}\"")]
    TagInvalid(String),
    /// `DIGEST_INVALID`: none that is known, or one that the bytes do not have.
    #[error("provided digest did not match uploaded content: {0}")]
    DigestInvalid(String),
    /// `SIZE_INVALID`.
    #[error("provided length did not match content length: {0}")]
    SizeInvalid(String),
    /// `NAME_UNKNOWN`.
    #[error("repository name not known to registry: {0}")]
    NameUnknown(Name),
    /// `MANIFEST_UNKNOWN`.
    #[error("manifest unknown: {0}")]
    ManifestUnknown(String),
    /// `BLOB_UNKNOWN`.
    #[error("blob unknown to registry: {0}")]
    BlobUnknown(Digest),
    /// `BLOB_UPLOAD_UNKNOWN`.
    #[error("blob upload unknown to registry: {0}")]
    UploadUnknown(String),
    /// `BLOB_UPLOAD_INVALID`.
    #[error("blob upload invalid: {0}")]
    UploadInvalid(String),
    /// A piece that does not begin where the one before it ended.
    #[error("a piece that begins at byte {begins} does not go on at byte {have}")]
    OutOfOrder {
        /// Of the piece.
        begins: u64,
        /// Bytes that are there.
        have: u64,
    },
    /// As many uploads are open as there may be.
    #[error("{0} uploads are open, and no more are taken: finish or abort one, or wait until they expire")]
    Crowded(usize),
    /// `MANIFEST_INVALID`.
    #[error("manifest invalid: {0}")]
    ManifestInvalid(String),
    /// `MANIFEST_BLOB_UNKNOWN`.
    #[error("manifest references a manifest or blob unknown to registry: {0}")]
    ManifestBlobUnknown(Digest),
    /// Another process has the directory.
    #[error("the registry's directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The client's bytes ended early.
    #[error("the client's bytes ended early: {0}")]
    Interrupted(String),
    /// A file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `write`, `read`, …
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

use crate::Name;

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NameInvalid(_) | Self::TagInvalid(_) | Self::DigestInvalid(_) | Self::SizeInvalid(_) => {
                Kind::InvalidInput
            }
            Self::UploadInvalid(_) | Self::ManifestInvalid(_) | Self::Interrupted(_) => Kind::InvalidInput,
            Self::NameUnknown(_) | Self::ManifestUnknown(_) | Self::BlobUnknown(_) => Kind::NotFound,
            Self::UploadUnknown(_) | Self::ManifestBlobUnknown(_) => Kind::NotFound,
            Self::OutOfOrder { .. } | Self::InUse(_) => Kind::Conflict,
            Self::Crowded(_) => Kind::Exhausted,
            Self::Io { source, .. } => HasKind::kind(source),
        }
    }
}
