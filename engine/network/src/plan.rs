//! What is decided without looking at the kernel.

use std::net::Ipv4Addr;

use tare_netlink::route::Mac;

use crate::{Config, Error, Ipv4Net, Result};

/// A link's name has at most this many bytes.
const LINK_NAME_LENGTH: usize = 15;

/// What the daemon calls its own in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) bridge: String,
    pub(crate) table: String,
    /// Whether the bridge is ours alone, and not one that the administrator named and may have ports of his own on.
    pub(crate) exclusive: bool,
}

/// The names that the configuration leads to.
pub(crate) fn names(config: &Config) -> Result<Names> {
    let instance = &config.instance;
    if instance.len() > 8 || !instance.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        let rule = "at most 8 characters of [a-z0-9]";
        return Err(Error::Name { what: "instance", name: instance.clone(), rule });
    }
    let with_instance =
        |name: &str| if instance.is_empty() { name.to_owned() } else { format!("{name}-{instance}") };
    let bridge = match &config.bridge {
        None => with_instance("tare0"),
        Some(name) if name == "none" => {
            return Err(Error::NotYet("a daemon without a default bridge (--bridge none)".to_owned()));
        }
        Some(name) => checked_link_name(name)?,
    };
    Ok(Names { bridge, table: with_instance("tare"), exclusive: config.bridge.is_none() })
}

fn checked_link_name(name: &str) -> Result<String> {
    let valid = (1..=LINK_NAME_LENGTH).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%'))
        && !name.starts_with('.');
    let rule = "1 to 15 visible characters without / : %, not starting with a dot";
    if valid { Ok(name.to_owned()) } else { Err(Error::Name { what: "bridge", name: name.to_owned(), rule }) }
}

/// The name of the host's end of an endpoint's link. It follows the endpoint and not the container, as the link of a
/// container's last run may still be on its way out when the next one starts.
pub(crate) fn link_name(endpoint: &tare_model::Id) -> String {
    format!("{LINK_PREFIX}{}", &endpoint.as_str()[..8])
}

/// How the names of all our veth links start.
pub(crate) const LINK_PREFIX: &str = "tv";

/// The private ranges that a bridge may take, the preferred one first. Daemons beside the main one start elsewhere, so
/// that two that have not made their bridges yet rarely choose alike.
fn pools(instance: &str) -> Vec<Ipv4Net> {
    let net = |a, b, c, prefix| Ipv4Net::new(Ipv4Addr::new(a, b, c, 0), prefix).ok();
    let mut large: Vec<Ipv4Net> =
        [30, 31].into_iter().chain(18..30).filter_map(|b| net(172, b, 0, 16)).collect();
    if !instance.is_empty() {
        let spread =
            instance.bytes().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        large[1..].rotate_left(spread % 13);
        large.rotate_left(1);
    }
    let small = (0..16).filter_map(|n| net(192, 168, n * 16, 20));
    large.into_iter().chain(small).collect()
}

/// The first private range that touches none of `taken`, with the bridge's own address in it.
pub(crate) fn choose_subnet(instance: &str, taken: &[Ipv4Net]) -> Result<Ipv4Net> {
    let free = pools(instance).into_iter().find(|pool| !taken.iter().any(|other| pool.overlaps(other)));
    with_gateway(free.ok_or(Error::NoSubnet)?)
}

/// The subnet with an address for the bridge: as given, or the first one where only the network is given.
pub(crate) fn with_gateway(subnet: Ipv4Net) -> Result<Ipv4Net> {
    let bad = |reason| Error::Subnet { text: subnet.to_string(), reason };
    let address = subnet.address();
    if !(8..=30).contains(&subnet.prefix()) {
        return Err(bad("a bridge's subnet has a prefix of 8 to 30"));
    }
    if address.is_loopback() || address.is_multicast() || address.is_unspecified() || address.is_broadcast() {
        return Err(bad("no host can have such an address"));
    }
    if address == subnet.last() {
        return Err(bad("the bridge cannot have the broadcast address"));
    }
    if address != subnet.network().address() {
        return Ok(subnet);
    }
    Ipv4Net::new(Ipv4Addr::from_bits(address.to_bits() + 1), subnet.prefix())
}

/// The next address after `last` that is not `used`, going round. An address that was given back a moment ago thus
/// comes up again only when all others had their turn: nobody's cached neighbour or flow meets a new container.
pub(crate) fn next_address(
    subnet: Ipv4Net,
    last: Ipv4Addr,
    used: impl Fn(Ipv4Addr) -> bool,
) -> Option<Ipv4Addr> {
    let first = subnet.network().address().to_bits() + 1;
    let end = subnet.last().to_bits();
    let start = if subnet.contains(last) { last.to_bits() + 1 } else { first };
    (start..end)
        .chain(first..start.min(end))
        .map(Ipv4Addr::from_bits)
        .find(|&address| is_free(subnet, address, &used))
}

/// Whether a container can have this address.
pub(crate) fn is_free(subnet: Ipv4Net, address: Ipv4Addr, used: impl Fn(Ipv4Addr) -> bool) -> bool {
    subnet.contains(address)
        && address != subnet.address()
        && address != subnet.network().address()
        && address != subnet.last()
        && !used(address)
}

/// The hardware address that belongs to an address, as Docker makes it: whoever has the address next has the same.
pub(crate) fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// Reads six hexadecimal octets that name a single station.
pub(crate) fn parse_mac(text: &str) -> Result<Mac> {
    let bad = || Error::Mac(text.to_owned());
    let octets: Vec<u8> = text
        .split(':')
        .map(|octet| {
            u8::from_str_radix(octet, 16).ok().filter(|_| octet.len() == 2 && !octet.starts_with('+'))
        })
        .collect::<Option<_>>()
        .ok_or_else(bad)?;
    let mac: Mac = octets.try_into().map_err(|_| bad())?;
    let is_group = mac[0] & 1 == 1;
    if is_group || mac == [0; 6] { Err(bad()) } else { Ok(mac) }
}

/// `02:42:ac:1e:00:02`.
pub(crate) fn format_mac(mac: Mac) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn each_instance_has_names_of_its_own() {
        let main = names(&Config::default()).unwrap();
        assert_eq!((main.bridge.as_str(), main.table.as_str()), ("tare0", "tare"));
        let other = names(&Config { instance: "1f2e".to_owned(), ..Config::default() }).unwrap();
        assert_eq!((other.bridge.as_str(), other.table.as_str()), ("tare0-1f2e", "tare-1f2e"));
        let named = names(&Config { bridge: Some("br-lan".to_owned()), ..Config::default() }).unwrap();
        assert_eq!((named.bridge.as_str(), named.exclusive), ("br-lan", false));
    }

    #[test]
    fn names_that_are_no_link_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "0123456789abcdef", "ä", "a%d"] {
            assert!(names(&Config { bridge: Some(bad.to_owned()), ..Config::default() }).is_err(), "{bad}");
        }
        for bad in ["../x", "123456789", "A"] {
            assert!(names(&Config { instance: bad.to_owned(), ..Config::default() }).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_free_private_range_is_taken() {
        assert_eq!(choose_subnet("", &[]).unwrap(), net("172.30.0.1/16"));
        let taken = [net("172.30.5.0/24"), net("172.31.0.0/16"), net("10.0.0.0/8")];
        assert_eq!(choose_subnet("", &taken).unwrap(), net("172.18.0.1/16"));
        let taken = [net("172.16.0.0/12")];
        assert_eq!(choose_subnet("", &taken).unwrap(), net("192.168.0.1/20"));
        assert!(matches!(choose_subnet("", &[net("0.0.0.0/1"), net("128.0.0.0/1")]), Err(Error::NoSubnet)));
    }

    #[test]
    fn other_instances_start_elsewhere_and_find_the_same_ranges() {
        let main: BTreeSet<String> = pools("").iter().map(Ipv4Net::to_string).collect();
        for instance in ["1f2e", "a", "zz99"] {
            assert_ne!(choose_subnet(instance, &[]).unwrap(), net("172.30.0.1/16"));
            assert_eq!(pools(instance).iter().map(Ipv4Net::to_string).collect::<BTreeSet<_>>(), main);
        }
    }

    #[test]
    fn the_bridge_has_the_given_or_the_first_address() {
        assert_eq!(with_gateway(net("10.1.0.0/24")).unwrap(), net("10.1.0.1/24"));
        assert_eq!(with_gateway(net("10.1.0.77/24")).unwrap(), net("10.1.0.77/24"));
        for bad in [
            "10.0.0.0/31",
            "10.0.0.1/32",
            "127.0.0.1/8",
            "224.0.0.1/16",
            "10.1.0.255/24",
            "10.0.0.0/7",
            "0.0.0.0/8",
        ] {
            assert!(with_gateway(net(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_freed_address_waits_for_its_turn() {
        let subnet = net("10.0.0.1/29");
        let mut used = BTreeSet::new();
        let mut last = subnet.address();
        let mut given = Vec::new();
        for _ in 0..7 {
            let next = next_address(subnet, last, |address| used.contains(&address)).unwrap();
            used.clear();
            used.insert(next);
            last = next;
            given.push(next.octets()[3]);
        }
        assert_eq!(given, [2, 3, 4, 5, 6, 2, 3]);
    }

    #[test]
    fn a_full_subnet_has_no_next_address() {
        let subnet = net("10.0.0.1/30");
        assert_eq!(next_address(subnet, subnet.address(), |_| false), Some(ip("10.0.0.2")));
        assert_eq!(next_address(subnet, ip("10.0.0.2"), |_| false), Some(ip("10.0.0.2")));
        assert_eq!(next_address(subnet, ip("10.0.0.2"), |address| address == ip("10.0.0.2")), None);
        assert_eq!(next_address(subnet, ip("99.0.0.2"), |_| false), Some(ip("10.0.0.2")));
    }

    #[test]
    fn hardware_addresses_read_and_write() {
        assert_eq!(format_mac(mac_of(ip("172.30.0.2"))), "02:42:ac:1e:00:02");
        assert_eq!(parse_mac("02:42:AC:1e:00:02").unwrap(), mac_of(ip("172.30.0.2")));
        for bad in [
            "",
            "02:42:ac:1e:00",
            "02:42:ac:1e:00:02:03",
            "01:00:5e:00:00:01",
            "0:1:2:3:4:5",
            "00:00:00:00:00:00",
            "+2:42:ac:1e:00:02",
        ] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
    }
}
