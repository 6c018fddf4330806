use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tare_network::{PortRequest, Protocol};

use crate::{Error, Result};

/// Which network, which ports, which names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// Which network.
    pub mode: NetworkMode,
    /// A fixed address on it.
    pub address: Option<Ipv4Addr>,
    /// A fixed MAC address, `02:42:ac:11:00:02`.
    pub mac: Option<String>,
    /// Reached from outside.
    pub published: Vec<PortRequest>,
    /// Every exposed port is published on a free port of the host.
    pub publish_all: bool,
    /// What the program listens on, by its own words and the image's.
    pub exposed: Vec<(u16, Protocol)>,
    /// Name servers; empty = the host's.
    pub dns: Vec<IpAddr>,
    /// Search domains; empty = the host's.
    pub dns_search: Vec<String>,
    /// resolv.conf(5) options.
    pub dns_options: Vec<String>,
    /// Further lines of /etc/hosts, `name:address`; the address `host-gateway` stands for the host.
    pub extra_hosts: Vec<String>,
}

/// Which network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// The default bridge.
    #[default]
    Bridge,
    /// The host's interfaces.
    Host,
    /// A loopback of its own and nothing else.
    None,
    /// The interfaces of the container with this name or id.
    Container(String),
    /// The network of this name or id.
    Named(String),
}

impl FromStr for NetworkMode {
    type Err = Error;

    /// Reads Docker's words: `default`, `bridge`, `host`, `none`, `container:NAME`, or a network's name.
    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "" | "default" | "bridge" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            other => match other.split_once(':') {
                Some(("container", name)) if !name.is_empty() => Self::Container(name.to_owned()),
                Some(_) => return Err(Error::InvalidSpec(format!("invalid network mode: {text}"))),
                None => Self::Named(other.to_owned()),
            },
        })
    }
}

impl std::fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bridge => f.write_str("bridge"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Container(name) => write!(f, "container:{name}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}
