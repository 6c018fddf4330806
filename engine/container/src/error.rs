use tare_model::{HasKind, Id, Kind};

/// This room's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something with a container did not work. Where clients of Docker read the text, it is in Docker's words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container has this id, prefix or name.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// Several ids begin so.
    #[error("Multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// No exec session has this id.
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    /// The name belongs to another container.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The name asked for.
        name: String,
        /// Who has it.
        holder: Id,
    },
    /// A field of the container's description breaks a rule.
    #[error("{0}")]
    InvalidSpec(String),
    /// Docker has it, this version does not.
    #[error("not supported yet: {0}")]
    NotSupported(String),
    /// It already runs, or is already stopped: nothing to do.
    #[error("container {0} is already {1}")]
    Already(Id, &'static str),
    /// The request needs a running container.
    #[error("container {0} is not running")]
    NotRunning(Id),
    /// The request cannot be served while the container is in this state.
    #[error("{0}")]
    State(String),
    /// The user named in the image or request is not one of the image's, or not a valid one.
    #[error("{0}")]
    User(String),
    /// The container's program could not be started; the code is what `docker run` ends with.
    #[error("failed to create task for container: {message}: unknown")]
    Start {
        /// The runtime's words.
        message: String,
        /// 125, 126 or 127.
        exit_code: i32,
    },
    /// A further process could not be started in a running container.
    #[error("OCI runtime exec failed: exec failed: {message}: unknown")]
    Exec {
        /// The runtime's words.
        message: String,
        /// 125, 126 or 127.
        exit_code: i32,
    },
    /// The shim answered a request with an error.
    #[error("{message}")]
    Shim {
        /// The shim's words.
        message: String,
        /// The shim's judgement.
        kind: Kind,
    },
    /// The shim ended or broke off in the middle of a request.
    #[error("the shim of container {0} is gone: {1}")]
    ShimLost(Id, String),
    /// The container writes no log that could be read.
    #[error("configured logging driver does not support reading")]
    NotReadable,
    /// The reader of events or logs was too slow; this many were dropped.
    #[error("{0} events were dropped because they were not read fast enough")]
    Lagged(u64),
    /// A system call failed.
    #[error("{step}: {source}")]
    Io {
        /// What was attempted, on what.
        step: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The engine is shutting down.
    #[error("the daemon is shutting down")]
    ShuttingDown,
    /// Another room failed.
    #[error("{message}")]
    Room {
        /// Its words.
        message: String,
        /// Its judgement.
        kind: Kind,
    },
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NoSuchContainer(_) | Self::NoSuchExec(_) => Kind::NotFound,
            Self::Ambiguous(_) | Self::InvalidSpec(_) | Self::User(_) => Kind::InvalidInput,
            Self::NameInUse { .. } | Self::NotRunning(_) | Self::State(_) => Kind::Conflict,
            Self::NotSupported(_) | Self::NotReadable => Kind::NotSupported,
            Self::Already(..) => Kind::NotModified,
            Self::Start { exit_code: 126 | 127, .. } | Self::Exec { exit_code: 126 | 127, .. } => {
                Kind::InvalidInput
            }
            Self::Start { .. } | Self::Exec { .. } | Self::ShimLost(..) | Self::Lagged(_) => Kind::Internal,
            Self::Shim { kind, .. } | Self::Room { kind, .. } => *kind,
            Self::Io { source, .. } => HasKind::kind(source),
            Self::ShuttingDown => Kind::Unavailable,
        }
    }
}

tare_model::from_rooms!(
    tare_store::Error,
    tare_snapshot::Error,
    tare_image::Error,
    tare_network::Error,
    tare_volume::Error,
);

/// Names the step that a system call belonged to.
pub(crate) trait Step<T> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Step<T> for std::result::Result<T, E> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { step: step(), source: source.into() })
    }
}
