use serde_json::{Value, json};
use tare_depot::Error as DepotError;
use tare_http::{HeaderValue, Reply, StatusCode, header};
use tare_model::{HasKind, Kind};
use thiserror::Error;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request is not answered with what it asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// What the depot says.
    #[error(transparent)]
    Depot(#[from] DepotError),
    /// Nobody, or somebody with the wrong password; with the challenge for them.
    #[error("authentication required")]
    Unauthorized(String),
    /// What this registry does not do.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A parameter of a list.
    #[error("invalid number of results requested")]
    PageInvalid,
    /// A header that makes no sense.
    #[error("{0}")]
    Header(&'static str),
    /// A manifest that is too large.
    #[error("the manifest is larger than {0} bytes")]
    TooLarge(usize),
    /// A range that is not in the blob; with the blob's size.
    #[error("the range is not in the blob")]
    Range(u64),
    /// A client that has stopped sending.
    #[error("nothing has come for a minute")]
    Stalled,
    /// Too many passwords at a time.
    #[error("too many wait for their password to be looked at: try again in a moment")]
    Busy,
    /// A file with passwords that cannot be used.
    #[error("{0}")]
    Passwords(String),
    /// Ourselves.
    #[error("{0}")]
    Internal(String),
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Depot(error) => error.kind(),
            Self::Unauthorized(_) => Kind::Unauthorized,
            Self::Unsupported(_) => Kind::NotSupported,
            Self::PageInvalid | Self::Header(_) | Self::Range(_) | Self::Passwords(_) => Kind::InvalidInput,
            Self::TooLarge(_) => Kind::Exhausted,
            Self::Stalled | Self::Busy => Kind::Unavailable,
            Self::Internal(_) => Kind::Internal,
        }
    }
}

impl Error {
    /// The specification's word, and the status that goes with it.
    fn code(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Depot(error) => of_depot(error),
            Self::Unauthorized(_) => (S::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::Unsupported(_) => (S::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Self::PageInvalid => (S::BAD_REQUEST, "PAGINATION_NUMBER_INVALID"),
            Self::Header(_) => (S::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            Self::TooLarge(_) => (S::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID"),
            Self::Range(_) => (S::RANGE_NOT_SATISFIABLE, "RANGE_INVALID"),
            Self::Stalled => (S::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID"),
            Self::Busy => (S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
            Self::Passwords(_) | Self::Internal(_) => (S::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        }
    }

    /// The reply that tells the client. What is wrong on this machine is for its administrator's eyes.
    pub(crate) fn reply(&self) -> Reply {
        let (status, code) = self.code();
        let message = match status.is_server_error() {
            true => {
                tracing::error!("{self}");
                "the registry cannot do it; its log says why".to_owned()
            }
            false => self.to_string(),
        };
        let reply = refusal(status, code, message);
        match self {
            Self::Unauthorized(challenge) => match HeaderValue::from_str(challenge) {
                Ok(challenge) => reply.with(header::WWW_AUTHENTICATE, challenge),
                Err(_) => reply,
            },
            Self::Range(size) => match HeaderValue::from_str(&format!("bytes */{size}")) {
                Ok(range) => reply.with(header::CONTENT_RANGE, range),
                Err(_) => reply,
            },
            _ => reply,
        }
    }
}

/// An error in the specification's form.
pub(crate) fn refusal(status: StatusCode, code: &str, message: String) -> Reply {
    let message = Value::String(message);
    let body = json!({"errors": [{"code": code, "message": message, "detail": Value::Null}]});
    Reply::json(status, &body)
}

fn of_depot(error: &DepotError) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match error {
        DepotError::NameInvalid(_) => (S::BAD_REQUEST, "NAME_INVALID"),
        DepotError::TagInvalid(_) => (S::BAD_REQUEST, "TAG_INVALID"),
        DepotError::DigestInvalid(_) => (S::BAD_REQUEST, "DIGEST_INVALID"),
        DepotError::SizeInvalid(_) => (S::BAD_REQUEST, "SIZE_INVALID"),
        DepotError::NameUnknown(_) => (S::NOT_FOUND, "NAME_UNKNOWN"),
        DepotError::ManifestUnknown(_) => (S::NOT_FOUND, "MANIFEST_UNKNOWN"),
        DepotError::BlobUnknown(_) => (S::NOT_FOUND, "BLOB_UNKNOWN"),
        DepotError::UploadUnknown(_) => (S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
        DepotError::Crowded(_) => (S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
        DepotError::OutOfOrder { .. } => (S::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
        DepotError::UploadInvalid(_) | DepotError::Interrupted(_) => (S::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
        DepotError::ManifestInvalid(_) => (S::BAD_REQUEST, "MANIFEST_INVALID"),
        DepotError::ManifestBlobUnknown(_) => (S::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"),
        other if other.kind() == Kind::Exhausted => (S::INSUFFICIENT_STORAGE, "UNKNOWN"),
        _ => (S::INTERNAL_SERVER_ERROR, "UNKNOWN"),
    }
}
