//! Addresses, reservations, and what is left of containers that are gone.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use tare_model::{HasKind, Kind};
use tare_network::Protocol::{Tcp, Udp};
use tare_network::{Config, EndpointRequest, Error};

use crate::world::{HOST, Namespace, PATIENCE, World, eventually, publish, random_id};

fn on(network: &str) -> EndpointRequest {
    EndpointRequest { network: network.to_owned(), ..EndpointRequest::default() }
}

#[test]
fn an_address_that_was_given_back_is_not_given_next() {
    let world = World::new();
    let daemon = world.daemon();
    let addresses: Vec<String> = (0..3)
        .map(|_| {
            let id = random_id();
            let endpoint = daemon.try_allocate(&id, on("")).unwrap();
            daemon.release(&id);
            endpoint.address.to_string()
        })
        .collect();
    assert_eq!(addresses, ["172.30.0.2", "172.30.0.3", "172.30.0.4"]);
    let wanted = EndpointRequest {
        ip: Some("172.30.9.9".parse().unwrap()),
        mac: Some("06:00:00:00:00:01".to_owned()),
        ..on("bridge")
    };
    let (first, second) = (random_id(), random_id());
    let endpoint = daemon.try_allocate(&first, wanted.clone()).unwrap();
    assert_eq!(
        (endpoint.address.to_string().as_str(), endpoint.mac.as_str()),
        ("172.30.9.9", "06:00:00:00:00:01")
    );
    assert!(matches!(daemon.try_allocate(&second, wanted), Err(Error::AddressInUse(_))));
    let outside = EndpointRequest { ip: Some("10.0.0.1".parse().unwrap()), ..on("bridge") };
    assert_eq!(daemon.try_allocate(&second, outside).unwrap_err().kind(), Kind::InvalidInput);
}

#[test]
fn the_subnet_keeps_off_the_machines_networks() {
    let world = World::new();
    world.host.shell("ip addr add 172.30.7.1/24 dev lan");
    let daemon = world.daemon();
    assert_eq!(daemon.container(vec![]).endpoint.address.to_string(), "172.31.0.2");
    let taken = world.daemon_with(Config {
        instance: "b".to_owned(),
        subnet: Some("10.9.0.1/16".parse().unwrap()),
        ..Config::default()
    });
    let id = random_id();
    taken.try_allocate(&id, on("")).unwrap();
    let inside = Namespace::new();
    assert_eq!(taken.try_connect(&id, inside.pid).unwrap_err().kind(), Kind::Conflict);
    assert!(!world.host.shell("ip -br link").contains("tare0-b"));
}

#[test]
fn a_port_that_is_taken_is_a_conflict_that_leaves_nothing() {
    let world = World::new();
    let daemon = world.daemon();
    world.host.serve("127.0.0.1:8080");
    let (id, name) = (random_id(), "web".to_owned());
    let request = EndpointRequest {
        name,
        ports: vec![publish("0.0.0.0", 8081, 80, Tcp), publish("0.0.0.0", 8080, 80, Tcp)],
        ..on("")
    };
    let error = daemon.try_allocate(&id, request).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(
        error.to_string().ends_with("Bind for 0.0.0.0:8080 failed: port is already allocated"),
        "{error}"
    );
    assert!(daemon.networks.endpoint(&id).is_none());
    let first = daemon.container(vec![publish("0.0.0.0", 8081, 80, Tcp)]);
    let request = EndpointRequest { ports: vec![publish("127.0.0.1", 8081, 80, Tcp)], ..on("") };
    assert_eq!(daemon.try_allocate(&id, request.clone()).unwrap_err().kind(), Kind::Conflict);
    daemon.release(&first.id);
    assert_eq!(
        daemon.try_allocate(&id, request.clone()).unwrap_err().kind(),
        Kind::Conflict,
        "the sockets are still open"
    );
    drop(first.reserved);
    eventually(|| daemon.try_allocate(&id, request.clone()).ok()).expect("nobody has the port any more");
}

#[test]
fn ephemeral_ports_are_the_kernels() {
    let world = World::new();
    world.host.shell("echo 50000 50099 > /proc/sys/net/ipv4/ip_local_port_range");
    let daemon = world.daemon();
    let request = EndpointRequest { exposed: vec![(80, Tcp), (53, Udp)], publish_all: true, ..on("") };
    let endpoint = daemon.try_allocate(&random_id(), request).unwrap();
    assert_eq!(endpoint.ports.len(), 2);
    assert!(endpoint.ports.iter().all(|port| (50000..50100).contains(&port.host_port)), "{endpoint:?}");
}

#[test]
fn a_container_starts_again_while_its_last_link_still_goes() {
    let world = World::new();
    let daemon = world.daemon();
    let id = random_id();
    let mut last = None;
    for _ in 0..3 {
        daemon.try_allocate(&id, on("")).unwrap();
        let inside = Namespace::new();
        daemon.try_connect(&id, inside.pid).unwrap();
        daemon.release(&id);
        last = Some(inside);
    }
    drop(last);
}

#[test]
fn what_is_left_of_dead_containers_goes_and_the_live_stay() {
    let world = World::new();
    let daemon = world.daemon();
    let web = daemon.container(vec![publish("0.0.0.0", 8080, 80, Tcp)]);
    let dead = daemon.container(vec![publish("0.0.0.0", 8081, 80, Tcp)]);
    web.inside.serve("0.0.0.0:80");
    world.host.shell("ip link add tv00000000 type veth peer name other; ip link add mine type veth peer name other2; ip link set mine master tare0");
    drop(daemon);
    // The next daemon knows no more than store and kernel.
    world.host.shell("nft flush ruleset");
    let daemon = world.daemon();
    assert_eq!(daemon.networks.endpoint(&web.id).as_ref(), Some(&web.endpoint));
    daemon.reconcile(&[&web.id]);
    assert!(world.host.ask("127.0.0.1:8080").is_some());
    assert!(daemon.networks.endpoint(&dead.id).is_none());
    let text = world.host.shell("ip -br link; nft list table ip tare");
    assert!(!text.contains("8081"), "{text}");
    let links = text.lines().filter(|line| line.starts_with("tv")).count();
    assert_eq!(links, 2, "the live one's and the one that is on no bridge of ours: {text}");
    assert!(text.contains("mine@"), "others' ports of our bridge stay: {text}");
    let next = daemon.container(vec![]);
    assert!(next.inside.ask(&web.at(80)).is_some());
    assert_ne!(next.endpoint.address, dead.endpoint.address);
}

#[test]
fn nothing_is_made_for_nobody() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.reconcile(&[]);
    let id = random_id();
    daemon.try_allocate(&id, on("none")).unwrap();
    let inside = Namespace::new();
    inside.shell("ip link set lo down");
    daemon.try_connect(&id, inside.pid).unwrap();
    assert!(inside.shell("ip -br addr").contains("127.0.0.1/8"));
    let id = random_id();
    let endpoint = daemon.try_allocate(&id, on("host")).unwrap();
    assert!(!endpoint.has_address());
    daemon.try_connect(&id, world.host.pid).unwrap();
    daemon.release(&id);
    let made = world.host.shell("ip -br link; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward");
    assert!(!made.contains("tare") && made.trim_end().ends_with('0'), "{made}");
}

#[test]
fn the_machines_own_namespace_is_never_a_containers() {
    let world = World::new();
    let daemon = world.daemon();
    let id = random_id();
    daemon.try_allocate(&id, on("")).unwrap();
    let before = world.host.shell("ip -br link; ip route");
    assert!(matches!(daemon.try_connect(&id, world.host.pid), Err(Error::HostNamespace(_))));
    assert!(matches!(daemon.try_connect(&id, i32::MAX), Err(Error::NoNamespace { .. })));
    assert!(matches!(daemon.try_connect(&random_id(), 1), Err(Error::NoEndpoint(_))));
    assert_eq!(world.host.shell("ip -br link; ip route"), before);
}

#[test]
fn a_failed_connect_leaves_nothing() {
    let world = World::new();
    let daemon = world.daemon();
    let id = random_id();
    daemon
        .try_allocate(&id, EndpointRequest { ports: vec![publish("0.0.0.0", 8080, 80, Tcp)], ..on("") })
        .unwrap();
    let inside = Namespace::new();
    inside.shell("ip link add eth0 type veth peer name eth1");
    assert!(daemon.try_connect(&id, inside.pid).is_err());
    inside.shell("ip link del eth0; ip link add eth9 type veth peer name eth8; ip addr add 10.0.0.1/8 dev eth9; ip link set eth9 up; ip link set eth8 up; ip route add default via 10.0.0.2");
    assert!(daemon.try_connect(&id, inside.pid).is_err(), "there is a default route");
    let left = world.host.shell("ip -br link; nft list table ip tare");
    assert!(!left.contains("tv") && !left.contains("8080"), "{left}");
    assert!(!inside.shell("ip -br link").contains("eth0"));
}

#[test]
fn networks_are_found_by_name_and_id() {
    let world = World::new();
    let daemon = world.daemon();
    let bridge = daemon.networks.get("default").unwrap();
    assert_eq!((bridge.name.as_str(), bridge.driver.as_str()), ("bridge", "bridge"));
    assert_eq!(daemon.networks.get(bridge.id.short()).unwrap(), bridge);
    assert_eq!(daemon.networks.get("none").unwrap().driver, "null");
    assert_eq!(daemon.networks.get("web").unwrap_err().to_string(), "network web not found");
    drop(daemon);
    assert_eq!(world.daemon().networks.get("bridge").unwrap(), bridge, "its id is kept");
}

#[test]
fn flows_under_way_survive_a_new_daemon() {
    let world = World::new();
    let daemon = world.daemon();
    let web = daemon.container(vec![publish("0.0.0.0", 8080, 80, Tcp)]);
    let server = web.inside.run(|| std::net::TcpListener::bind("0.0.0.0:80")).unwrap();
    let mut client = world.neighbour.run(|| std::net::TcpStream::connect(format!("{HOST}:8080"))).unwrap();
    let mut served = server.accept().unwrap().0;
    served.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(daemon);
    let daemon = world.daemon();
    daemon.reconcile(&[&web.id]);
    client.write_all(b"still here").unwrap();
    let mut bytes = [0; 10];
    served.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"still here");
}

#[test]
fn many_containers_connect_at_once() {
    let world = World::new();
    let daemon = world.daemon();
    let containers: Vec<_> =
        (0..8u16).map(|n| daemon.unconnected(vec![publish("0.0.0.0", 9000 + n, 80, Tcp)])).collect();
    daemon.connect_all(&containers);
    let addresses: BTreeSet<_> = containers.iter().map(|container| container.endpoint.address).collect();
    assert_eq!(addresses.len(), containers.len());
    for (n, container) in containers.iter().enumerate() {
        container.inside.serve("0.0.0.0:80");
        assert!(
            world.host.ask(&format!("127.0.0.1:{}", container.endpoint.ports[0].host_port)).is_some(),
            "{n}"
        );
    }
}
