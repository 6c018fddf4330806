use std::io;
use std::path::PathBuf;

use tare_model::{HasKind, Kind};
use thiserror::Error;

/// What this room's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between a socket and a handler.
#[derive(Debug, Error)]
pub enum Error {
    /// A socket could not be made, bound or listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// What was asked for.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process answers on the socket.
    #[error("cannot listen on {0}: another daemon answers there; stop it or choose another socket")]
    InUse(PathBuf),
    /// The path names something that is no socket; it is left alone.
    #[error("cannot listen on {0}: something that is no socket has that name")]
    NotSocket(PathBuf),
    /// A request path with tricks in it.
    #[error("invalid path \"{0}\": empty, \".\" and \"..\" segments and control characters are refused")]
    Path(String),
    /// A body over the handler's limit.
    #[error("the request body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// A body that came too slowly.
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    /// A body that ended early or was framed wrongly.
    #[error("the request body cannot be read: {0}")]
    Body(String),
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Listen { .. } => Kind::Internal,
            Self::InUse(_) | Self::NotSocket(_) => Kind::Conflict,
            Self::Path(_) | Self::BodyTooLarge(_) | Self::BodyTimeout | Self::Body(_) => Kind::InvalidInput,
        }
    }
}
