use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `unix:///run/tare/tare.sock`
    Unix(PathBuf),
    /// `tcp://127.0.0.1:2375`; the text is `host:port`.
    Tcp(String),
}

/// A host, and whether a daemon may be started there when none answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to connect.
    pub host: Host,
    /// True for the default socket only: of any other address nobody knows which data the daemon there would keep.
    pub start: bool,
}

impl Target {
    /// Chooses as a person expects: what `--host` says, else `TARE_HOST`, else the default socket of this user.
    pub fn resolve(option: Option<&str>) -> Result<Self> {
        let variable = std::env::var("TARE_HOST").ok();
        match option.or(variable.as_deref()).filter(|text| !text.is_empty()) {
            Some(text) => Ok(Self { host: text.parse()?, start: false }),
            None => Ok(Self { host: Host::Unix(default_socket()), start: true }),
        }
    }
}

/// `/run/tare/tare.sock` for root, `$XDG_RUNTIME_DIR/tare/tare.sock` for others.
fn default_socket() -> PathBuf {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return PathBuf::from("/run/tare/tare.sock");
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let base = runtime.map_or_else(|| PathBuf::from(format!("/run/user/{}", uid.as_raw())), PathBuf::from);
    base.join("tare/tare.sock")
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why| Error::Host { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix("unix://") {
            let absolute = path.starts_with('/');
            return absolute.then(|| Self::Unix(path.into())).ok_or_else(|| bad("the path must be absolute"));
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        let Some(rest) = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")) else {
            return Err(bad("unix:///path or tcp://address:port is wanted"));
        };
        tcp_authority(rest.trim_end_matches('/'))
            .map(Self::Tcp)
            .ok_or_else(|| bad("no valid address and port"))
    }
}

/// Reads `address[:port]`; Docker's port for plain HTTP where none is named.
fn tcp_authority(text: &str) -> Option<String> {
    let (address, port) = match text.rsplit_once(':') {
        Some((address, port)) if !port.ends_with(']') => {
            (address, port.parse::<u16>().ok().filter(|p| *p > 0)?)
        }
        _ => (text, 2375),
    };
    let literal = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let valid = match literal {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        }
    };
    valid.then(|| format!("{address}:{port}"))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_in_their_usual_forms() {
        assert_eq!("unix:///a/b".parse::<Host>().unwrap(), Host::Unix("/a/b".into()));
        assert_eq!("/a/b".parse::<Host>().unwrap(), Host::Unix("/a/b".into()));
        assert_eq!("tcp://localhost".parse::<Host>().unwrap(), Host::Tcp("localhost:2375".into()));
        assert_eq!("tcp://[::1]:99".parse::<Host>().unwrap(), Host::Tcp("[::1]:99".into()));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "x",
            "unix://a",
            "ssh://a",
            "tcp://",
            "tcp://a:0",
            "tcp://a:99999",
            "tcp://[x]:1",
            "tcp://a/b:1",
            "tcp://u@h:1",
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }
}
