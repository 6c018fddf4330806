//! rtnetlink(7): links, addresses and routes.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use crate::message::{Message, attributes, find, flag, read_text, read_u32};
use crate::{Error, Socket};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
pub(crate) const SET_LINK: u16 = 19;
pub(crate) const NEW_ADDRESS: u16 = 20;
pub(crate) const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

pub(crate) mod link {
    pub(super) const ADDRESS: u16 = 1;
    pub(crate) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const MASTER: u16 = 10;
    pub(super) const INFO: u16 = 18;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DETAILS: u16 = 2;
    pub(super) const INFO_PORT_KIND: u16 = 4;
    pub(super) const INFO_PORT_DETAILS: u16 = 5;
    pub(super) const PORT_HAIRPIN: u16 = 4;
    pub(super) const AF_SPEC: u16 = 26;
    pub(crate) const NAMESPACE_FD: u16 = 28;
    pub(super) const EXT_MASK: u16 = 29;
    pub(super) const VETH_PEER: u16 = 1;
    /// Within [`AF_SPEC`], `AF_INET`: the interface's settings of /proc/sys/net/ipv4/conf, by number.
    pub(super) const INET_SETTINGS: u16 = 1;
    pub(super) const INET_ROUTE_LOCALNET: u16 = 26;
    /// Within [`AF_SPEC`], `AF_INET6`.
    pub(super) const INET6_ADDRESS_MODE: u16 = 8;
}
mod address {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
    pub(super) const BROADCAST: u16 = 4;
}
mod route_attribute {
    pub(super) const DESTINATION: u16 = 1;
    pub(super) const LINK: u16 = 4;
    pub(super) const GATEWAY: u16 = 5;
    pub(super) const TABLE: u16 = 15;
}

const INET: u8 = 2;
const INET6: u8 = 10;
const UP: u32 = 1;
const ADDRESS_MODE_NONE: u8 = 1;
/// Leaves the counters out of an answer about links.
const SKIP_STATISTICS: u32 = 8;
const LINK_HEADER: usize = 16;
pub(crate) const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;
const TABLE_MAIN: u8 = 254;
const TABLE_LOCAL: u32 = 255;
const PROTOCOL_BOOT: u8 = 3;
const SCOPE_UNIVERSE: u8 = 0;
const TYPE_UNICAST: u8 = 1;

/// The index of the loopback device: the first of every network namespace.
pub const LOOPBACK: u32 = 1;

/// A hardware address.
pub type Mac = [u8; 6];

/// A network device, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// `bridge`, `veth`, …; empty for physical devices and loopback.
    pub kind: String,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
    /// Whether it is up.
    pub up: bool,
    /// Its hardware address, where it has six octets.
    pub mac: Option<Mac>,
    /// Its largest packet, in bytes.
    pub mtu: u32,
}

/// An IPv4 address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's index.
    pub link: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// The length of its network's prefix.
    pub prefix: u8,
}

/// An IPv4 route to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network's address; `0.0.0.0` with prefix 0 is the default route.
    pub destination: Ipv4Addr,
    /// The length of its prefix.
    pub prefix: u8,
    /// The next hop, if it is not on the link itself.
    pub gateway: Option<Ipv4Addr>,
    /// The link that packets leave by.
    pub link: Option<u32>,
}

/// A pair of veth devices to be made: one end here, as port of a bridge, the other in a container.
#[derive(Clone, Copy, Debug)]
pub struct VethPair<'a> {
    /// The name of the end that stays here.
    pub name: &'a str,
    /// The bridge that it becomes a port of.
    pub master: u32,
    /// The name of the other end.
    pub peer_name: &'a str,
    /// The hardware address of the other end.
    pub peer_mac: Mac,
    /// The network namespace in which the other end is born.
    pub peer_namespace: BorrowedFd<'a>,
    /// The largest packet of both, in bytes.
    pub mtu: Option<u32>,
}

/// `struct ifinfomsg`, changing no flag but those of `change`.
pub(crate) fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// Makes a bridge. Its hardware address is given, as it would otherwise change with its ports.
pub fn create_bridge(name: &str, mac: Mac, mtu: Option<u32>) -> Message {
    let mut message = Message::new(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, &link_header(0, 0, 0));
    message.text(link::NAME, name).attribute(link::ADDRESS, &mac);
    if let Some(mtu) = mtu {
        message.u32(link::MTU, mtu);
    }
    message.nest(link::INFO, |info| {
        info.text(link::INFO_KIND, "bridge");
    });
    message
}

/// Makes both ends of a veth pair, each where it belongs. The kernel does all of it or nothing.
pub fn create_veth(pair: &VethPair<'_>) -> Message {
    let mut message = Message::new(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, &link_header(0, 0, 0));
    message.text(link::NAME, pair.name).u32(link::MASTER, pair.master);
    if let Some(mtu) = pair.mtu {
        message.u32(link::MTU, mtu);
    }
    message.nest(link::INFO, |info| {
        info.text(link::INFO_KIND, "veth").nest(link::INFO_DETAILS, |details| {
            details.nest(link::VETH_PEER, |peer| {
                peer.raw(&link_header(0, 0, 0)).text(link::NAME, pair.peer_name);
                peer.attribute(link::ADDRESS, &pair.peer_mac)
                    .descriptor(link::NAMESPACE_FD, pair.peer_namespace);
                if let Some(mtu) = pair.mtu {
                    peer.u32(link::MTU, mtu);
                }
            });
        });
    });
    message
}

/// Switches a link on.
pub fn set_up(index: u32) -> Message {
    Message::new(SET_LINK, 0, &link_header(index, UP, UP))
}

/// Switches the link of this name on.
pub fn set_up_by_name(name: &str) -> Message {
    let mut message = Message::new(SET_LINK, 0, &link_header(0, UP, UP));
    message.text(link::NAME, name);
    message
}

/// Prepares the port of a bridge that has this name: it gets no IPv6 address by itself, and frames may leave by it that
/// came in by it, as those of a container do that talks to itself by way of the machine.
pub fn prepare_port(name: &str) -> Message {
    let mut message = Message::new(NEW_LINK, 0, &link_header(0, 0, 0));
    message.text(link::NAME, name).nest(link::INFO, |info| {
        info.text(link::INFO_PORT_KIND, "bridge").nest(link::INFO_PORT_DETAILS, |details| {
            details.attribute(link::PORT_HAIRPIN, &[1]);
        });
    });
    message.nest(link::AF_SPEC, |families| {
        families.nest(u16::from(INET6), |inet6| {
            inet6.attribute(link::INET6_ADDRESS_MODE, &[ADDRESS_MODE_NONE]);
        });
    });
    message
}

/// Lets packets from and to 127.0.0.0/8 leave and enter by this link. Whoever asks for this must drop those that
/// strangers send: CVE-2020-8558.
pub fn route_localnet(index: u32) -> Message {
    let mut message = Message::new(SET_LINK, 0, &link_header(index, 0, 0));
    message.nest(link::AF_SPEC, |families| {
        families.nest(u16::from(INET), |inet| {
            inet.nest(link::INET_SETTINGS, |settings| {
                settings.u32(link::INET_ROUTE_LOCALNET, 1);
            });
        });
    });
    message
}

/// Deletes a link, and with a veth its other end. The kernel takes its time (25 ms): never while a user waits.
pub fn delete_link(index: u32) -> Message {
    Message::new(DELETE_LINK, 0, &link_header(index, 0, 0))
}

/// Adds an address to a link, and with it the route to its network.
pub fn add_address(index: u32, address: Ipv4Addr, prefix: u8) -> Message {
    let mut header = [0; ADDRESS_HEADER];
    header[0] = INET;
    header[1] = prefix;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut message = Message::new(NEW_ADDRESS, flag::CREATE | flag::EXCLUSIVE, &header);
    message.attribute(address::LOCAL, &address.octets()).attribute(address::ADDRESS, &address.octets());
    if prefix < 31 {
        let broadcast = Ipv4Addr::from_bits(address.to_bits() | (u32::MAX >> prefix));
        message.attribute(address::BROADCAST, &broadcast.octets());
    }
    message
}

/// Sends what goes to no known network to `gateway`.
pub fn add_default_route(index: u32, gateway: Ipv4Addr) -> Message {
    let mut header = [0; ROUTE_HEADER];
    header[0] = INET;
    header[4..8].copy_from_slice(&[TABLE_MAIN, PROTOCOL_BOOT, SCOPE_UNIVERSE, TYPE_UNICAST]);
    let mut message = Message::new(NEW_ROUTE, flag::CREATE | flag::EXCLUSIVE, &header);
    message.attribute(route_attribute::GATEWAY, &gateway.octets()).u32(route_attribute::LINK, index);
    message
}

/// The link of this name, `None` if there is none.
pub fn link_named(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    let mut request = Message::new(GET_LINK, 0, &link_header(0, 0, 0));
    request.text(link::NAME, name).u32(link::EXT_MASK, SKIP_STATISTICS);
    match socket.ask(&request) {
        Ok(answer) => parse_link(&answer).map(Some).ok_or(Error::Malformed("a link without a name")),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every link of the namespace.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    let mut request = Message::new(GET_LINK, flag::DUMP, &link_header(0, 0, 0));
    request.u32(link::EXT_MASK, SKIP_STATISTICS);
    Ok(socket.dump(&request)?.iter().filter_map(|object| parse_link(object)).collect())
}

fn parse_link(object: &[u8]) -> Option<Link> {
    let index = read_u32(object.get(4..8)?);
    let up = read_u32(object.get(8..12)?) & UP != 0;
    let rest = object.get(LINK_HEADER..)?;
    let kind = find(rest, link::INFO)
        .and_then(|info| find(info, link::INFO_KIND))
        .map(read_text)
        .unwrap_or_default();
    Some(Link {
        index,
        name: find(rest, link::NAME).map(read_text)?,
        kind,
        master: find(rest, link::MASTER).map(read_u32),
        up,
        mac: find(rest, link::ADDRESS).and_then(|octets| octets.try_into().ok()),
        mtu: find(rest, link::MTU).map_or(0, read_u32),
    })
}

/// Every IPv4 address of the namespace.
pub fn addresses(socket: &mut Socket) -> Result<Vec<Address>, Error> {
    let mut header = [0; ADDRESS_HEADER];
    header[0] = INET;
    let objects = socket.dump(&Message::new(GET_ADDRESS, flag::DUMP, &header))?;
    Ok(objects.iter().filter_map(|object| parse_address(object)).collect())
}

fn parse_address(object: &[u8]) -> Option<Address> {
    let prefix = *object.get(1)?;
    let link = read_u32(object.get(4..8)?);
    let local = find(object.get(ADDRESS_HEADER..)?, address::LOCAL)?;
    Some(Address { link, address: ipv4(local)?, prefix })
}

/// Every IPv4 route of the namespace to networks that are not the machine's own addresses, of all tables.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>, Error> {
    let mut header = [0; ROUTE_HEADER];
    header[0] = INET;
    let objects = socket.dump(&Message::new(GET_ROUTE, flag::DUMP, &header))?;
    Ok(objects.iter().filter_map(|object| parse_route(object)).collect())
}

fn parse_route(object: &[u8]) -> Option<Route> {
    let (prefix, table) = (*object.get(1)?, u32::from(*object.get(4)?));
    let mut route = Route { destination: Ipv4Addr::UNSPECIFIED, prefix, gateway: None, link: None };
    let mut table = table;
    for (kind, value) in attributes(object.get(ROUTE_HEADER..)?) {
        match kind {
            route_attribute::DESTINATION => route.destination = ipv4(value)?,
            route_attribute::GATEWAY => route.gateway = ipv4(value),
            route_attribute::LINK => route.link = Some(read_u32(value)),
            route_attribute::TABLE => table = read_u32(value),
            _ => {}
        }
    }
    (table != TABLE_LOCAL).then_some(route)
}

fn ipv4(octets: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::split;
    use std::os::fd::AsFd;

    #[test]
    fn a_veth_pair_is_one_message() {
        let namespace = std::fs::File::open("/dev/null").unwrap();
        let pair = VethPair {
            name: "tv0",
            master: 7,
            peer_name: "eth0",
            peer_mac: [2, 0x42, 172, 30, 0, 2],
            peer_namespace: namespace.as_fd(),
            mtu: Some(1400),
        };
        let bytes = create_veth(&pair).to_bytes();
        let received = split(&bytes).next().unwrap().unwrap();
        let rest = &received.payload[LINK_HEADER..];
        assert_eq!((received.kind, received.flags), (NEW_LINK, 0x601));
        assert_eq!(read_u32(find(rest, link::MASTER).unwrap()), 7);
        let info = find(rest, link::INFO).unwrap();
        assert_eq!(find(info, link::INFO_KIND).unwrap(), b"veth\0");
        let peer = &find(find(info, link::INFO_DETAILS).unwrap(), link::VETH_PEER).unwrap()[LINK_HEADER..];
        assert_eq!(find(peer, link::NAME).unwrap(), b"eth0\0");
        assert_eq!(find(peer, link::ADDRESS).unwrap(), [2, 0x42, 172, 30, 0, 2]);
        assert_eq!(read_u32(find(peer, link::MTU).unwrap()), 1400);
    }

    #[test]
    fn an_address_brings_its_broadcast_address() {
        let bytes = add_address(5, Ipv4Addr::new(172, 30, 0, 2), 16).to_bytes();
        let wanted: &[u8] = &[
            48, 0, 0, 0, 20, 0, 1, 6, 0, 0, 0, 0, 0, 0, 0, 0, // NEW_ADDRESS, CREATE, EXCLUSIVE
            2, 16, 0, 0, 5, 0, 0, 0, // inet, prefix, link
            8, 0, 2, 0, 172, 30, 0, 2, 8, 0, 1, 0, 172, 30, 0, 2, 8, 0, 4, 0, 172, 30, 255, 255,
        ];
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn torn_objects_are_no_links_addresses_or_routes() {
        for length in 0..24 {
            let object = vec![0xff; length];
            assert_eq!(parse_link(&object), None);
            assert_eq!(parse_address(&object), None);
            let _ = parse_route(&object);
        }
    }
}
