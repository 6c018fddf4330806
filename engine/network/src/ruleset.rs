//! Our table, as data. Its rules never change with containers: published ports are elements of two maps, found in
//! constant time however many there are.
//!
//! ```text
//! guard        before all else: what the bridge must not bring in
//! prerouting   what others send to an address of this machine: is the port published?
//! output       the same for what the machine sends to itself, 127.0.0.1 included
//! postrouting  what leaves the subnet goes out under the machine's address
//! forward      to the bridge comes what is published, asked for, or from the bridge itself
//! ```
//! Every chain accepts by default and drops only what is the bridge's: other tables' drops stay drops, and other
//! tables' traffic is none of our business.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use tare_netlink::nft::{
    Batch, Chain, DataType, Expression, Field, Hook, Key, Map, Register, Rules, Verdict, link_name,
};

use crate::plan::Names;
use crate::{Ipv4Net, Port};

/// Ports published on one address: (address, protocol, port) to (container, port).
pub(crate) const PORTS: &str = "ports";
/// Ports published on all addresses: (protocol, port) to (container, port).
pub(crate) const WILDCARD_PORTS: &str = "wildcard_ports";

/// Elements by the map that holds them and their key.
pub(crate) type Elements = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

const LOOPBACK: [u8; 4] = [127, 0, 0, 0];
const LOOPBACK_MASK: [u8; 4] = [255, 0, 0, 0];
/// Before connection tracking, so that replies still carry the addresses that are on the wire.
const PRIORITY_RAW: i32 = -300;
const PRIORITY_DNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SNAT: i32 = 100;

const BASE_CHAINS: [Chain<'static>; 5] = [
    Chain { name: "guard", base: Some(("filter", Hook::Prerouting, PRIORITY_RAW)) },
    Chain { name: "prerouting", base: Some(("nat", Hook::Prerouting, PRIORITY_DNAT)) },
    Chain { name: "output", base: Some(("nat", Hook::Output, PRIORITY_DNAT)) },
    Chain { name: "postrouting", base: Some(("nat", Hook::Postrouting, PRIORITY_SNAT)) },
    Chain { name: "forward", base: Some(("filter", Hook::Forward, PRIORITY_FILTER)) },
];
const PUBLISH: &str = "publish";
const TO_CONTAINERS: &str = "to_containers";

/// The map element that sends `port` to the container at `address`.
pub(crate) fn element(port: &Port, address: Ipv4Addr) -> ((&'static str, Vec<u8>), Vec<u8>) {
    let [high, low] = port.host_port.to_be_bytes();
    let service = [port.protocol.number(), 0, 0, 0, high, low, 0, 0];
    let key = match port.host_ip {
        IpAddr::V4(host) if !host.is_unspecified() => (PORTS, [host.octets().as_slice(), &service].concat()),
        _ => (WILDCARD_PORTS, service.to_vec()),
    };
    let [high, low] = port.container_port.to_be_bytes();
    (key, [address.octets().as_slice(), &[high, low, 0, 0]].concat())
}

/// Makes the whole table anew, in place of the one that is there.
pub(crate) fn table<'a>(names: &'a Names, subnet: Ipv4Net, elements: &Elements) -> Batch<'a> {
    let mut batch = Batch::new(&names.table);
    batch.add_table().delete_table().add_table();
    let target = [DataType::Ipv4Address, DataType::Port];
    let key = [DataType::Ipv4Address, DataType::Protocol, DataType::Port];
    batch.add_map(&Map { name: PORTS, key: &key, value: &target });
    batch.add_map(&Map { name: WILDCARD_PORTS, key: &key[1..], value: &target });
    add_elements(&mut batch, elements);
    for name in [PUBLISH, TO_CONTAINERS] {
        batch.add_chain(&Chain { name, base: None });
    }
    for chain in &BASE_CHAINS {
        batch.add_chain(chain);
    }
    with_rules(names, subnet, |chain, rule| {
        batch.add_rule(chain, rule);
    });
    batch
}

/// Appends the elements to a transaction.
pub(crate) fn add_elements(batch: &mut Batch<'_>, elements: &Elements) {
    for map in [PORTS, WILDCARD_PORTS] {
        let of_map = elements.iter().filter(|((name, _), _)| *name == map);
        let of_map: Vec<_> = of_map.map(|((_, key), value)| (key.clone(), value.clone())).collect();
        batch.add_elements(map, &of_map);
    }
}

/// How many rules each chain has, to tell whether someone flushed the table.
pub(crate) fn rule_counts(names: &Names, subnet: Ipv4Net) -> Rules {
    let mut counts = Rules::new();
    with_rules(names, subnet, |chain, _| *counts.entry(chain.to_owned()).or_default() += 1);
    counts
}

const FIRST: Register = Register(0);
const SECOND: Register = Register(1);
const THIRD: Register = Register(2);

const ACCEPT: Expression<'static> = Expression::Verdict(Verdict::Accept);
const DROP: Expression<'static> = Expression::Verdict(Verdict::Drop);

fn within<'a>(field: Field, network: &'a [u8], mask: [u8; 4]) -> [Expression<'a>; 3] {
    [Expression::Load(field, FIRST), Expression::Mask(FIRST, mask), Expression::Equal(FIRST, network)]
}

fn outside<'a>(field: Field, network: &'a [u8], mask: [u8; 4]) -> [Expression<'a>; 3] {
    [Expression::Load(field, FIRST), Expression::Mask(FIRST, mask), Expression::Unequal(FIRST, network)]
}

fn any_bit(key: Key, bits: u32) -> [Expression<'static>; 3] {
    [
        Expression::LoadKey(key, FIRST),
        Expression::Mask(FIRST, bits.to_ne_bytes()),
        Expression::Unequal(FIRST, &[0; 4]),
    ]
}

/// Hands every rule, chain by chain, to `add`.
fn with_rules(names: &Names, subnet: Ipv4Net, mut add: impl FnMut(&str, &[Expression<'_>])) {
    let bridge = link_name(&names.bridge);
    let network = subnet.network().address().octets();
    let mask = subnet.mask().to_be_bytes();
    let arrived = [Expression::LoadKey(Key::ArrivalLink, FIRST), Expression::Equal(FIRST, &bridge)];
    let leaves = [Expression::LoadKey(Key::DepartureLink, FIRST), Expression::Equal(FIRST, &bridge)];
    let leaves_elsewhere =
        [Expression::LoadKey(Key::DepartureLink, FIRST), Expression::Unequal(FIRST, &bridge)];
    let mut rule = |chain: &str, parts: &[&[Expression<'_>]]| add(chain, &parts.concat());

    // The bridge may carry packets of 127.0.0.0/8 outwards (route_localnet); inwards they would reach services that
    // trust their own machine, CVE-2020-8558.
    let to_loopback = within(Field::Destination, &LOOPBACK, LOOPBACK_MASK);
    rule("guard", &[&arrived, &to_loopback, &[Expression::Count, DROP]]);
    let forged = if names.exclusive {
        outside(Field::Source, &network, mask)
    } else {
        within(Field::Source, &LOOPBACK, LOOPBACK_MASK)
    };
    rule("guard", &[&arrived, &forged, &[Expression::Count, DROP]]);

    // Translating comes before the kernel throws packets for 127.0.0.1 from outside away, CVE-2025-54388.
    rule("prerouting", &[&to_loopback, &[Expression::Verdict(Verdict::Return)]]);
    for chain in ["prerouting", "output"] {
        let local = [Expression::LoadKey(Key::DestinationType, FIRST), Expression::Equal(FIRST, &LOCAL)];
        rule(chain, &[&local, &[Expression::Verdict(Verdict::Jump(PUBLISH))]]);
    }
    let translate = Expression::TranslateDestination(FIRST, SECOND);
    rule(
        PUBLISH,
        &[
            &[
                Expression::Load(Field::Destination, FIRST),
                Expression::LoadKey(Key::TransportProtocol, SECOND),
            ],
            &[Expression::Load(Field::DestinationPort, THIRD), Expression::Lookup(PORTS, FIRST), translate],
        ],
    );
    rule(
        PUBLISH,
        &[
            &[
                Expression::LoadKey(Key::TransportProtocol, FIRST),
                Expression::Load(Field::DestinationPort, SECOND),
            ],
            &[Expression::Lookup(WILDCARD_PORTS, FIRST), translate],
        ],
    );

    // A container that uses a published port of its own network must get its answer by way of this machine, too.
    let from_subnet = within(Field::Source, &network, mask);
    let translated = any_bit(Key::FlowStatus, Key::DESTINATION_CHANGED);
    rule(
        "postrouting",
        &[&leaves, &within(Field::Source, &LOOPBACK, LOOPBACK_MASK), &[Expression::Masquerade]],
    );
    rule("postrouting", &[&leaves, &from_subnet, &translated, &[Expression::Masquerade]]);
    rule("postrouting", &[&from_subnet, &leaves_elsewhere, &[Expression::Masquerade]]);

    rule("forward", &[&leaves, &[Expression::Verdict(Verdict::Jump(TO_CONTAINERS))]]);
    rule(TO_CONTAINERS, &[&any_bit(Key::FlowState, Key::ESTABLISHED | Key::RELATED), &[ACCEPT]]);
    rule(TO_CONTAINERS, &[&arrived, &[ACCEPT]]);
    rule(TO_CONTAINERS, &[&translated, &[ACCEPT]]);
    rule(TO_CONTAINERS, &[&[Expression::Count, DROP]]);
}

const LOCAL: [u8; 4] = Key::LOCAL.to_ne_bytes();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    fn port(host_ip: &str) -> Port {
        Port {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: host_ip.parse().unwrap(),
            host_port: 8080,
        }
    }

    #[test]
    fn an_address_of_its_own_is_part_of_the_key() {
        let address = Ipv4Addr::new(172, 30, 0, 2);
        let (key, value) = element(&port("127.0.0.1"), address);
        assert_eq!(key, (PORTS, vec![127, 0, 0, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0]));
        assert_eq!(value, [172, 30, 0, 2, 0, 80, 0, 0]);
        let (key, _) = element(&port("0.0.0.0"), address);
        assert_eq!(key, (WILDCARD_PORTS, vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0]));
    }

    #[test]
    fn the_rules_do_not_grow_with_ports() {
        let names = Names { bridge: "tare0".to_owned(), table: "tare".to_owned(), exclusive: true };
        let subnet: Ipv4Net = "172.30.0.1/16".parse().unwrap();
        let elements: Elements = [element(&port("0.0.0.0"), Ipv4Addr::LOCALHOST)].into();
        let without = table(&names, subnet, &Elements::new()).messages().len();
        assert_eq!(table(&names, subnet, &elements).messages().len(), without + 1);
        let counts = rule_counts(&names, subnet);
        assert_eq!(counts["guard"], 2);
        assert_eq!(counts.len(), 7, "every chain has rules: {counts:?}");
    }
}
