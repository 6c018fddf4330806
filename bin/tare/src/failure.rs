//! What a person sees when something fails: one line that says what, one that says what to do, and the exit code.

use std::io;

use tare_client::Error;

/// A result of a verb.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a verb failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What failed; empty where it has been said already.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The exit code.
    pub(crate) code: u8,
    /// What `main` has to add to it.
    pub(crate) then: Then,
}

/// What a failure is followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    /// It is no failure: a person asked for help.
    ShowHelp,
    /// The command line is wrong: say how to see the right one.
    PointToHelp,
}

/// The exit code of a shell's program that a closed pipe ended (128 + SIGPIPE).
const BROKEN_PIPE: u8 = 141;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 1, then: Then::Nothing }
    }

    /// The command line cannot be understood.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 125, ..Self::new(message) }
    }

    pub(crate) fn help() -> Self {
        Self { then: Then::ShowHelp, code: 0, ..Self::new("") }
    }

    /// Everything has been said; only the exit code is left.
    pub(crate) fn said(code: u8) -> Self {
        Self { code, ..Self::new("") }
    }

    /// Part of Docker's command line that Tare does not have yet.
    pub(crate) fn not_supported(what: &str) -> Self {
        Self::usage(format!("not supported yet: {what}"))
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn hint_or_help(self, hint: Option<String>) -> Self {
        let then = if hint.is_some() { Then::Nothing } else { Then::PointToHelp };
        Self { hint, then, ..self }
    }

    pub(crate) fn code(self, code: u8) -> Self {
        Self { code, ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = error.hint().or_else(|| hint_for(error.status()?, &error.to_string().to_lowercase()));
        Self { hint, ..Self::new(error.to_string()) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::said(BROKEN_PIPE),
            _ => Self::new(error.to_string()),
        }
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

/// Whether a registry wants somebody else to ask, or anybody at all.
pub(crate) fn wants_login(message: &str) -> bool {
    let lower = message.to_lowercase();
    ["access denied for", "unauthorized", "authentication required", "no basic auth credentials"]
        .iter()
        .any(|word| lower.contains(word))
}

/// What helps against the usual refusals of a daemon.
fn hint_for(status: u16, message: &str) -> Option<String> {
    let hint = match status {
        _ if wants_login(message) => "log in with: tare login REGISTRY",
        404 if message.contains("no such container") => "list them with: tare ps -a",
        404 if message.contains("no such image") => {
            "list them with: tare images; fetch one with: tare pull NAME"
        }
        404 if message.contains("no such volume") || message.contains("volume not found") => {
            "list them with: tare volume ls"
        }
        404 if message.contains("network") => "list them with: tare network ls",
        409 if message.contains("already in use by container") => {
            "choose another --name, or remove that container with: tare rm"
        }
        409 if message.contains("is not running") => "start it with: tare start",
        409 if message.contains("running") && message.contains("remove") => "stop it first, or add --force",
        401 => "log in with: tare login",
        _ => return None,
    };
    Some(hint.to_owned())
}
