use anyhow::Result;
use tare_tests::{World, capture, until};

#[test]
fn a_server_is_reached_by_its_address_and_by_published_ports() -> Result<()> {
    let world = World::new()?;
    let image = world.push_debian()?;
    capture(world.command("ip").args(["address", "add", "192.0.2.7/32", "dev", "lo"]))?.ok();
    for (client, run) in world.clients() {
        run(&["run", "-d", "--name", "site", "-p", "8080:80", "-p", "127.0.0.1:9090:80", &image])?.ok();
        let address =
            run(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", "site"])?.ok().to_owned();
        let fetch = |url: &str| capture(world.command("curl").args(["-s", "--max-time", "5", url]));
        until("nginx", || Ok(fetch(&format!("http://{address}/"))?.code == 0))?;
        for url in [
            "http://127.0.0.1:8080/",
            "http://192.0.2.7:8080/",
            "http://127.0.0.1:9090/",
            "http://localhost:8080/",
        ] {
            assert!(fetch(url)?.ok().contains("Welcome to nginx"), "{client}: {url}");
        }
        assert_ne!(fetch("http://192.0.2.7:9090/")?.code, 0, "{client}: published on 127.0.0.1 alone");
        assert!(run(&["port", "site"])?.ok().contains("80/tcp -> 0.0.0.0:8080"), "{client}");
        let taken = run(&["run", "-d", "--name", "second", "-p", "8080:80", &image])?;
        assert!(taken.fails(125).contains("port is already allocated"), "{client}: {taken:?}");
        run(&["rm", "second"])?.ok();
        run(&["stop", "-t", "3", "site"])?.ok();
        assert_eq!(
            run(&["inspect", "--format", "{{.State.ExitCode}}", "site"])?.ok(),
            "0",
            "{client}: by SIGQUIT"
        );
        run(&["rm", "site"])?.ok();
        assert_ne!(fetch("http://127.0.0.1:8080/")?.code, 0, "{client}");
        run(&["run", "-d", "--name", "random", "-P", &image])?.ok();
        let port = run(&["port", "random", "80/tcp"])?;
        let port =
            port.ok().lines().next().and_then(|line| line.rsplit(':').next()).expect("a port").to_owned();
        until("nginx on a port of its own", || Ok(fetch(&format!("http://127.0.0.1:{port}/"))?.code == 0))?;
        run(&["rm", "-f", "random"])?.ok();
    }
    Ok(())
}

#[test]
fn a_taken_host_port_is_found_at_once() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let refused = world.tare(&["run", "--rm", "-p", "127.0.0.1:5000:80", &image, "true"])?;
    assert!(refused.fails(125).contains("already"), "the registry listens there: {refused:?}");
    Ok(())
}

#[test]
fn datagrams_are_published_too() -> Result<()> {
    let world = World::new()?;
    let image = world.push_debian()?;
    let receive = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 7777)); print(s.recv(9), flush=True)";
    world
        .tare(&["run", "-d", "--name", "udp", "-p", "7777:7777/udp", &image, "python3", "-c", receive])?
        .ok();
    until("the datagram to arrive", || {
        capture(world.command("bash").args(["-c", "echo ping > /dev/udp/127.0.0.1/7777"]))?;
        Ok(world.tare(&["logs", "udp"])?.out.contains("ping"))
    })?;
    Ok(())
}

#[test]
fn host_and_none_are_what_they_say() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        let none = run(&["run", "--rm", "--network", "none", &image, "ip", "-o", "link"])?;
        assert_eq!(none.ok().lines().count(), 1, "{client}: {none:?}");
        let host = run(&[
            "run",
            "--rm",
            "--network",
            "host",
            &image,
            "wget",
            "-q",
            "-O",
            "-",
            "http://127.0.0.1:5000/v2/",
        ])?;
        assert_eq!(host.code, 0, "{client}: the registry of the host's namespace");
        let listed = run(&["network", "ls", "--format", "{{.Name}}"])?;
        assert_eq!(listed.ok().lines().collect::<Vec<_>>(), ["bridge", "host", "none"], "{client}");
        let gateway = run(&[
            "run",
            "--rm",
            &image,
            "sh",
            "-c",
            "ip route | grep -c default; ip -o -4 address show eth0 | grep -c inet",
        ])?;
        assert_eq!(gateway.ok(), "1\n1", "{client}");
        let names = run(&[
            "run",
            "--rm",
            "--hostname",
            "web1",
            "--add-host",
            "db:10.9.8.7",
            "--dns",
            "192.0.2.53",
            &image,
            "sh",
            "-c",
            "hostname; grep -c 10.9.8.7 /etc/hosts; grep -c web1 /etc/hosts; cat /etc/resolv.conf",
        ])?;
        let lines: Vec<&str> = names.ok().lines().collect();
        assert_eq!(&lines[..3], ["web1", "1", "1"], "{client}");
        assert!(names.out.contains("nameserver 192.0.2.53"), "{client}: {names:?}");
    }
    Ok(())
}

/// Containers must not reach what listens on the host's loopback, though published ports need route_localnet.
#[test]
fn the_hosts_loopback_stays_the_hosts() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["run", "-d", "--name", "port", "-p", "6000:80", &image, "sleep", "600"])?.ok();
    let steal = "gw=$(ip route | awk '/default/{print $3}'); ip route del 127.0.0.0/8 2>/dev/null; ip route add 127.0.0.1 via $gw 2>/dev/null; nc -w 1 127.0.0.1 5000 </dev/null";
    let tried = world.tare(&[
        "run",
        "--rm",
        "--cap-add",
        "NET_ADMIN",
        &image,
        "sh",
        "-c",
        &format!("ip addr del 127.0.0.1/8 dev lo; {steal}"),
    ])?;
    assert_ne!(tried.code, 0, "{tried:?}");
    Ok(())
}
