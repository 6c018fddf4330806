//! What a command ends with.

use std::fmt;

/// An exit code, or the reason of another one.
pub(crate) type Outcome = Result<u8, Failure>;

/// One line, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl Failure {
    /// Exit code 1.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), code: 1 }
    }

    /// In a command that exits with its program's own code, 1 would be ambiguous.
    pub(crate) fn of_program(error: &tare_runtime::Error) -> Self {
        Self { message: error.to_string(), code: error.exit_code() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<tare_runtime::Error> for Failure {
    fn from(error: tare_runtime::Error) -> Self {
        Self::new(error)
    }
}
