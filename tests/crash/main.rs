//! `kill -9` at bad moments: afterwards nothing has leaked, nothing is lost, containers live.

mod full;
mod images;
mod many;
mod trap;

use anyhow::{Context, Result};
use tare_tests::{World, capture, until};

/// Containers, their logs, their ports go on without the daemon; the next one finds them as they are.
#[test]
fn containers_outlive_the_daemon() -> Result<()> {
    let mut world = World::new()?;
    let image = world.push_busybox()?;
    let tick = "i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.1; done";
    let id = world
        .tare(&[
            "run",
            "-d",
            "--name",
            "clock",
            "-p",
            "8080:80",
            &image,
            "sh",
            "-c",
            &format!("mkdir -p /w; echo alive > /w/index.html; httpd -h /w; {tick}"),
        ])?
        .ok()
        .to_owned();
    let short = world
        .tare(&["run", "-d", "--name", "short", &image, "sh", "-c", "sleep 0.5; exit 23"])?
        .ok()
        .to_owned();
    let fetch = || capture(world.command("curl").args(["-s", "--max-time", "60", "http://127.0.0.1:8080/"]));
    until("the server", || Ok(fetch()?.code == 0))?;
    let pid = world.tare(&["inspect", "--format", "{{.State.Pid}}", "clock"])?.ok().to_owned();
    world.kill_daemon();
    assert_eq!(
        capture(world.command("curl").args(["-s", "--max-time", "60", "http://127.0.0.1:8080/"]))?.ok(),
        "alive",
        "without a daemon"
    );
    until("the short one to end unseen", || Ok(!process_of(&short)))?;
    world.start_daemon(&[])?;
    assert_eq!(
        world.tare(&["inspect", "--format", "{{.State.Status}} {{.State.Pid}}", "clock"])?.ok(),
        format!("running {pid}")
    );
    assert_eq!(
        world.tare(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "short"])?.ok(),
        "exited 23"
    );
    let ticks = world.tare(&["logs", "clock"])?;
    let numbers: Vec<u32> =
        ticks.ok().lines().filter_map(|l| l.strip_prefix("tick ")?.parse().ok()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1) && numbers[0] == 0, "no tick is lost");
    assert_eq!(world.tare(&["exec", "clock", "echo", "hello"])?.ok(), "hello");
    assert_eq!(
        capture(world.command("curl").args(["-s", "--max-time", "60", "http://127.0.0.1:8080/"]))?.ok(),
        "alive"
    );
    world.tare(&["rm", "-f", "clock", "short"])?.ok();
    world.assert_clean(&[&id, &short])?;
    Ok(())
}

fn process_of(id: &str) -> bool {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(id))
}

/// Killed at ever later moments of a pull: the next pull succeeds and the image runs.
#[test]
fn a_pull_cut_in_the_middle_resumes_or_starts_again() -> Result<()> {
    let mut world = World::new()?;
    let image = world.push_debian()?;
    for delay in [5, 30, 80, 150, 300, 600] {
        let mut pulling = world
            .tare_command()?
            .args(["pull", &image])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        std::thread::sleep(std::time::Duration::from_millis(delay));
        world.kill_daemon();
        let _ = pulling.kill();
        pulling.wait()?;
        world.start_daemon(&[])?;
        let half = world.leftovers(&[])?.0.into_iter().filter(|line| line.contains("snapshots/tmp")).count();
        assert_eq!(half, 0, "after {delay} ms, half a layer is left");
    }
    world.tare(&["pull", "-q", &image])?.ok();
    assert!(world.tare(&["run", "--rm", &image, "python3", "-c", "print(6 * 7)"])?.ok() == "42");
    world.tare(&["rmi", &image])?.ok();
    let layers = std::fs::read_dir(world.dir().join("data/snapshots/layers"))?.count();
    let blobs = std::fs::read_dir(world.dir().join("data/content/blobs/sha256"))?.count();
    assert_eq!((layers, blobs), (0, 0), "an image that is removed leaves nothing");
    Ok(())
}

/// Killed at ever later moments of a commit and of a prune: an image is there whole or not at all, a container that stood
/// still goes on, and in the end nothing has leaked.
#[test]
fn commits_and_prunes_cut_in_the_middle_are_whole_or_absent() -> Result<()> {
    let mut world = World::new()?;
    let image = world.push_busybox()?;
    let work = "head -c 8000000 /dev/urandom > /noise; sha256sum /noise > /sum; sleep 1000";
    world.tare(&["run", "-d", "--name", "box", &image, "sh", "-c", work])?.ok();
    world.until_inside("box", "test -s /sum")?;
    for delay in [1, 20, 60, 120, 250, 500, 1000, 2000] {
        let name = format!("made:{delay}");
        cut(&mut world, &["commit", "box", &name], delay)?;
        assert_eq!(world.tare(&["inspect", "-f", "{{.State.Status}}", "box"])?.ok(), "running", "{delay} ms");
        if !world.tare(&["images", "-q", &name])?.ok().is_empty() {
            world.tare(&["run", "--rm", &name, "sha256sum", "-c", "/sum"])?.ok();
        }
    }
    world.tare(&["commit", "box", "made:last"])?.ok();
    world.tare(&["run", "--rm", "made:last", "sha256sum", "-c", "/sum"])?.ok();
    world.tare(&["rm", "-f", "box"])?.ok();
    for delay in [1, 10, 30] {
        cut(&mut world, &["image", "prune", "-a", "-f"], delay)?;
        for name in world.tare(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?.ok().lines() {
            world.tare(&["run", "--rm", name, "true"])?.ok();
        }
    }
    // One that a daemon was killed over in its last moment is taken away by the next.
    until("all containers to be gone", || Ok(world.tare(&["ps", "-aq"])?.ok().is_empty()))?;
    world.tare(&["image", "prune", "-a", "-f"])?.ok();
    let layers = std::fs::read_dir(world.dir().join("data/snapshots/layers"))?.count();
    let blobs = std::fs::read_dir(world.dir().join("data/content/blobs/sha256"))?.count();
    assert_eq!((layers, blobs), (0, 0), "nothing has leaked");
    Ok(())
}

/// Begins something, kills the daemon after so many milliseconds, and starts the next one.
fn cut(world: &mut World, words: &[&str], delay: u64) -> Result<()> {
    let mut running = world.tare_command()?;
    let running = running.args(words).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut running = running.spawn()?;
    std::thread::sleep(std::time::Duration::from_millis(delay));
    world.kill_daemon();
    let _ = running.kill();
    running.wait()?;
    world.start_daemon(&[])?;
    let half = world.leftovers(&[])?.0.into_iter().filter(|line| line.contains("snapshots/tmp")).count();
    anyhow::ensure!(half == 0, "after {delay} ms of {words:?}, half a layer is left");
    Ok(())
}

/// Killed again and again while containers start: no half of one is left.
#[test]
fn starts_cut_in_the_middle_leave_nothing() -> Result<()> {
    let mut world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    let mut ids = Vec::new();
    for delay in [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20] {
        let mut starting = world
            .tare_command()?
            .args([
                "run",
                "-d",
                "--name",
                &format!("c{delay}"),
                "-v",
                "/data",
                "-p",
                "8080:80",
                &image,
                "sleep",
                "600",
            ])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        std::thread::sleep(std::time::Duration::from_millis(delay));
        world.kill_daemon();
        starting.wait()?;
        world.start_daemon(&[])?;
        for line in world.tare(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"])?.ok().lines() {
            let (id, state) = line.split_once(' ').context("an id and a state")?;
            ids.push(id.to_owned());
            assert!(["created", "running", "exited"].contains(&state), "after {delay} ms: {line}");
            world.tare(&["rm", "-f", "-v", id])?.ok();
        }
        assert_eq!(world.tare(&["volume", "ls", "-q"])?.ok(), "", "after {delay} ms");
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.assert_clean(&ids)?;
    world.tare(&["run", "--rm", "-p", "8080:80", &image, "true"])?.ok();
    Ok(())
}

/// Containers that go with their end are written down while they start and forgotten without a wait: killed at any moment, none
/// of them comes back to stay, and nothing of one is left.
#[test]
fn short_lives_cut_in_the_middle_leave_nothing() -> Result<()> {
    let mut world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    for delay in [0, 2, 4, 6, 8, 10, 15, 20, 25, 30, 40, 60] {
        let mut command = world.tare_command()?;
        command.args(["run", "--rm", "--name", "short", "-v", "/data", "-p", "8080:80", &image, "true"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut running = command.spawn()?;
        std::thread::sleep(std::time::Duration::from_millis(delay));
        world.kill_daemon();
        running.wait()?;
        world.start_daemon(&[])?;
        // One that was made and never started is somebody's to start or remove, as everywhere.
        world.tare(&["rm", "-f", "-v", "short"])?;
        tare_tests::until("the container to be gone", || Ok(world.tare(&["ps", "-aq"])?.ok().is_empty()))?;
        assert_eq!(world.tare(&["volume", "ls", "-q"])?.ok(), "", "after {delay} ms");
    }
    world.assert_clean(&[])?;
    world.tare(&["run", "--rm", "--name", "short", "-p", "8080:80", &image, "true"])?.ok();
    Ok(())
}

/// What a client was told holds, however early the daemon dies after it.
#[test]
fn what_was_answered_is_on_the_disk() -> Result<()> {
    let mut world = World::new()?;
    let image = world.push_busybox()?;
    let run = ["run", "-d", "--restart", "unless-stopped", "--name", "first", &image, "sleep", "600"];
    world.tare(&["pull", "-q", &image])?.ok();
    let id = world.tare(&run)?.ok().to_owned();
    world.tare(&["rename", "first", "second"])?.ok();
    world.kill_daemon();
    world.start_daemon(&[])?;
    let shown = |world: &World| {
        Ok::<_, anyhow::Error>(
            world.tare(&["ps", "-a", "--format", "{{.Names}} {{.State}}"])?.ok().to_owned(),
        )
    };
    assert_eq!(shown(&world)?, "second running");
    world.tare(&["stop", "-t", "0", "second"])?.ok();
    world.kill_daemon();
    world.start_daemon(&[])?;
    assert_eq!(shown(&world)?, "second exited");
    world.tare(&["rm", "second"])?.ok();
    world.assert_clean(&[&id])
}

/// The shim is killed: the container is gone with it, and the daemon says so and forgets nothing else.
#[test]
fn a_killed_shim_is_noticed() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let id = world
        .tare(&["run", "-d", "--name", "victim", "-p", "8080:80", &image, "sleep", "600"])?
        .ok()
        .to_owned();
    let shim = capture(std::process::Command::new("pgrep").args(["-f", &format!("tare-runtime.*{id}")]))?;
    capture(std::process::Command::new("kill").arg("-9").args(shim.ok().split_whitespace()))?.ok();
    until("the daemon to notice", || {
        Ok(world.tare(&["inspect", "--format", "{{.State.Status}}", "victim"])?.out.trim() == "exited")
    })?;
    world.tare(&["rm", "victim"])?.ok();
    world.assert_clean(&[&id])?;
    world.tare(&["run", "--rm", "-p", "8080:80", &image, "true"])?.ok();
    Ok(())
}

/// A disk that is full is said to be full; afterwards everything works again.
#[test]
fn a_full_disk_is_an_error_and_loses_nothing() -> Result<()> {
    let mut world = World::new()?;
    let image = world.push_debian()?;
    let small = world.push_busybox()?;
    world.stop_daemon();
    let data = world.dir().join("data");
    std::fs::remove_dir_all(&data)?;
    std::fs::create_dir_all(&data)?;
    // 100 MB: the small image fits, the large one does not.
    capture(
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=100m", "tmpfs"]).arg(&data),
    )?
    .ok();
    let told = (|| -> Result<()> {
        world.start_daemon(&[])?;
        let refused = world.tare(&["pull", &image])?;
        assert!(refused.fails(1).to_lowercase().contains("no space"), "{refused:?}");
        assert_eq!(world.tare(&["run", "--rm", &small, "echo", "room again"])?.ok(), "room again");
        let filled = world.tare(&[
            "run",
            "--rm",
            &small,
            "sh",
            "-c",
            "head -c 200000000 /dev/zero > /big; echo $?; rm /big; echo after",
        ])?;
        assert!(filled.out.contains("1\nafter"), "{filled:?}");
        Ok(())
    })();
    world.stop_daemon();
    capture(std::process::Command::new("umount").arg(&data))?.ok();
    told
}
