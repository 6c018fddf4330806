use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which namespaces are the container's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceSpec {
    /// Process ids.
    pub pid: NamespaceMode,
    /// System V IPC, message queues and /dev/shm.
    pub ipc: IpcMode,
    /// Host name.
    pub uts: NamespaceMode,
    /// Ids. Only `Host` is meant by Docker's `--userns=host`; `Private` takes the daemon's mapping, if it has one.
    pub user: NamespaceMode,
    /// The control groups that are seen.
    pub cgroup: NamespaceMode,
}

/// Whose namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of the container with this name or id.
    Container(String),
}

/// Whose IPC namespace and /dev/shm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpcMode {
    /// Its own.
    #[default]
    Private,
    /// Its own, and others may join.
    Shareable,
    /// Its own, without /dev/shm.
    None,
    /// The host's.
    Host,
    /// That of the container with this name or id.
    Container(String),
}

impl FromStr for NamespaceMode {
    type Err = Error;

    /// Reads Docker's words: empty or `private`, `host`, `container:NAME`.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("container", name)) if !name.is_empty() => Ok(Self::Container(name.to_owned())),
            None if text.is_empty() || text == "private" => Ok(Self::Private),
            None if text == "host" => Ok(Self::Host),
            _ => Err(Error::InvalidSpec(format!("invalid namespace mode: {text}"))),
        }
    }
}

impl FromStr for IpcMode {
    type Err = Error;

    /// Reads Docker's words: empty or `private`, `shareable`, `none`, `host`, `container:NAME`.
    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "shareable" => Self::Shareable,
            "none" => Self::None,
            other => {
                match other.parse().map_err(|_| Error::InvalidSpec(format!("invalid IPC mode: {text}")))? {
                    NamespaceMode::Private => Self::Private,
                    NamespaceMode::Host => Self::Host,
                    NamespaceMode::Container(name) => Self::Container(name),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_in_dockers_words() {
        assert_eq!("".parse::<NamespaceMode>().unwrap(), NamespaceMode::Private);
        assert_eq!("container:db".parse::<NamespaceMode>().unwrap(), NamespaceMode::Container("db".into()));
        assert_eq!("shareable".parse::<IpcMode>().unwrap(), IpcMode::Shareable);
        for bad in ["container:", "container", "hosts", "ns:/proc/1/ns/pid"] {
            assert!(bad.parse::<NamespaceMode>().is_err(), "{bad}");
            assert!(bad.parse::<IpcMode>().is_err(), "{bad}");
        }
    }
}
