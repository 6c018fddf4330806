use tare_model::{Digest, HasKind, Kind};
use thiserror::Error;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between us and a registry. The texts that clients look for are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration names something impossible.
    #[error("invalid registry configuration: {0}")]
    Config(String),
    /// The registry has no such manifest.
    #[error("manifest for {reference} not found: manifest unknown: {message}")]
    ManifestUnknown {
        /// As people write it.
        reference: String,
        /// The registry's words.
        message: String,
    },
    /// The registry has no such repository.
    #[error("repository {repository} not found: name unknown: {message}")]
    RepositoryUnknown {
        /// As people write it.
        repository: String,
        /// The registry's words.
        message: String,
    },
    /// The registry has no such blob.
    #[error("blob {digest} of {repository} not found in the registry: {message}")]
    BlobUnknown {
        /// Which one.
        digest: Digest,
        /// As people write it.
        repository: String,
        /// The registry's words.
        message: String,
    },
    /// Something else that is not there.
    #[error("{what} not found: {message}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// The registry's words.
        message: String,
    },
    /// Known who asks (or that nobody does), and not allowed.
    #[error(
        "pull access denied for {repository}, repository does not exist or may require 'docker login': denied: {message}"
    )]
    Denied {
        /// As people write it.
        repository: String,
        /// The registry's words.
        message: String,
        /// Whether it was said with 401, which other credentials may cure.
        unauthorized: bool,
    },
    /// Known who pushes (or that nobody does), and not allowed.
    #[error(
        "push access denied for {repository}, repository does not exist or may require 'docker login': denied: {message}"
    )]
    PushDenied {
        /// As people write it.
        repository: String,
        /// The registry's words.
        message: String,
        /// Whether it was said with 401, which other credentials may cure.
        unauthorized: bool,
    },
    /// Credentials are wanted or were refused.
    #[error("unauthorized: {0}")]
    Unauthorized(String),
    /// A name and a password are wanted, and there are none.
    #[error("no basic auth credentials")]
    NoCredentials,
    /// The registry limits how often it is asked.
    #[error("toomanyrequests: {0}")]
    TooManyRequests(String),
    /// Another answer than the ones the specification has for this request.
    #[error("unexpected answer of the registry to {what}: status {status}: {message}")]
    Status {
        /// The request.
        what: String,
        /// HTTP status.
        status: u16,
        /// The registry's words, shortened.
        message: String,
    },
    /// No connection, or one that broke before an answer.
    #[error("Get \"{url}\": {cause}")]
    Unreachable {
        /// The address, without its query.
        url: String,
        /// What the network said.
        cause: String,
    },
    /// The registry answered and then fell silent.
    #[error("{what}: the registry sent nothing for {seconds} s")]
    Stalled {
        /// What was read.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The registry drips.
    #[error("{what}: the registry sent {bytes} bytes in {seconds} s, which is too slow")]
    Slow {
        /// What was read.
        what: String,
        /// What came of it in that time.
        bytes: u64,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The registry closed the connection too early, again and again.
    #[error("{what}: the registry stopped after {received} of {expected} bytes: {cause}")]
    Interrupted {
        /// What was read.
        what: String,
        /// Bytes that came.
        received: u64,
        /// Bytes that were announced.
        expected: u64,
        /// What the network said.
        cause: String,
    },
    /// Longer or shorter than its descriptor says.
    #[error(
        "{what} has the wrong size: the registry sends {found} bytes where its descriptor says {expected}"
    )]
    Size {
        /// What was read.
        what: String,
        /// Bytes sent or announced.
        found: u64,
        /// Bytes that the descriptor tells.
        expected: u64,
    },
    /// The bytes are not what their digest says.
    #[error("{what} is not what was asked for: its digest is {found} instead of {expected}")]
    Digest {
        /// What was read.
        what: String,
        /// The digest of the bytes.
        found: Digest,
        /// The digest wanted or declared.
        expected: Digest,
    },
    /// Above a limit of ours.
    #[error("{what} is larger than the {limit} bytes that are accepted")]
    TooLarge {
        /// What was read.
        what: String,
        /// Bytes.
        limit: u64,
    },
    /// The answer breaks the protocol.
    #[error("{what}: the registry's answer makes no sense: {cause}")]
    Nonsense {
        /// What was read.
        what: String,
        /// Why.
        cause: String,
    },
    /// The content that was to be uploaded cannot be read here.
    #[error("{what}: cannot read what is to be sent: {cause}")]
    Source {
        /// What was sent.
        what: String,
        /// What the file system said.
        cause: String,
    },
    /// A redirect that is not followed.
    #[error("{url} redirects to {target}, which is not followed: {cause}")]
    Redirect {
        /// Where from.
        url: String,
        /// Where to, without its query.
        target: String,
        /// Why not.
        cause: &'static str,
    },
    /// A token server that credentials are not sent to.
    #[error("the registry {registry} asks to log in at {realm}, which is refused: {cause}")]
    Realm {
        /// Which registry.
        registry: String,
        /// What it named.
        realm: String,
        /// Why not.
        cause: &'static str,
    },
    /// A form that is too old.
    #[error(
        "{reference} has a manifest of the form {media_type}, which is no longer supported: push the image again with a current client"
    )]
    OldManifest {
        /// As people write it.
        reference: String,
        /// What it has.
        media_type: String,
    },
    /// A registry that can be neither searched nor lists what it has.
    #[error(
        "the registry {0} can not be searched: it has neither Docker's old search nor a list of its repositories"
    )]
    NoSearch(String),
    /// The TLS library cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Config(_) => Kind::InvalidInput,
            Self::ManifestUnknown { .. }
            | Self::RepositoryUnknown { .. }
            | Self::BlobUnknown { .. }
            | Self::NotFound { .. } => Kind::NotFound,
            // As in Docker: it may as well not exist, and whoever is told 401 asks for a password.
            Self::Denied { .. } => Kind::NotFound,
            Self::PushDenied { unauthorized: false, .. } | Self::NoCredentials => Kind::Forbidden,
            Self::PushDenied { .. } | Self::Unauthorized(_) => Kind::Unauthorized,
            Self::TooManyRequests(_) | Self::Status { .. } | Self::Unreachable { .. } => Kind::Unavailable,
            Self::Stalled { .. } | Self::Slow { .. } => Kind::Unavailable,
            Self::Interrupted { .. } | Self::Nonsense { .. } => Kind::Unavailable,
            Self::Redirect { .. } | Self::Realm { .. } => Kind::Unavailable,
            Self::Size { .. } | Self::Digest { .. } | Self::TooLarge { .. } => Kind::Corrupt,
            Self::OldManifest { .. } | Self::NoSearch(_) => Kind::NotSupported,
            Self::Tls(_) | Self::Source { .. } => Kind::Internal,
        }
    }
}
