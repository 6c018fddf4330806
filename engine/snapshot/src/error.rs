use std::io;
use std::path::{Path, PathBuf};

use tare_model::{Digest, HasKind, Kind};
use thiserror::Error;

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a layer could not be unpacked, mounted, found or removed.
#[derive(Debug, Error)]
pub enum Error {
    /// The data root's own name gets in the way of mount options.
    #[error("the directory {} cannot hold layers: an absolute path without : , \\ and \" is needed; choose another --data-root", root.display())]
    Root {
        /// The directory.
        root: PathBuf,
    },
    /// Kernel or file system lack overlayfs.
    #[error("overlayfs does not work in {}: {why}; it needs the kernel's overlay module and a file system such as ext4, xfs or btrfs below the data root", root.display())]
    Overlay {
        /// The directory.
        root: PathBuf,
        /// What the kernel said.
        why: io::Error,
    },
    /// fuse-overlayfs is not to be had.
    #[error("fuse-overlayfs does not work in {}: {why}; it needs its program (Debian's package fuse-overlayfs) in PATH and /dev/fuse", root.display())]
    Fuse {
        /// The directory.
        root: PathBuf,
        /// What was found out.
        why: io::Error,
    },
    /// No driver of ours has this name.
    #[error("unknown storage driver \"{0}\": overlayfs, fuse-overlayfs and copy are known")]
    UnknownDriver(String),
    /// What is there was made by another driver.
    #[error("the layers in {} were made by the driver {noted} and cannot be used by {wanted}; choose another --data-root, or --storage-driver {noted}", root.display())]
    OtherDriver {
        /// The directory.
        root: PathBuf,
        /// Which made them.
        noted: crate::Driver,
        /// Which was asked for.
        wanted: crate::Driver,
    },
    /// An entry that no honest image has.
    #[error("the layer is refused: its entry \"{name}\" {rule}")]
    Refused {
        /// The entry's name as it stands in the archive, unprintable bytes escaped.
        name: String,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// The stream is no tar archive, or is damaged.
    #[error("the layer is no sound tar archive: {why}")]
    Malformed {
        /// What is wrong.
        why: &'static str,
    },
    /// One of [`crate::Limits`] is reached.
    #[error("the layer has more than {limit} {what}, the most that is accepted")]
    Limit {
        /// `bytes`, `entries`, …
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The reader that was given failed; its error is the source.
    #[error("the layer cannot be read")]
    Read(#[source] io::Error),
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
    /// No such layer.
    #[error("layer {0} is not on this machine")]
    NoLayer(Digest),
    /// No such writable layer.
    #[error("no writable layer \"{0}\"")]
    NoWritable(String),
    /// A writable layer of this key is there already.
    #[error("the writable layer \"{0}\" exists already")]
    Exists(String),
    /// A key that is no plain file name.
    #[error("\"{0}\" cannot name a writable layer")]
    Key(String),
    /// Something stands on the layer.
    #[error("layer {layer} is in use by {by}")]
    InUse {
        /// The layer.
        layer: Digest,
        /// What stands on it.
        by: String,
    },
    /// The path leads nowhere, or to no regular file.
    #[error("{} in the image: {why}", path.display())]
    Lookup {
        /// The path inside the root.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] tare_store::Error),
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Root { .. } | Self::Refused { .. } | Self::Key(_) | Self::UnknownDriver(_) => {
                Kind::InvalidInput
            }
            Self::Overlay { .. } | Self::Fuse { .. } => Kind::NotSupported,
            Self::Malformed { .. } => Kind::Corrupt,
            Self::Limit { .. } => Kind::Exhausted,
            Self::Read(error) if error.kind() == io::ErrorKind::UnexpectedEof => Kind::Corrupt,
            Self::Read(error) => HasKind::kind(error),
            Self::Io { cause, .. } => HasKind::kind(cause),
            Self::NoLayer(_) | Self::NoWritable(_) | Self::Lookup { .. } => Kind::NotFound,
            Self::Exists(_) | Self::InUse { .. } | Self::OtherDriver { .. } => Kind::Conflict,
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
