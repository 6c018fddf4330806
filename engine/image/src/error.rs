use std::io;
use std::path::{Path, PathBuf};

use tare_model::{Digest, HasKind, Kind, ReferenceError};
use thiserror::Error;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with images. The texts that clients look for are Docker's.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing has this name or id.
    #[error("No such image: {0}")]
    NotFound(String),
    /// Nothing here has this name, so nothing can be pushed.
    #[error("An image does not exist locally with the tag: {0}")]
    NotHere(String),
    /// A name that another image has, or none.
    #[error("{name} is no name of the image {image}")]
    NotItsName {
        /// As it was given.
        image: String,
        /// As people write it.
        name: String,
    },
    /// The repository has other tags here.
    #[error("tag does not exist: {0}")]
    TagNotHere(String),
    /// A repository of a registry that has nothing in it.
    #[error("{0} has no tags in the registry")]
    NoTags(String),
    /// What the policy does not let in.
    #[error("{reference} is refused by the policy for images: {why}")]
    Refused {
        /// As people write it.
        reference: String,
        /// What it lacks.
        why: String,
    },
    /// A policy that cannot be understood.
    #[error("invalid policy for images: {0}")]
    Policy(String),
    /// An archive that cannot be loaded.
    #[error("invalid archive: {0}")]
    Archive(String),
    /// A layer is only here unpacked.
    #[error(
        "image {image} cannot be sent: the content of its layer {layer} is no longer here; remove the image and pull or load it again"
    )]
    Incomplete {
        /// Short id.
        image: String,
        /// Short digest.
        layer: String,
    },
    /// Several images have ids that begin so.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// A name that cannot be one.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Images that cannot stand under one name.
    #[error("cannot make an index: {0}")]
    Index(String),
    /// A compression of layers that is neither gzip nor zstd.
    #[error("unknown compression of layers: {0}: known are gzip and zstd")]
    UnknownCompression(String),
    /// An index whose layers are to be compressed anew, which would make another index.
    #[error(
        "{0} stands for several platforms, and they are sent as they are kept: name one with --platform to have its layers compressed anew"
    )]
    CompressedIndex(String),
    /// A digest where only a tag makes sense.
    #[error("refusing to create a tag with a digest reference: {0}")]
    TagWithDigest(String),
    /// A name that could be taken for the beginning of a digest.
    #[error("refusing to create an ambiguous tag using digest algorithm as name")]
    AmbiguousName,
    /// The last name of an image that is in use.
    #[error(
        "conflict: unable to remove repository reference \"{name}\" (must force) - container {holder} is using its referenced image {image}"
    )]
    NameInUse {
        /// As it was given.
        name: String,
        /// Short.
        holder: String,
        /// Short id.
        image: String,
    },
    /// An image that is in use or has several names.
    #[error("conflict: unable to delete {image} ({force}) - {why}")]
    InUse {
        /// Short id.
        image: String,
        /// `must be forced` or `cannot be forced`.
        force: &'static str,
        /// What keeps it.
        why: String,
    },
    /// The registry or the way to it.
    #[error(transparent)]
    Registry(#[from] tare_registry::Error),
    /// The records.
    #[error(transparent)]
    Store(#[from] tare_store::Error),
    /// The unpacked layers.
    #[error("layer {layer}: {source}")]
    Layer {
        /// Short digest.
        layer: String,
        /// What the snapshot room said.
        source: tare_snapshot::Error,
    },
    /// The unpacked layers, outside a pull.
    #[error(transparent)]
    Snapshot(#[from] tare_snapshot::Error),
    /// A file of the content store.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `write`, `read`, …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A manifest, index or configuration that breaks its specification.
    #[error("{what} is malformed: {cause}")]
    Document {
        /// Which document.
        what: String,
        /// Which rule.
        cause: String,
    },
    /// An index inside an index.
    #[error("the manifest list of {0} names another manifest list, which is refused")]
    NestedIndex(String),
    /// No image for the platform.
    #[error("no matching manifest for {0} in the manifest list entries")]
    NoMatch(String),
    /// An image for another platform, without a choice.
    #[error(
        "image with reference {reference} was found but its platform ({actual}) does not match the specified platform ({wanted})"
    )]
    Platform {
        /// As people write it.
        reference: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        actual: String,
    },
    /// A chart, a signature or another artifact.
    #[error("{reference} is no container image: {media_type} is not supported")]
    NotAnImage {
        /// As people write it.
        reference: String,
        /// What it is.
        media_type: String,
    },
    /// Content that is not what its digest says.
    #[error("{what} failed verification: its digest is {found} instead of {expected}")]
    Digest {
        /// Which blob or layer.
        what: String,
        /// The digest of the bytes.
        found: Digest,
        /// The digest wanted.
        expected: Digest,
    },
    /// Content longer or shorter than its descriptor says.
    #[error("{what} has {found} bytes where its descriptor says {expected}")]
    Size {
        /// Which blob.
        what: String,
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// Compressed in another way than announced.
    #[error("layer {layer} is announced as {announced} and is {found}")]
    Compression {
        /// Short digest.
        layer: String,
        /// By its media type.
        announced: &'static str,
        /// By its first bytes.
        found: &'static str,
    },
    /// Compressed data that cannot be read.
    #[error("layer {layer} cannot be decompressed: {cause}")]
    Inflate {
        /// Short digest.
        layer: String,
        /// What the decoder said.
        cause: String,
    },
    /// A decompression bomb, or what must be taken for one.
    #[error("layer {layer} is refused: {cause}")]
    Bomb {
        /// Short digest.
        layer: String,
        /// Which limit.
        cause: String,
    },
    /// Somebody else stopped the work.
    #[error("the pull was cancelled")]
    Cancelled,
    /// Comes later.
    #[error("not supported yet: {0}")]
    NotSupported(String),
}

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
            Self::NotFound(_)
            | Self::NotHere(_)
            | Self::NotItsName { .. }
            | Self::TagNotHere(_)
            | Self::NoTags(_)
            | Self::NoMatch(_)
            | Self::Platform { .. } => Kind::NotFound,
            Self::Ambiguous(_) | Self::Reference(_) | Self::TagWithDigest(_) | Self::AmbiguousName => {
                Kind::InvalidInput
            }
            Self::NameInUse { .. } | Self::InUse { .. } | Self::Incomplete { .. } => Kind::Conflict,
            Self::Refused { .. } => Kind::Forbidden,
            Self::Policy(_) | Self::Index(_) | Self::UnknownCompression(_) | Self::CompressedIndex(_) => {
                Kind::InvalidInput
            }
            Self::Registry(e) => e.kind(),
            Self::Store(e) => e.kind(),
            Self::Layer { source: e, .. } | Self::Snapshot(e) => e.kind(),
            Self::Io { source, .. } => HasKind::kind(source),
            Self::Document { .. } | Self::NestedIndex(_) | Self::Digest { .. } | Self::Size { .. } => {
                Kind::Corrupt
            }
            Self::Archive(_) => Kind::InvalidInput,
            Self::Compression { .. } | Self::Inflate { .. } => Kind::Corrupt,
            Self::Bomb { .. } => Kind::Exhausted,
            Self::NotAnImage { .. } => Kind::InvalidInput,
            Self::NotSupported(_) => Kind::NotSupported,
            Self::Cancelled => Kind::Internal,
        }
    }
}
