use std::net::{IpAddr, Ipv4Addr};

use tare_model::{HasKind, Kind};
use thiserror::Error;

/// Why a network could not do what a container asked.
#[derive(Debug, Error)]
pub enum Error {
    /// Not ADDRESS/PREFIX, or unfit for a bridge.
    #[error("invalid subnet \"{text}\": {reason}")]
    Subnet {
        /// As given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Neither tcp nor udp.
    #[error("invalid proto: {0}")]
    Protocol(String),
    /// Not six hexadecimal octets, or a group address.
    #[error(
        "invalid MAC address \"{0}\": six hexadecimal octets of a single station are wanted, as in 02:42:ac:1e:00:02"
    )]
    Mac(String),
    /// The instance or the bridge's name cannot name a link.
    #[error("invalid {what} \"{name}\": {rule}")]
    Name {
        /// What was to be named.
        what: &'static str,
        /// As given.
        name: String,
        /// What names look like.
        rule: &'static str,
    },
    /// A range of ports without a port.
    #[error("invalid port range {0}-{1}: the first port is 1 or more and not above the last")]
    PortRange(u16, u16),
    /// More ports than sockets that one container may have reserved.
    #[error("{0} ports are more than the {1} that one container can publish")]
    TooManyPorts(usize, usize),
    /// Part of the field's interface, not built yet.
    #[error("not supported yet: {0}")]
    NotYet(String),
    /// No network has this name or id.
    #[error("network {0} not found")]
    NoNetwork(String),
    /// Several networks' ids start so.
    #[error("network {0} is ambiguous: several ids start with it")]
    Ambiguous(String),
    /// The container was given no endpoint, or it was taken back.
    #[error("container {0} has no endpoint on any network")]
    NoEndpoint(String),
    /// The process has ended or never was.
    #[error("the network namespace of process {pid} cannot be opened: {cause}")]
    NoNamespace {
        /// The container's first process.
        pid: i32,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// The process lives in the daemon's own network namespace: a link made there would be the host's.
    #[error("process {0} has no network namespace of its own")]
    HostNamespace(i32),
    /// Outside of the subnet, or one of its reserved addresses.
    #[error("invalid address {address}: it is no free host address of {subnet}")]
    AddressOutside {
        /// As asked for.
        address: Ipv4Addr,
        /// The network's subnet.
        subnet: String,
    },
    /// Another container has it.
    #[error("Address already in use: {0} belongs to another container")]
    AddressInUse(Ipv4Addr),
    /// No address is left.
    #[error("no available IPv4 addresses on network {network}: all of {subnet} are in use")]
    NoAddress {
        /// The network's name.
        network: String,
        /// Its subnet.
        subnet: String,
    },
    /// Every private range that we would take is in use on this machine.
    #[error("no free private subnet: the machine has routes into all that were tried; choose one with --bip")]
    NoSubnet,
    /// The subnet that the store remembers was taken by someone else meanwhile.
    #[error(
        "subnet {subnet} of bridge {bridge} overlaps {other}, which the machine already routes; choose another with --bip"
    )]
    SubnetInUse {
        /// Ours.
        subnet: String,
        /// Our bridge.
        bridge: String,
        /// The route in the way.
        other: String,
    },
    /// Someone else has the port. Docker's words, which tools look for.
    #[error(
        "driver failed programming external connectivity on endpoint {endpoint}: Bind for {ip}:{port} failed: port is already allocated"
    )]
    PortInUse {
        /// The container's name and endpoint id.
        endpoint: String,
        /// The host's address.
        ip: IpAddr,
        /// The host's port, or `first-last`.
        port: String,
    },
    /// The port cannot be bound for another reason, such as an address that the host does not have.
    #[error(
        "driver failed programming external connectivity on endpoint {endpoint}: Bind for {ip}:{port} failed: {cause}"
    )]
    Bind {
        /// The container's name and endpoint id.
        endpoint: String,
        /// The host's address.
        ip: IpAddr,
        /// The host's port.
        port: String,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// A kernel setting that the bridge needs cannot be written.
    #[error(
        "cannot write {value} to {path}: {cause}; set it by hand or run the daemon with /proc/sys writable"
    )]
    Sysctl {
        /// The file below /proc/sys.
        path: String,
        /// What was to be written.
        value: &'static str,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// The kernel refused a change of links, addresses, routes or rules.
    #[error("{what}: {cause}")]
    Kernel {
        /// What was being done, and to what.
        what: String,
        /// What the kernel said.
        cause: tare_netlink::Error,
    },
    /// The store could not be read or written.
    #[error("the network's records: {0}")]
    Store(tare_store::Error),
    /// A thread that was to do the work is gone.
    #[error("the network's worker ended before its work was done")]
    Worker,
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Subnet { .. }
            | Self::Protocol(_)
            | Self::Mac(_)
            | Self::Name { .. }
            | Self::PortRange(..)
            | Self::TooManyPorts(..)
            | Self::AddressOutside { .. }
            | Self::Ambiguous(_) => Kind::InvalidInput,
            Self::NotYet(_) => Kind::NotSupported,
            Self::NoNetwork(_) | Self::NoEndpoint(_) => Kind::NotFound,
            Self::AddressInUse(_) | Self::PortInUse { .. } | Self::SubnetInUse { .. } => Kind::Conflict,
            Self::NoAddress { .. } | Self::NoSubnet => Kind::Exhausted,
            Self::Bind { .. }
            | Self::NoNamespace { .. }
            | Self::HostNamespace(_)
            | Self::Sysctl { .. }
            | Self::Worker => Kind::Internal,
            Self::Kernel { cause, .. } => cause.kind(),
            Self::Store(cause) => cause.kind(),
        }
    }
}
