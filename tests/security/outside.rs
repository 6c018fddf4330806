use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use tare_tests::{World, capture};

/// On the host's network a container sees the host's abstract sockets: none may be ours (CVE-2020-15257).
#[test]
fn no_socket_of_ours_is_abstract() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["run", "-d", &image, "sleep", "600"])?.ok();
    let sockets = world.docker(&["run", "--rm", "--network", "host", &image, "cat", "/proc/net/unix"])?;
    assert!(!sockets.ok().lines().any(|line| line.contains('@') && line.contains("tare")), "{sockets:?}");
    Ok(())
}

#[test]
fn the_data_root_and_the_socket_are_closed_to_others() -> Result<()> {
    let world = World::new()?;
    for folder in ["data", "exec"] {
        let mode = std::fs::metadata(world.dir().join(folder))?.permissions().mode();
        assert_eq!(mode & 0o007, 0, "{folder}: {mode:o} (CVE-2021-41091)");
    }
    let mode = std::fs::metadata(world.daemon().socket())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    Ok(())
}

/// Whoever reaches the socket is root: no port without a lock on it.
#[test]
fn a_tcp_address_for_everybody_is_refused() -> Result<()> {
    let world = World::new()?;
    let tared = tare_tests::binaries()?.join("tared");
    let mut command = world.command(&tared.to_string_lossy());
    command.arg("--data-root").arg(world.dir().join("d2")).arg("--exec-root").arg(world.dir().join("e2"));
    let refused =
        capture(command.arg("--pidfile").arg(world.dir().join("p2")).args(["--host", "tcp://0.0.0.0:2375"]))?;
    assert!(refused.code != 0 && refused.err.contains("tcp"), "{refused:?}");
    Ok(())
}

/// The runtime's binary can be neither seen nor overwritten from inside (CVE-2019-5736).
#[test]
fn the_runtime_binary_stays_as_it_was() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let runtime = tare_tests::binaries()?.join("tare-runtime");
    let before = std::fs::read(&runtime)?;
    world.docker(&["run", "-d", "--name", "box", &image, "sleep", "600"])?.ok();
    let attack = "for i in 1 2 3; do for p in /proc/[0-9]*; do (echo owned > $p/exe) 2>/dev/null; done; done; echo tried";
    let attacker = world.docker(&["exec", "-d", "box", "sh", "-c", &attack.repeat(20)])?;
    attacker.ok();
    for _ in 0..20 {
        world.docker(&["exec", "box", "true"])?.ok();
    }
    // The classic form: the program to run is the runtime itself, through /proc/self/exe.
    let ran = world.docker(&["run", "--rm", "--entrypoint", "/proc/self/exe", &image, "--version"])?;
    assert!(!ran.out.contains("tare-runtime") || before == std::fs::read(&runtime)?, "{ran:?}");
    assert!(before == std::fs::read(&runtime)?, "the binary has changed");
    Ok(())
}
