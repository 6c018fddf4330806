use tare_model::{HasKind, Kind};

/// This room's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image could not be built. Where clients of Docker read the text, it is in Docker's words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request, the Dockerfile or the context breaks a rule.
    #[error("{0}")]
    Request(String),
    /// Nobody allowed what a step wants to do.
    #[error("{0}")]
    Forbidden(String),
    /// A RUN ended with another exit code than 0.
    #[error("The command '{command}' returned a non-zero code: {exit_code}")]
    Command {
        /// What was run.
        command: String,
        /// How it ended.
        exit_code: i32,
    },
    /// A step failed: the reason, and below it the line of the Dockerfile with a caret.
    #[error("{reason}\n{excerpt}")]
    Step {
        /// What went wrong.
        reason: Box<Error>,
        /// The place, ready to print.
        excerpt: String,
    },
    /// A limit of bytes, entries or time is reached.
    #[error("{0}")]
    Limit(String),
    /// A system call failed.
    #[error("{step}: {source}")]
    Io {
        /// What was attempted, on what.
        step: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another room failed.
    #[error("{message}")]
    Room {
        /// Its words.
        message: String,
        /// Its judgement.
        kind: Kind,
    },
    /// Nobody wants the image any more.
    #[error("the build was cancelled")]
    Cancelled,
}

impl Error {
    /// A mistake in the Dockerfile, shown in its place.
    pub(crate) fn dockerfile(error: &tare_dockerfile::Error, source: &str, name: &str) -> Self {
        let line = error.span.line;
        let place = if line > 0 { format!(" on line {line}") } else { String::new() };
        let message = format!("dockerfile parse error{place}: {}", error.explain(source, name));
        Self::Room { message, kind: error.kind() }
    }

    /// The exit code of the command that failed, for clients that pass it on.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Command { exit_code, .. } => Some(*exit_code),
            Self::Step { reason, .. } => reason.exit_code(),
            _ => None,
        }
    }
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Request(_) => Kind::InvalidInput,
            Self::Forbidden(_) => Kind::Forbidden,
            Self::Command { .. } | Self::Cancelled => Kind::Internal,
            Self::Step { reason, .. } => reason.kind(),
            Self::Limit(_) => Kind::Exhausted,
            Self::Io { source, .. } => HasKind::kind(source),
            Self::Room { kind, .. } => *kind,
        }
    }
}

tare_model::from_rooms!(
    tare_container::Error,
    tare_image::Error,
    tare_registry::Error,
    tare_snapshot::Error,
    tare_store::Error,
    tare_dockerfile::Error,
);

/// Names the step of a failed system call.
pub(crate) fn io<E: Into<std::io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Error {
    let step = step.into();
    move |error| Error::Io { step, source: error.into() }
}
