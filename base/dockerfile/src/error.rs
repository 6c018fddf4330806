use tare_model::{HasKind, Kind};
use thiserror::Error;

use crate::{Span, excerpt};

/// Why a Dockerfile, one of its words or a `.dockerignore` cannot be used. `span` says where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong and what to do, on one line.
    pub message: String,
    /// Where; [`Span::default`] where the file as a whole is meant.
    pub span: Span,
    /// Whether Tare lacks it, rather than the author having erred.
    pub unsupported: bool,
}

impl Error {
    /// A mistake of the author at a place.
    pub fn at(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, unsupported: false }
    }

    /// Part of the language that Tare lacks.
    pub fn unsupported(span: Span, what: impl std::fmt::Display) -> Self {
        Self { message: format!("not supported yet: {what}"), span, unsupported: true }
    }

    /// The message, and below it the line with a caret. `name` is what the file is called in it.
    pub fn explain(&self, source: &str, name: &str) -> String {
        match excerpt(source, name, self.span) {
            shown if shown.is_empty() => self.message.clone(),
            shown => format!("{}\n{shown}", self.message),
        }
    }
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        if self.unsupported { Kind::NotSupported } else { Kind::InvalidInput }
    }
}

/// What this room's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
