use anyhow::Result;
use tare_tests::{Daemon, World, binaries, capture};

/// Two daemons on one machine and one network namespace, each with its own bridge, table, containers.
#[test]
fn two_daemons_live_side_by_side() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let dir = world.dir().join("second");
    std::fs::create_dir_all(&dir)?;
    let second = Daemon::start(&dir, &["--bip", "10.213.0.1/24"], &|p| world.command(p))?;
    let other = |words: &[&str]| {
        let tare = binaries()?.join("tare");
        capture(
            world
                .command(&tare.to_string_lossy())
                .env("TARE_HOST", format!("unix://{}", second.socket().display()))
                .args(words),
        )
    };
    world.tare(&["run", "-d", "--name", "same", "-p", "8001:80", &image, "sleep", "600"])?.ok();
    other(&["run", "-d", "--name", "same", "-p", "8002:80", &image, "sleep", "600"])?.ok();
    assert_eq!(world.tare(&["ps", "-q"])?.ok().lines().count(), 1);
    let address = other(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", "same"])?;
    assert!(address.ok().starts_with("10.213.0."), "{address:?}");
    other(&["rm", "-f", "same"])?.ok();
    assert_eq!(world.tare(&["inspect", "--format", "{{.State.Status}}", "same"])?.ok(), "running");
    let bridges = capture(world.command("ip").args(["-br", "link", "show", "type", "bridge"]))?;
    assert_eq!(bridges.ok().lines().count(), 2, "{bridges:?}");
    drop(second);
    Ok(())
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() -> Result<()> {
    let world = World::new()?;
    let tared = binaries()?.join("tared");
    let mut command = world.command(&tared.to_string_lossy());
    command.arg("--data-root").arg(world.dir().join("data")).arg("--exec-root").arg(world.dir().join("exec"));
    command
        .arg("--pidfile")
        .arg(world.dir().join("other.pid"))
        .arg("--host")
        .arg(format!("unix://{}", world.dir().join("other.sock").display()));
    let refused = capture(&mut command)?;
    assert!(refused.code != 0 && refused.err.contains("data"), "{refused:?}");
    assert_eq!(world.tare(&["ps", "-q"])?.code, 0, "the first one goes on");
    Ok(())
}

/// The first command on a fresh machine works: nobody had to start anything.
#[test]
fn the_daemon_starts_on_demand() -> Result<()> {
    let world = World::new()?;
    let dir = world.dir().join("demand");
    std::fs::create_dir_all(&dir)?;
    let tare = binaries()?.join("tare");
    let mut command = world.command(&tare.to_string_lossy());
    // An ordinary user's place is chosen by XDG_RUNTIME_DIR; root's default socket is fixed and must be left alone here.
    let host = format!("unix://{}", dir.join("none.sock").display());
    let refused = capture(command.env("TARE_HOST", host).arg("ps"))?;
    assert!(
        refused.fails(1).contains("none.sock"),
        "a daemon that was named is not replaced by another: {refused:?}"
    );
    Ok(())
}
