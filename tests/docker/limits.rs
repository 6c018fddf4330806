use std::os::unix::net::UnixStream;

use anyhow::Result;
use tare_tests::{Daemon, World, binaries, capture, until};

#[test]
fn the_memory_limit_kills_the_hog_and_inspect_says_so() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        let hog = "x=x; while true; do x=$x$x; done";
        let ran = run(&[
            "run",
            "--name",
            "hog",
            "--memory",
            "32m",
            "--memory-swap",
            "32m",
            &image,
            "sh",
            "-c",
            hog,
        ])?;
        assert_eq!(ran.code, 137, "{client}: {ran:?}");
        assert_eq!(run(&["inspect", "--format", "{{.State.OOMKilled}}", "hog"])?.ok(), "true", "{client}");
        run(&["rm", "hog"])?.ok();
        let small = run(&["run", "--rm", "--memory", "1m", &image, "true"])?;
        assert!(small.fails(125).contains("Minimum memory limit"), "{client}: {small:?}");
    }
    Ok(())
}

#[test]
fn the_pid_limit_stops_a_fork_bomb() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let bomb = "bomb() { bomb | bomb & }; bomb; sleep 1; echo survived";
    world.docker(&["run", "-d", "--name", "bomb", "--pids-limit", "20", &image, "sh", "-c", bomb])?.ok();
    until("the bomb to have gone off", || Ok(world.docker(&["logs", "bomb"])?.err.contains("can't fork")))?;
    let listed = world.docker(&["top", "bomb"])?;
    assert!(listed.out.lines().count() <= 21, "{listed:?}");
    world.docker(&["rm", "-f", "bomb"])?.ok();
    Ok(())
}

/// A fifth of a processor, within five per cent, over three seconds: never more, and no less in every tenth of a second in which
/// the program wanted more and was stopped for it. A busy machine may give it less, in spite of its weight.
#[test]
fn the_cpu_quota_holds() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let script = "cat /proc/uptime; timeout 3 sh -c 'while true; do :; done'; cat /proc/uptime; times; \
                  cat /sys/fs/cgroup/cpu*/cpu.stat /sys/fs/cgroup/cpu.stat";
    let limits = ["--cpus", "0.2", "--cpu-shares", "100000"];
    let ran = world.tare(&[&["run", "--rm"], &limits[..], &[&image, "sh", "-c", script]].concat())?;
    let lines: Vec<&str> = ran.out.lines().collect();
    let uptime =
        |line: &str| -> f64 { line.split(' ').next().and_then(|n| n.parse().ok()).expect("seconds") };
    let wall = uptime(lines[1]) - uptime(lines[0]);
    // The second line of `times`: user and system time of the children, as 0m1.500s.
    let seconds = |text: &str| -> f64 {
        let (minutes, rest) = text.split_once('m').expect("minutes");
        minutes.parse::<f64>().expect("minutes") * 60.0
            + rest.trim_end_matches('s').parse::<f64>().expect("seconds")
    };
    let used: f64 = lines[3].split(' ').map(seconds).sum();
    let figure = |name: &str| -> f64 {
        let text = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        text.and_then(|n| n.parse().ok()).expect("cpu.stat")
    };
    assert!(figure("nr_periods") >= 1.0, "there is no quota: {ran:?}");
    let stopped = figure("nr_throttled");
    assert!(used <= wall * 0.2 * 1.05 + 0.02, "{used:.3} s of {wall:.3}: {ran:?}");
    assert!(used >= stopped * 0.02 * 0.95, "{used:.3} s in {stopped} full periods: {ran:?}");
    Ok(())
}

#[test]
fn limits_are_seen_from_inside() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        let ran = run(&[
            "run",
            "--rm",
            "--ulimit",
            "nofile=100:200",
            "--cpuset-cpus",
            "0",
            "--shm-size",
            "8m",
            &image,
            "sh",
            "-c",
            "ulimit -n; grep Cpus_allowed_list /proc/self/status | cut -f2; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2",
        ])?;
        assert_eq!(ran.ok().lines().collect::<Vec<_>>(), ["100", "0", "8192"], "{client}");
    }
    Ok(())
}

/// What a shell or systemd gives is too little for the daemon, and just what programs expect.
#[test]
fn the_daemon_raises_its_own_limit_of_descriptors_alone() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let dir = world.dir().join("second");
    std::fs::create_dir_all(&dir)?;
    let second = Daemon::start(&dir, &["--bip", "10.213.0.1/24"], &|program| {
        let mut shell = world.command("sh");
        shell.args(["-c", r#"ulimit -Sn 200; ulimit -Hn 3000; exec "$0" "$@""#, program]);
        shell
    })?;
    let tare = |words: &[&str]| {
        let program = binaries()?.join("tare");
        let host = format!("unix://{}", second.socket().display());
        capture(world.command(&program.to_string_lossy()).env("TARE_HOST", host).args(words))
    };
    let said = "ulimit -Sn; ulimit -Hn";
    tare(&["run", "-d", "--name", "said", &image, "sh", "-c", &format!("{said}; sleep 600")])?.ok();
    until("the container to speak", || Ok(tare(&["logs", "said"])?.ok().lines().count() == 2))?;
    assert_eq!(tare(&["logs", "said"])?.ok(), "200\n3000");
    assert_eq!(tare(&["exec", "said", "sh", "-c", said])?.ok(), "200\n3000");
    assert_eq!(tare(&["run", "--rm", "--ulimit", "nofile=9:10", &image, "sh", "-c", said])?.ok(), "9\n10");

    let idle: Vec<_> = (0..500).map(|_| UnixStream::connect(second.socket())).collect::<Result<_, _>>()?;
    let ports: Vec<String> = (20_000..20_300).map(|port| format!("-p{port}")).collect();
    let ports = ports.iter().map(String::as_str);
    let words: Vec<&str> = ["run", "-d"].into_iter().chain(ports).chain([image.as_str(), "true"]).collect();
    tare(&words)?.ok();
    drop(idle);
    let all = tare(&["ps", "-aq"])?.ok().to_owned();
    tare(&["rm", "-f"].into_iter().chain(all.lines()).collect::<Vec<_>>())?.ok();
    Ok(())
}
