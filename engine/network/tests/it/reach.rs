//! Who reaches whom, and who must not.

use std::time::{Duration, Instant};

use tare_network::EndpointRequest;
use tare_network::Protocol::{Tcp, Udp};

use crate::world::{HOST, NEIGHBOUR, Namespace, World, publish, random_id};

#[test]
fn a_container_has_an_address_a_route_and_loopback() {
    let world = World::new();
    let daemon = world.daemon();
    let container = daemon.container(vec![]);
    assert_eq!(container.endpoint.address.to_string(), "172.30.0.2");
    let links =
        container.inside.shell("ip -br link show up; ip -4 -br addr; ip route; ip -6 addr show dev eth0");
    assert!(links.contains("02:42:ac:1e:00:02"), "{links}");
    assert!(links.contains("eth0") && links.contains("172.30.0.2/16"), "{links}");
    assert!(links.contains("default via 172.30.0.1 dev eth0"), "{links}");
    assert!(links.contains("127.0.0.1/8"), "{links}");
    assert!(!links.contains("inet6"), "IPv6 is off where no rule of ours guards it: {links}");
}

/// Where a packet is not passed at once, the kernel asks for the address again a second later. A busy machine may be late,
/// but not five times.
#[test]
fn packets_pass_as_soon_as_a_container_is_connected() {
    let took = (0..5).map(|_| {
        let world = World::new();
        let daemon = world.daemon();
        let (id, inside) = (random_id(), Namespace::new());
        let endpoint = daemon.try_allocate(&id, EndpointRequest::default()).unwrap();
        let server = inside.udp("0.0.0.0:53");
        let client = world.host.udp("0.0.0.0:0");
        daemon.try_connect(&id, inside.pid).unwrap();
        let begun = Instant::now();
        client.send_to(b"first", (endpoint.address, 53)).unwrap();
        let mut bytes = [0; 8];
        let (_, from) = server.recv_from(&mut bytes).expect("the first packet to the container arrives");
        server.send_to(b"answer", from).unwrap();
        client.recv_from(&mut bytes).expect("and the first one from it");
        begun.elapsed()
    });
    let quickest = took.min().unwrap();
    assert!(quickest < Duration::from_millis(900), "{quickest:?}");
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    reached_from_everywhere("1");
}

#[test]
fn the_same_where_bridges_bypass_the_firewall() {
    reached_from_everywhere("0");
}

/// `bridged`: whether frames between ports of a bridge pass the IP hooks, `net.bridge.bridge-nf-call-iptables`.
fn reached_from_everywhere(bridged: &str) {
    let world = World::new();
    world.host.shell(&format!(
        "s=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $s ] || echo {bridged} > $s"
    ));
    let daemon = world.daemon();
    let web = daemon.container(vec![publish("0.0.0.0", 8080, 80, Tcp)]);
    let other = daemon.container(vec![]);
    web.inside.serve("0.0.0.0:80");
    let from_bridge = Some("172.30.0.1".to_owned());
    assert_eq!(world.host.ask(&web.at(80)), from_bridge);
    assert_eq!(world.host.ask("127.0.0.1:8080"), from_bridge, "through 127.0.0.1");
    assert_eq!(world.host.ask("127.0.0.9:8080"), from_bridge, "through any loopback address");
    assert_eq!(world.host.ask(&format!("{HOST}:8080")), Some(HOST.to_owned()));
    assert_eq!(
        world.neighbour.ask(&format!("{HOST}:8080")),
        Some(NEIGHBOUR.to_owned()),
        "the client's address is kept"
    );
    assert_eq!(other.inside.ask(&web.at(80)), Some(other.endpoint.address.to_string()));
    assert_eq!(other.inside.ask(&format!("{HOST}:8080")), from_bridge, "hairpin");
    assert_eq!(other.inside.ask("172.30.0.1:8080"), from_bridge, "hairpin by the gateway");
    assert_eq!(web.inside.ask(&format!("{HOST}:8080")), from_bridge, "hairpin to itself");
    assert_eq!(other.inside.ask(&format!("{HOST}:8080")), from_bridge, "hairpin, again");
    daemon.release(&web.id);
    assert!(world.host.asks_in_vain("127.0.0.1:8080"));
    assert!(world.neighbour.asks_in_vain(&format!("{HOST}:8080")));
}

#[test]
fn a_port_published_on_one_address_is_reached_there_only() {
    let world = World::new();
    let daemon = world.daemon();
    let web = daemon.container(vec![publish(HOST, 8080, 80, Tcp)]);
    web.inside.serve("0.0.0.0:80");
    assert!(world.neighbour.ask(&format!("{HOST}:8080")).is_some());
    assert!(world.host.ask(&format!("{HOST}:8080")).is_some());
    assert!(world.host.asks_in_vain("127.0.0.1:8080"));
}

#[test]
fn what_is_published_on_loopback_stays_on_this_machine() {
    let world = World::new();
    let daemon = world.daemon();
    let web = daemon.container(vec![publish("127.0.0.1", 8080, 80, Tcp)]);
    web.inside.serve("0.0.0.0:80");
    assert!(world.host.ask("127.0.0.1:8080").is_some());
    assert!(world.neighbour.asks_in_vain(&format!("{HOST}:8080")));
    // The neighbour sends packets for 127.0.0.1 and the container by way of the machine, which lets martians in, as
    // some settings of kube-proxy do.
    world.host.shell("echo 1 > /proc/sys/net/ipv4/conf/lan/route_localnet");
    world.neighbour.shell(
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
         ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via 10.9.0.1 src 10.9.0.2
         ip route add 172.30.0.0/16 via 10.9.0.1",
    );
    world.host.serve("127.0.0.1:9000");
    assert!(world.neighbour.ask("127.0.0.1:9000").is_some(), "the attack works where nothing guards");
    assert!(world.neighbour.asks_in_vain("127.0.0.1:8080"));
    assert!(world.neighbour.asks_in_vain(&web.at(80)));
}

#[test]
fn what_is_not_published_is_not_reached_by_routing() {
    let world = World::new();
    let daemon = world.daemon();
    let web = daemon.container(vec![publish("0.0.0.0", 8080, 80, Tcp)]);
    web.inside.serve("0.0.0.0:80");
    web.inside.serve("0.0.0.0:81");
    world.neighbour.shell("ip route add 172.30.0.0/16 via 10.9.0.1");
    assert!(world.neighbour.asks_in_vain(&web.at(81)));
    assert!(
        world.neighbour.asks_in_vain(&web.at(80)),
        "published is the machine's port, not the container's"
    );
    assert!(world.neighbour.ask(&format!("{HOST}:8080")).is_some());
    assert!(world.host.ask(&web.at(81)).is_some());
}

#[test]
fn containers_reach_out_under_the_machines_address() {
    let world = World::new();
    let daemon = world.daemon();
    let container = daemon.container(vec![]);
    world.neighbour.serve("0.0.0.0:80");
    assert_eq!(container.inside.ask(&format!("{NEIGHBOUR}:80")), Some(HOST.to_owned()));
    let notices = daemon.networks.notices();
    assert!(notices.len() == 1 && notices[0].contains("ip_forward"), "{notices:?}");
    assert_eq!(
        world
            .daemon_with(tare_network::Config { instance: "b".to_owned(), ..Default::default() })
            .networks
            .notices()
            .len(),
        0
    );
}

#[test]
fn the_machines_loopback_services_are_not_the_containers() {
    let world = World::new();
    let daemon = world.daemon();
    let container = daemon.container(vec![]);
    world.host.serve("127.0.0.1:9000");
    world.host.serve("0.0.0.0:9001");
    container.inside.shell(
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
         ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via 172.30.0.1 src 172.30.0.2",
    );
    assert!(container.inside.asks_in_vain("127.0.0.1:9000"));
    assert!(container.inside.ask("172.30.0.1:9001").is_some(), "what listens on every address is reached");
    container.inside.shell("ip addr add 172.30.99.99/32 dev lo; ip addr add 192.0.2.7/32 dev lo");
    let count = || world.host.shell("nft list chain ip tare guard").contains("packets 0 bytes 0 drop");
    assert!(count(), "forged sources were not tried yet");
    let _ = container.inside.udp("192.0.2.7:0").send_to(b"forged", "172.30.0.1:9");
    assert!(!count(), "forged sources are dropped");
}

#[test]
fn datagrams_follow_the_container_that_has_the_port_now() {
    let world = World::new();
    let daemon = world.daemon();
    let client = world.neighbour.udp("0.0.0.0:5000");
    let exchange = |server: &std::net::UdpSocket| {
        let mut bytes = [0; 8];
        client.send_to(b"hello", format!("{HOST}:5353")).unwrap();
        server.recv_from(&mut bytes).ok().map(|(_, from)| {
            server.send_to(b"world", from).unwrap();
            client.recv_from(&mut bytes).unwrap().1.to_string()
        })
    };
    // A flow that began before the port was published must not stick to the machine itself.
    let _other = daemon.container(vec![]);
    client.send_to(b"early", format!("{HOST}:5353")).unwrap();
    let first = daemon.container(vec![publish("0.0.0.0", 5353, 53, Udp)]);
    let server = first.inside.udp("0.0.0.0:53");
    assert_eq!(exchange(&server), Some(format!("{HOST}:5353")));
    daemon.release(&first.id);
    drop(first);
    // Nor to the container that is gone, once the machine has a server of its own there.
    let own = world.host.udp("0.0.0.0:5353");
    assert_eq!(exchange(&own), Some(format!("{HOST}:5353")));
    drop(own);
    let second = daemon.container(vec![publish("0.0.0.0", 5353, 53, Udp)]);
    let server = second.inside.udp("0.0.0.0:53");
    assert_eq!(
        exchange(&server),
        Some(format!("{HOST}:5353")),
        "the same client goes on with the new container"
    );
}
