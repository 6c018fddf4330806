use anyhow::Result;
use tare_tests::World;

/// The fourteen default capabilities, none inheritable or ambient, for run and exec alike (CVE-2022-24769).
#[test]
fn capabilities_are_the_default_fourteen_and_none_is_inheritable() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.docker(&["run", "-d", "--name", "box", &image, "sleep", "600"])?.ok();
    let asked = ["grep", "^Cap", "/proc/self/status"];
    let run = world.docker(&[&["run", "--rm", &image], &asked[..]].concat())?;
    let exec = world.docker(&[&["exec", "box"], &asked[..]].concat())?;
    let expected = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000";
    assert_eq!((run.ok(), exec.ok()), (expected, expected));
    let user = world.docker(&[
        "run",
        "--rm",
        "--user",
        "web",
        &image,
        "grep",
        "-E",
        "CapEff|CapPrm|CapInh",
        "/proc/self/status",
    ])?;
    assert!(user.ok().lines().all(|line| line.ends_with("0000000000000000")), "{user:?}");
    let dropped = world.docker(&[
        "run",
        "--rm",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CHOWN",
        &image,
        "grep",
        "CapEff",
        "/proc/self/status",
    ])?;
    assert!(dropped.ok().ends_with("0000000000000001"), "{dropped:?}");
    Ok(())
}

#[test]
fn seccomp_is_in_force_and_stops_what_the_field_stops() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let run = |words: &[&str]| world.docker(&[&["run", "--rm"], words].concat());
    assert!(run(&[&image, "grep", "Seccomp:", "/proc/self/status"])?.ok().ends_with('2'));
    for forbidden in
        ["unshare -m true", "mount -t tmpfs none /tmp", "unshare -U true", "chroot / mount -o remount,rw /"]
    {
        assert_ne!(run(&[&image, "sh", "-c", forbidden])?.code, 0, "{forbidden}");
    }
    let loose =
        run(&["--security-opt", "seccomp=unconfined", &image, "grep", "Seccomp:", "/proc/self/status"])?;
    assert!(loose.ok().ends_with('0'), "{loose:?}");
    let privileged = run(&["--privileged", &image, "sh", "-c", "mount -t tmpfs none /tmp && echo mounted"])?;
    assert_eq!(privileged.ok(), "mounted");
    let no_new =
        run(&["--security-opt", "no-new-privileges", &image, "grep", "NoNewPrivs", "/proc/self/status"])?;
    assert!(no_new.ok().ends_with('1'));
    Ok(())
}

#[test]
fn what_the_kernel_shows_of_the_host_is_masked_or_read_only() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let sh = |script: &str| world.docker(&["run", "--rm", &image, "sh", "-c", script]);
    for masked in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"] {
        assert_eq!(
            sh(&format!("[ -e {masked} ] && head -c 1 {masked} | wc -c || echo 0"))?.ok(),
            "0",
            "{masked}"
        );
    }
    assert_eq!(sh("ls /sys/firmware | wc -l")?.ok(), "0");
    for read_only in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ] {
        let tried = sh(&format!("echo x > {read_only}"))?;
        assert!(
            tried.code != 0 && (tried.err.contains("Read-only") || tried.err.contains("nonexistent")),
            "{read_only}: {tried:?}"
        );
    }
    let cgroups = sh(
        "find /sys/fs/cgroup -maxdepth 2 -name 'cgroup.procs' | while read f; do echo 1 > $f && echo WROTE $f; done 2>/dev/null; true",
    )?;
    assert!(!cgroups.out.contains("WROTE"), "{cgroups:?}");
    Ok(())
}

#[test]
fn namespaces_are_its_own() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let inside = world.docker(&[
        "run",
        "--rm",
        &image,
        "sh",
        "-c",
        "for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done",
    ])?;
    for (namespace, line) in
        ["cgroup", "ipc", "mnt", "net", "pid", "uts"].into_iter().zip(inside.ok().lines())
    {
        let ours = std::fs::read_link(format!("/proc/self/ns/{namespace}"))?;
        assert_ne!(ours.to_string_lossy(), line, "{namespace}");
    }
    assert_eq!(
        world.docker(&["run", "--rm", &image, "sh", "-c", "echo $$; echo /proc/[0-9]*"])?.ok(),
        "1\n/proc/1"
    );
    Ok(())
}

/// Nothing but the three streams is open in the program, however it was started (CVE-2024-21626).
#[test]
fn no_descriptor_or_directory_of_the_host_leaks_in() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.docker(&["run", "-d", "--name", "box", "-p", "8099:80", &image, "sleep", "600"])?.ok();
    let run = world.docker(&[
        "run",
        "--rm",
        "-p",
        "8098:80",
        &image,
        "sh",
        "-c",
        "ls /proc/self/fd; ls -l /proc/1/cwd",
    ])?;
    let exec = world.docker(&["exec", "box", "sh", "-c", "ls /proc/self/fd; ls /proc/1/fd"])?;
    assert!(
        run.ok().starts_with("0\n1\n2\n3\n") && run.out.trim_end().ends_with("-> /"),
        "3 is ls reading the directory: {run:?}"
    );
    assert_eq!(exec.ok(), "0\n1\n2\n3\n0\n1\n2");
    for number in 3..20 {
        let directory = format!("/proc/self/fd/{number}");
        let ran = world.docker(&["run", "--rm", "-w", &directory, &image, "pwd"])?;
        assert_ne!(ran.code, 0, "{directory}: {ran:?}");
        let ran = world.docker(&["exec", "-w", &directory, "box", "pwd"])?;
        assert_ne!(ran.code, 0, "{directory}: {ran:?}");
    }
    Ok(())
}

#[test]
fn users_and_groups_are_exactly_those_asked_for() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let id = |user: &str| {
        world.docker(&["run", "--rm", "--user", user, &image, "sh", "-c", "id -u; id -g; id -G"])
    };
    assert_eq!(
        id("1000:1000")?.ok(),
        "1000\n1000\n1000",
        "no group of the image comes along (CVE-2022-36109)"
    );
    assert_eq!(id("web")?.ok(), "1000\n1000\n1000 2000");
    for bad in ["4294967296", "-1", "2147483648", "0x0", "nobody-here", "web:nogroup"] {
        let ran = id(bad)?;
        assert!(
            ran.code != 0 && !ran.out.starts_with('0'),
            "{bad} must never become root (CVE-2024-40635): {ran:?}"
        );
    }
    Ok(())
}

/// A device node can be made, as the field allows, and not opened.
#[test]
fn only_the_devices_of_the_list_can_be_opened() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let ran = world.docker(&["run", "--rm", &image, "sh", "-c", "mknod /tmp/disk b 254 0; mknod /tmp/mem c 1 1; cat /tmp/disk >/dev/null; cat /tmp/mem > /dev/null; echo x > /dev/null && head -c 4 /dev/urandom | wc -c"])?;
    assert_eq!(ran.ok(), "4");
    assert_eq!(ran.err.matches("Operation not permitted").count(), 2, "{ran:?}");
    Ok(())
}
