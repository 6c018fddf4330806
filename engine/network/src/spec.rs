use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tare_model::{Id, Timestamp};

use crate::{Error, Ipv4Net};

/// What the daemon was told about its networks.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What tells this daemon's bridge and table from those of others on the machine; empty for the machine's main
    /// daemon. 1 to 8 characters of `[a-z0-9]`.
    pub instance: String,
    /// `--bridge`: the bridge's name. `None` gives `tare0`, or `tare0-<instance>`.
    pub bridge: Option<String>,
    /// `--bip`: the bridge's own address and the length of its subnet's prefix. `None` gives a free private subnet.
    pub subnet: Option<Ipv4Net>,
    /// `--mtu`: the largest packet, in bytes. `None` leaves the kernel's 1500.
    pub mtu: Option<u32>,
}

/// A network that containers can be on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its identifier, kept for as long as the data root is.
    pub id: Id,
    /// `bridge`, `host` or `none`.
    pub name: String,
    /// `bridge`, `host` or `null`, Docker's words.
    pub driver: String,
    /// The containers' addresses come from here; `None` for host and none.
    pub subnet: Option<Ipv4Net>,
    /// The bridge's own address.
    pub gateway: Option<Ipv4Addr>,
    /// When the data root first had it.
    pub created: Timestamp,
    /// The driver's options under Docker's keys, such as `com.docker.network.bridge.name`.
    pub options: BTreeMap<String, String>,
}

/// What a container asks of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRequest {
    /// The network's name or id; empty or `default` is `bridge`.
    pub network: String,
    /// The container's name, for error texts only.
    pub name: String,
    /// A certain address instead of the next free one.
    pub ip: Option<Ipv4Addr>,
    /// A certain hardware address, `02:42:ac:1e:00:02`, instead of the one that follows from the address.
    pub mac: Option<String>,
    /// `-p`.
    pub ports: Vec<PortRequest>,
    /// The image's and `--expose`'s ports: what `publish_all` publishes.
    pub exposed: Vec<(u16, Protocol)>,
    /// `-P`: give every exposed port that `ports` does not name an ephemeral port of the host.
    pub publish_all: bool,
}

/// One `-p`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortRequest {
    /// The port inside.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address to publish on; `None` is all of them.
    pub host_ip: Option<IpAddr>,
    /// The host's port; `None` or 0 lets the kernel choose an ephemeral one.
    pub host_port: Option<u16>,
    /// First and last of the host's ports of which the first free one serves, `-p 8000-8010:80`; goes before `host_port`.
    pub host_port_range: Option<(u16, u16)>,
}

/// A published port, chosen and reserved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// The port inside.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address; `0.0.0.0` is all of them.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
}

/// A container's place on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its own identifier, new at each allocation.
    pub id: Id,
    /// The network's.
    pub network_id: Id,
    /// The network's name.
    pub network: String,
    /// The container's address; `0.0.0.0` on host and none, which give no address ([`Endpoint::has_address`]).
    pub address: Ipv4Addr,
    /// The length of the subnet's prefix; 0 without an address.
    pub prefix: u8,
    /// Where the default route points; `0.0.0.0` without an address.
    pub gateway: Ipv4Addr,
    /// The hardware address; empty without an address.
    pub mac: String,
    /// What is published.
    pub ports: Vec<Port>,
}

impl Endpoint {
    /// Whether the container has an address and a link of its own.
    pub fn has_address(&self) -> bool {
        !self.address.is_unspecified()
    }
}

/// A transport protocol that ports can be published for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission control.
    Tcp,
    /// User datagrams.
    Udp,
}

impl Protocol {
    /// Its number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Err(Error::NotYet("ports of sctp".to_owned())),
            _ => Err(Error::Protocol(text.to_owned())),
        }
    }
}
