use tare_docker_api::ErrorMessage;
use tare_http::{Reply, StatusCode};
use tare_model::{HasKind, Kind};
use thiserror::Error;

/// What this room's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request is not answered with what it asked for. The text is the reply's `message`, in dockerd's words where clients
/// look at them.
#[derive(Debug, Error)]
pub enum Error {
    /// A parameter, header or document that breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// Docker has it, this version does not.
    #[error("not supported yet: {0}")]
    NotSupported(String),
    /// This node is in no swarm.
    #[error(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
    )]
    NotASwarmManager,
    /// Another room's error: its words and its kind.
    #[error("{message}")]
    Room {
        /// Its words.
        message: String,
        /// Its judgement.
        kind: Kind,
    },
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::NotSupported(what.into())
    }

    /// The reply that tells the client.
    pub(crate) fn reply(&self) -> Reply {
        match status(self.kind()) {
            StatusCode::NOT_MODIFIED => Reply::empty(StatusCode::NOT_MODIFIED), // has no body (RFC 9110, 15.4.5)
            status => refusal(status, self.to_string()),
        }
    }
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::InvalidInput,
            Self::NotSupported(_) => Kind::NotSupported,
            Self::NotASwarmManager => Kind::Unavailable,
            Self::Room { kind, .. } => *kind,
        }
    }
}

/// An error in Docker's form.
pub(crate) fn refusal(status: StatusCode, message: String) -> Reply {
    Reply::json(status, &ErrorMessage { message })
}

/// The one table from kinds to statuses.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::InvalidInput => StatusCode::BAD_REQUEST,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::NotSupported => StatusCode::NOT_IMPLEMENTED,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Exhausted | Kind::Corrupt | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

tare_model::from_rooms!(
    tare_http::Error,
    tare_build::Error,
    tare_container::Error,
    tare_image::Error,
    tare_network::Error,
    tare_registry::Error,
    tare_volume::Error,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_do_has_no_body() {
        let reply = Error::Room { message: "already".into(), kind: Kind::NotModified }.reply();
        assert_eq!((reply.status, reply.whole_body()), (StatusCode::NOT_MODIFIED, Some(&b""[..])));
        let reply = Error::unsupported("flying").reply();
        assert_eq!(reply.status, StatusCode::NOT_IMPLEMENTED);
        assert_eq!(reply.whole_body(), Some(&b"{\"message\":\"not supported yet: flying\"}\n"[..]));
    }
}
