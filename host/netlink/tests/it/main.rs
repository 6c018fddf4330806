//! The kernel's side of the messages, each test in a network namespace of its own that goes with its thread.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;

use tare_netlink::nft::{self, Batch, Chain, DataType, Expression, Hook, Map, Verdict};
use tare_netlink::{Error, Socket, conntrack, route, within};

const MAC: route::Mac = [2, 0x42, 10, 0, 0, 1];

/// Runs a test on a thread that has a network namespace of its own.
fn alone(test: impl FnOnce() + Send + 'static) {
    let body = || {
        #[allow(deprecated, reason = "its successor is unsafe only because of other flags than this one")]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
        test();
    };
    if let Err(panic) = thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A thread in a second namespace, which the first test thread can reach by its file.
fn namespace() -> std::fs::File {
    thread::spawn(|| {
        #[allow(deprecated, reason = "as above")]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
        std::fs::File::open("/proc/thread-self/ns/net").unwrap()
    })
    .join()
    .unwrap()
}

#[test]
fn links_addresses_and_routes_are_made_and_listed() {
    alone(|| {
        let mut socket = Socket::route().unwrap();
        assert_eq!(route::link_named(&mut socket, "br0").unwrap(), None);
        socket.execute(&[route::create_bridge("br0", MAC, Some(1400))]).unwrap();
        let bridge = route::link_named(&mut socket, "br0").unwrap().unwrap();
        assert_eq!(
            (bridge.kind.as_str(), bridge.mac, bridge.mtu, bridge.up),
            ("bridge", Some(MAC), 1400, false)
        );
        let address = Ipv4Addr::new(10, 0, 0, 1);
        let requests = [
            route::add_address(bridge.index, address, 24),
            route::set_up(bridge.index),
            route::add_default_route(bridge.index, Ipv4Addr::new(10, 0, 0, 254)),
            route::route_localnet(bridge.index),
        ];
        socket.execute(&requests).unwrap();
        assert_eq!(shell("cat /proc/sys/net/ipv4/conf/br0/route_localnet").trim(), "1");
        let found = route::addresses(&mut socket).unwrap();
        assert!(found.contains(&route::Address { link: bridge.index, address, prefix: 24 }), "{found:?}");
        let routes = route::routes(&mut socket).unwrap();
        assert!(routes.iter().any(|route| route.prefix == 0 && route.gateway.is_some()), "{routes:?}");
        assert!(
            routes.iter().any(|route| route.prefix == 24 && route.link == Some(bridge.index)),
            "{routes:?}"
        );
        assert!(
            routes.iter().all(|route| route.prefix < 32),
            "the machine's own addresses are no networks: {routes:?}"
        );
        socket.execute(&[route::delete_link(bridge.index)]).unwrap();
        assert!(route::links(&mut socket).unwrap().iter().all(|link| link.name != "br0"));
    });
}

#[test]
fn a_veth_pair_is_born_in_two_namespaces() {
    alone(|| {
        let other = namespace();
        let mut socket = Socket::route().unwrap();
        socket.execute(&[route::create_bridge("br0", MAC, None)]).unwrap();
        let master = route::link_named(&mut socket, "br0").unwrap().unwrap().index;
        let peer_mac = [2, 0x42, 10, 0, 0, 2];
        let pair = route::VethPair {
            name: "tv0",
            master,
            peer_name: "eth0",
            peer_mac,
            peer_namespace: other.as_fd(),
            mtu: None,
        };
        socket
            .execute(&[route::create_veth(&pair), route::prepare_port("tv0"), route::set_up_by_name("tv0")])
            .unwrap();
        let port = route::link_named(&mut socket, "tv0").unwrap().unwrap();
        assert_eq!((port.master, port.kind.as_str(), port.up), (Some(master), "veth", true));
        assert!(shell("bridge -d link show dev tv0").contains("hairpin on"));
        assert_eq!(shell("ip -6 addr show dev tv0"), "");
        let inside = within(other.as_fd(), || route::link_named(&mut Socket::route()?, "eth0"))
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(inside.mac, Some(peer_mac));
        assert_eq!(route::link_named(&mut socket, "eth0").unwrap(), None, "this thread is where it was");
    });
}

#[test]
fn the_kernel_says_why_it_refuses() {
    alone(|| {
        let mut socket = Socket::route().unwrap();
        let bridge = route::create_bridge("br0", MAC, None);
        let error =
            socket.execute(&[bridge.clone(), bridge.clone(), route::set_up_by_name("br0")]).unwrap_err();
        assert_eq!(error.errno(), Some(rustix::io::Errno::EXIST));
        assert!(
            route::link_named(&mut socket, "br0").unwrap().unwrap().up,
            "what comes after a refusal is done"
        );
        let error = socket.execute(&[route::add_default_route(1, Ipv4Addr::new(10, 9, 9, 9))]).unwrap_err();
        assert!(matches!(&error, Error::Refused { reason, .. } if !reason.is_empty()), "{error}");
        assert!(socket.execute(&[route::set_up_by_name("nowhere")]).unwrap_err().is_missing());
    });
}

const BY_PORT: Map<'static> = Map {
    name: "ports",
    key: &[DataType::Protocol, DataType::Port],
    value: &[DataType::Ipv4Address, DataType::Port],
};

fn element(port: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![6, 0, 0, 0, 0, port, 0, 0], vec![10, 0, 0, 2, 0, 80, 0, 0])
}

fn small_table<'a>() -> Batch<'a> {
    let mut batch = Batch::new("small");
    batch.add_table().add_map(&BY_PORT).add_elements("ports", &[element(80), element(81)]);
    batch.add_chain(&Chain { name: "in", base: Some(("filter", Hook::Prerouting, -300)) });
    batch.add_rule("in", &[Expression::Count, Expression::Verdict(Verdict::Accept)]);
    batch
}

#[test]
fn a_table_is_committed_listed_and_changed() {
    alone(|| {
        let mut socket = Socket::netfilter().unwrap();
        assert!(nft::rules(&mut socket, "small").unwrap().is_empty());
        assert!(nft::elements(&mut socket, "small", "ports").unwrap().is_empty());
        let before = nft::generation(&mut socket).unwrap();
        let after = nft::commit(&mut socket, &small_table(), Some(before)).unwrap();
        assert_eq!(
            after,
            Some(nft::generation(&mut socket).unwrap()),
            "our count of generations is the kernel's"
        );
        assert_eq!(nft::rules(&mut socket, "small").unwrap(), [("in".to_owned(), 1)].into());
        assert_eq!(nft::elements(&mut socket, "small", "ports").unwrap(), [element(80), element(81)].into());
        let mut batch = Batch::new("small");
        batch.delete_elements("ports", &[element(80).0]);
        nft::commit(&mut socket, &batch, None).unwrap();
        assert_eq!(
            shell("nft -j list map ip small ports").matches("concat").count(),
            2,
            "one element is left"
        );
        let error = nft::commit(&mut socket, &batch, None).unwrap_err();
        assert!(error.is_missing(), "{error}");
    });
}

#[test]
fn a_transaction_is_all_or_nothing_and_knows_its_generation() {
    alone(|| {
        let mut socket = Socket::netfilter().unwrap();
        let mut batch = small_table();
        batch.add_rule("nowhere", &[Expression::Count]);
        assert!(nft::commit(&mut socket, &batch, None).unwrap_err().is_missing());
        assert_eq!(shell("nft list tables"), "");
        let stale = nft::generation(&mut socket).unwrap();
        shell("nft add table inet other");
        let error = nft::commit(&mut socket, &small_table(), Some(stale)).unwrap_err();
        assert_eq!(error.errno().map(|errno| errno.raw_os_error()), Some(85), "{error}");
        nft::commit(&mut socket, &small_table(), None).unwrap();
    });
}

#[test]
fn ten_thousand_elements_are_one_transaction() {
    alone(|| {
        let mut socket = Socket::netfilter().unwrap();
        let mut batch = Batch::new("small");
        let elements: Vec<_> = (0..10_000u16)
            .map(|port| {
                let [high, low] = port.to_be_bytes();
                (vec![6, 0, 0, 0, high, low, 0, 0], vec![10, 0, 0, 2, high, low, 0, 0])
            })
            .collect();
        batch.add_table().add_map(&BY_PORT).add_elements("ports", &elements);
        nft::commit(&mut socket, &batch, None).unwrap();
        // The kernel makes its table larger meanwhile, and a walk through it misses some as long as that lasts.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut listed = || nft::elements(&mut socket, "small", "ports").unwrap().len();
        while listed() != 10_000 {
            assert!(std::time::Instant::now() < deadline, "{} elements of 10,000", listed());
        }
    });
}

#[test]
fn flows_are_forgotten_by_what_they_are() {
    alone(|| {
        shell(
            "ip link set lo up; nft add table ip t; nft add chain ip t c '{ type filter hook output priority 0; }'; nft add rule ip t c ct state new counter",
        );
        let (server, client) =
            (UdpSocket::bind("127.0.0.1:5353").unwrap(), UdpSocket::bind("127.0.0.1:5000").unwrap());
        client.send_to(b"x", server.local_addr().unwrap()).unwrap();
        let mut socket = Socket::netfilter().unwrap();
        let flows =
            conntrack::Flows { protocol: 17, answered_by: Some(Ipv4Addr::LOCALHOST), to_port: Some(53) };
        assert_eq!(conntrack::forget(&mut socket, &flows).unwrap(), 0);
        let flows = conntrack::Flows { to_port: Some(5353), ..flows };
        assert_eq!(conntrack::forget(&mut socket, &flows).unwrap(), 1);
        assert_eq!(conntrack::forget(&mut socket, &flows).unwrap(), 0);
    });
}
