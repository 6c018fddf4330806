use std::io;

use tare_model::{HasKind, Kind};
use thiserror::Error;

/// Why the kernel did not do what a message asked.
#[derive(Debug, Error)]
pub enum Error {
    /// The socket could not be opened, written or read.
    #[error("netlink socket: cannot {action}: {cause}")]
    Socket {
        /// open, send or receive.
        action: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The kernel refused a message.
    #[error("{}", refused(.code, .reason))]
    Refused {
        /// The kernel's error number, positive.
        code: i32,
        /// The kernel's own explanation (extended acknowledgement), often empty.
        reason: String,
    },
    /// An answer that does not parse; the kernel and we disagree on a format.
    #[error("netlink: the kernel's answer is malformed: {0}")]
    Malformed(&'static str),
    /// A thread inside of another network namespace could not be had.
    #[error("cannot enter the network namespace: {0}")]
    Namespace(io::Error),
}

fn refused(code: &i32, reason: &str) -> String {
    let error = io::Error::from_raw_os_error(*code);
    if reason.is_empty() { error.to_string() } else { format!("{error}: {reason}") }
}

impl Error {
    /// The kernel's error number, where it refused a message.
    pub fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Self::Refused { code, .. } => Some(rustix::io::Errno::from_raw_os_error(*code)),
            _ => None,
        }
    }

    /// Whether the kernel said that the object does not exist.
    pub fn is_missing(&self) -> bool {
        use rustix::io::Errno;
        matches!(self.errno(), Some(Errno::NOENT | Errno::NODEV | Errno::NXIO))
    }
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        use rustix::io::Errno;
        match self.errno() {
            Some(Errno::NOENT | Errno::NODEV) => Kind::NotFound,
            Some(Errno::EXIST) => Kind::Conflict,
            // A bridge with 1023 ports has no room for more: EXFULL.
            Some(Errno::NOSPC | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::XFULL) => {
                Kind::Exhausted
            }
            Some(Errno::OPNOTSUPP) => Kind::NotSupported,
            _ => Kind::Internal,
        }
    }
}
