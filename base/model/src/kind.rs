use serde::{Deserialize, Serialize};

/// What sort of failure an error is. Every crate's error enum answers [`HasKind::kind`]; one table at each
/// front end maps kinds to its own status codes, so that no handler ever looks at an error's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The request itself is wrong; sending it again cannot help. HTTP 400.
    InvalidInput,
    /// Credentials are missing or refused. HTTP 401.
    Unauthorized,
    /// Understood, and refused by policy. HTTP 403.
    Forbidden,
    /// The named object does not exist. HTTP 404.
    NotFound,
    /// The object exists, in a state or under a name that excludes the request. HTTP 409.
    Conflict,
    /// The request asks for what is already so. HTTP 304.
    NotModified,
    /// Part of the field's interface that this version does not have yet. HTTP 501.
    NotSupported,
    /// Something outside (a registry, the network, a peer) does not answer or answers nonsense. HTTP 502/503.
    Unavailable,
    /// A limit of bytes, entries, space or count is reached. HTTP 507 or 500.
    Exhausted,
    /// What was received does not match its digest, size or format. HTTP 500.
    Corrupt,
    /// Our own or the kernel's failure. HTTP 500.
    Internal,
}

/// An error that knows its [`Kind`].
pub trait HasKind {
    /// The kind that a front end turns into a status code.
    fn kind(&self) -> Kind;
}

/// Lets `?` carry other rooms' errors over the wall: their words and their kind, in the variant `Room { message, kind }` of the
/// `Error` at hand.
#[macro_export]
macro_rules! from_rooms {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::Room { kind: $crate::HasKind::kind(&error), message: error.to_string() }
            }
        }
    )*};
}

impl HasKind for std::io::Error {
    fn kind(&self) -> Kind {
        use std::io::ErrorKind as E;
        match std::io::Error::kind(self) {
            E::StorageFull | E::QuotaExceeded | E::OutOfMemory => Kind::Exhausted,
            _ => Kind::Internal,
        }
    }
}
