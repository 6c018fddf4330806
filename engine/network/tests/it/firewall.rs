//! Our table beside those of others.

use serde_json::Value;
use tare_network::Config;
use tare_network::Protocol::{Tcp, Udp};

use crate::world::{HOST, NEIGHBOUR, World, publish};

#[test]
fn the_table_is_what_nft_reads() {
    let world = World::new();
    let daemon = world.daemon();
    let _web = daemon.container(vec![publish("0.0.0.0", 8080, 80, Tcp), publish("127.0.0.1", 5353, 53, Udp)]);
    let table: Value = serde_json::from_str(&world.host.shell("nft -j list table ip tare")).unwrap();
    let objects = table["nftables"].as_array().unwrap();
    let map = |name: &str| {
        let found = objects.iter().find(|object| object["map"]["name"] == name);
        found.map(|object| object["map"]["elem"].to_string()).unwrap()
    };
    assert_eq!(map("wildcard_ports"), r#"[[{"concat":["tcp",8080]},{"concat":["172.30.0.2",80]}]]"#);
    assert_eq!(map("ports"), r#"[[{"concat":["127.0.0.1","udp",5353]},{"concat":["172.30.0.2",53]}]]"#);
    let text = world.host.shell("nft list table ip tare");
    for line in [
        "type filter hook prerouting priority raw; policy accept;",
        "type nat hook prerouting priority dstnat; policy accept;",
        "type nat hook output priority -100; policy accept;",
        "type nat hook postrouting priority srcnat; policy accept;",
        "type filter hook forward priority filter; policy accept;",
        r#"iifname "tare0" ip daddr 127.0.0.0/8 counter packets 0 bytes 0 drop"#,
        r#"iifname "tare0" ip saddr != 172.30.0.0/16 counter packets 0 bytes 0 drop"#,
        "ip daddr 127.0.0.0/8 return",
        "fib daddr type local jump publish",
        "dnat ip to ip daddr . meta l4proto . th dport map @ports",
        "dnat ip to meta l4proto . th dport map @wildcard_ports",
        r#"oifname "tare0" ip saddr 127.0.0.0/8 masquerade"#,
        r#"oifname "tare0" ip saddr 172.30.0.0/16 ct status dnat masquerade"#,
        r#"ip saddr 172.30.0.0/16 oifname != "tare0" masquerade"#,
        r#"oifname "tare0" jump to_containers"#,
        "ct state established,related accept",
        "ct status dnat accept",
    ] {
        assert!(text.contains(line), "missing: {line}\n{text}");
    }
    // What nft prints, nft accepts: nobody who saves and restores the ruleset loses ours.
    world.host.shell("nft list ruleset > /dev/null; nft -s list table ip tare | nft -c -f -");
}

#[test]
fn an_administrators_drop_stays_a_drop() {
    let world = World::new();
    let daemon = world.daemon();
    let web = daemon.container(vec![publish("0.0.0.0", 8080, 80, Tcp)]);
    web.inside.serve("0.0.0.0:80");
    assert!(world.neighbour.ask(&format!("{HOST}:8080")).is_some());
    world.host.shell(
        "nft add table inet admin
         nft add chain inet admin forward '{ type filter hook forward priority -10; policy drop; }'",
    );
    assert!(world.neighbour.asks_in_vain(&format!("{HOST}:8080")));
    world.host.shell("nft add rule inet admin forward tcp dport 80 accept; nft add rule inet admin forward ct state established accept");
    assert!(world.neighbour.ask(&format!("{HOST}:8080")).is_some());
}

#[test]
fn a_flushed_ruleset_is_put_back_with_the_next_container() {
    let world = World::new();
    let daemon = world.daemon();
    let web = daemon.container(vec![publish("0.0.0.0", 8080, 80, Tcp)]);
    web.inside.serve("0.0.0.0:80");
    for damage in [
        "nft flush ruleset",
        "nft flush chain ip tare to_containers",
        "nft flush map ip tare wildcard_ports",
        "nft delete table ip tare; nft add table ip tare",
    ] {
        world.host.shell(damage);
        let _other = daemon.container(vec![]);
        assert_eq!(
            world.neighbour.ask(&format!("{HOST}:8080")),
            Some(NEIGHBOUR.to_owned()),
            "after {damage}"
        );
        world.host.shell("nft list chain ip tare to_containers | grep -q drop");
    }
    // Between a flush and the next container, releasing and publishing find their way, too.
    let other = daemon.container(vec![publish("0.0.0.0", 8081, 80, Tcp)]);
    world.host.shell("nft flush ruleset");
    daemon.release(&other.id);
    assert!(world.host.ask("127.0.0.1:8080").is_some());
    assert!(!world.host.shell("nft list table ip tare").contains("8081"));
}

#[test]
fn changes_of_others_do_not_disturb() {
    let world = World::new();
    let daemon = world.daemon();
    let web = daemon.container(vec![publish("0.0.0.0", 8080, 80, Tcp)]);
    web.inside.serve("0.0.0.0:80");
    for round in 0..5u16 {
        world.host.shell(&format!("nft add table inet other{round}"));
        let more = daemon.container(vec![publish("0.0.0.0", 9000 + round, 80, Tcp)]);
        more.inside.serve("0.0.0.0:80");
        assert!(world.host.ask(&format!("127.0.0.1:{}", 9000 + round)).is_some());
        world.host.shell(&format!("nft delete table inet other{round}"));
        daemon.release(&more.id);
    }
    assert!(world.host.ask("127.0.0.1:8080").is_some());
    let text = world.host.shell("nft list map ip tare wildcard_ports");
    assert!(text.contains("8080") && !text.contains("900"), "{text}");
}

#[test]
fn two_daemons_live_side_by_side() {
    let world = World::new();
    let main = world.daemon();
    let other = world.daemon_with(Config { instance: "1f2e".to_owned(), ..Config::default() });
    let (a, b) = (
        main.container(vec![publish("0.0.0.0", 8080, 80, Tcp)]),
        other.container(vec![publish("0.0.0.0", 8081, 80, Tcp)]),
    );
    a.inside.serve("0.0.0.0:80");
    b.inside.serve("0.0.0.0:80");
    assert_ne!(a.endpoint.gateway, b.endpoint.gateway);
    let seen = [world.neighbour.ask(&format!("{HOST}:8080")), world.neighbour.ask(&format!("{HOST}:8081"))];
    assert_eq!(seen, [Some(NEIGHBOUR.to_owned()), Some(NEIGHBOUR.to_owned())]);
    assert!(a.inside.asks_in_vain(&b.at(80)), "bridges are apart");
    assert_eq!(
        a.inside.ask(&format!("{HOST}:8081")),
        Some(b.endpoint.gateway.to_string()),
        "but for what is published"
    );
    other.reconcile(&[&b.id]);
    main.teardown();
    assert!(world.neighbour.ask(&format!("{HOST}:8081")).is_some());
    let left = world.host.shell("ip -br link; nft list tables");
    assert!(!left.contains("tare0@") && !left.contains("tare0 "), "{left}");
    assert!(left.contains("tare0-1f2e") && left.contains("table ip tare-1f2e"), "{left}");
}
