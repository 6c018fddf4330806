use anyhow::Result;
use tare_tests::{Terminal, World, capture_with_input, until};

#[test]
fn output_and_errors_come_apart_and_whole() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    for (client, run) in world.clients() {
        let ran = run(&["run", "--rm", &image, "sh", "-c", "echo out; echo err >&2"])?;
        assert_eq!((ran.ok(), ran.err.as_str()), ("out", "err\n"), "{client}");
        let much = run(&["run", "--rm", &image, "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"])?;
        assert_eq!(much.ok().len(), 3_000_000, "{client}");
    }
    Ok(())
}

#[test]
fn what_is_piped_in_reaches_the_program_and_ends() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    let input = "line\n".repeat(100_000);
    for mut command in [world.tare_command()?, world.docker_command()?] {
        let ran =
            capture_with_input(command.args(["run", "--rm", "-i", &image, "wc", "-l"]), input.as_bytes())?;
        assert_eq!(ran.ok().trim(), "100000", "{ran:?}");
    }
    world.tare(&["run", "-d", "--name", "box", &image, "sleep", "600"])?.ok();
    for mut command in [world.tare_command()?, world.docker_command()?] {
        let ran = capture_with_input(command.args(["exec", "-i", "box", "wc", "-l"]), input.as_bytes())?;
        assert_eq!(ran.ok().trim(), "100000", "{ran:?}");
    }
    Ok(())
}

#[test]
fn a_person_at_a_terminal_types_resizes_and_detaches() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    for (number, mut command) in [world.tare_command()?, world.docker_command()?].into_iter().enumerate() {
        let name = format!("shell{number}");
        let mut terminal = Terminal::start(command.args(["run", "-it", "--name", &name, &image, "sh"]))?;
        terminal.expect("# ")?;
        terminal.send("stty size; tty\n")?;
        terminal.expect("40 120")?;
        terminal.expect("/dev/")?;
        terminal.resize(50, 100)?;
        // The new size travels as a signal and a request; the shell is asked until it has arrived.
        let mut shown = String::new();
        until("the new size", || {
            terminal.send("stty size; echo ask''ed\n")?;
            shown = terminal.expect("asked")?;
            Ok(shown.contains("50 100"))
        })?;
        terminal.send("\u{10}\u{11}")?;
        assert_eq!(terminal.end()?, 0);
        assert_eq!(world.tare(&["inspect", "--format", "{{.State.Status}}", &name])?.ok(), "running");
        let mut again = Terminal::start(world.docker_command()?.args(["attach", &name]))?;
        again.send("\n")?;
        again.expect("# ")?;
        again.send("exit 9\n")?;
        assert_eq!(again.end()?, 9);
    }
    Ok(())
}

#[test]
fn exec_runs_beside_the_program_with_its_own_code_and_terminal() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["run", "-d", "--name", "box", "-e", "COLOUR=red", &image, "sleep", "600"])?.ok();
    for (client, run) in world.clients() {
        assert_eq!(run(&["exec", "box", "sh", "-c", "echo $COLOUR"])?.ok(), "red", "{client}");
        assert_eq!(run(&["exec", "box", "sh", "-c", "exit 3"])?.code, 3, "{client}");
        assert_eq!(
            run(&[
                "exec",
                "-e",
                "A=b",
                "-w",
                "/tmp",
                "-u",
                "web",
                "box",
                "sh",
                "-c",
                "echo $A $PWD $(id -u)"
            ])?
            .ok(),
            "b /tmp 1000",
            "{client}"
        );
        assert_eq!(run(&["exec", "box", "nothing-here"])?.code, 127, "{client}");
        assert_eq!(run(&["exec", "box", "cat", "/proc/1/comm"])?.ok(), "sleep", "{client}");
        run(&["exec", "-d", "box", "sh", "-c", &format!("echo {client} > /tmp/detached-{client}")])?.ok();
        until("the detached exec", || {
            Ok(run(&["exec", "box", "cat", &format!("/tmp/detached-{client}")])?.out.trim() == client)
        })?;
        assert!(run(&["exec", "nobody", "true"])?.fails(1).contains("No such container"), "{client}");
    }
    for mut command in [world.tare_command()?, world.docker_command()?] {
        let mut terminal = Terminal::start(command.args(["exec", "-it", "box", "sh"]))?;
        terminal.expect("# ")?;
        terminal.send("tty; exit 4\n")?;
        terminal.expect("/dev/pts/")?;
        assert_eq!(terminal.end()?, 4);
    }
    Ok(())
}

#[test]
fn logs_are_kept_cut_and_followed() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        let count = "for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2";
        run(&["run", "--name", "log", &image, "sh", "-c", count])?.ok();
        let all = run(&["logs", "log"])?;
        assert_eq!((all.ok().lines().count(), all.err.as_str()), (5, "oops\n"), "{client}");
        assert_eq!(run(&["logs", "--tail", "2", "log"])?.out.lines().next_back(), Some("line 5"), "{client}");
        let stamped = run(&["logs", "-t", "--tail", "1", "log"])?;
        assert!(stamped.err.contains("T") && stamped.err.contains("Z oops"), "{client}: {stamped:?}");
        assert_eq!(run(&["logs", "--since", "2099-01-01T00:00:00Z", "log"])?.ok(), "", "{client}");
        assert_eq!(run(&["logs", "--until", "2001-01-01T00:00:00Z", "log"])?.ok(), "", "{client}");
        run(&["rm", "log"])?.ok();
        let slow = "for i in 1 2 3; do echo tick $i; sleep 0.2; done";
        run(&["run", "-d", "--name", "slow", &image, "sh", "-c", slow])?.ok();
        assert_eq!(run(&["logs", "-f", "slow"])?.ok().lines().count(), 3, "{client}");
        run(&["rm", "-f", "slow"])?.ok();
    }
    Ok(())
}

/// Ten megabytes three times by default; asked for less here. What is followed survives the turn to a new file.
#[test]
fn a_log_never_fills_the_disk() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let talk = "i=0; while [ $i -lt 20000 ]; do echo a line that is long enough to count for something $i; i=$((i+1)); done";
    let options = ["--log-opt", "max-size=100k", "--log-opt", "max-file=2"];
    world
        .docker(&[&["run", "-d", "--name", "talker"], &options[..], &[&image, "sh", "-c", talk]].concat())?
        .ok();
    world.docker(&["wait", "talker"])?.ok();
    let path = world.docker(&["inspect", "--format", "{{.LogPath}}", "talker"])?.ok().to_owned();
    let size: u64 = [path.clone(), format!("{path}.1")]
        .iter()
        .filter_map(|p| std::fs::metadata(p).ok())
        .map(|m| m.len())
        .sum();
    assert!(size > 50_000 && size < 260_000, "{size} bytes of log");
    assert!(!std::path::Path::new(&format!("{path}.2")).exists());
    assert!(world.docker(&["logs", "--tail", "1", "talker"])?.ok().ends_with("19999"));
    Ok(())
}

#[test]
fn events_tell_a_containers_story() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["run", "--name", "story", &image, "true"])?.ok();
    world.tare(&["rm", "story"])?.ok();
    for (client, run) in world.clients() {
        // Until the end of this second, which is over soon.
        let now =
            (std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() + 1).to_string();
        let told = run(&[
            "events",
            "--since",
            "1",
            "--until",
            &now,
            "--filter",
            "container=story",
            "--format",
            "{{.Action}}",
        ])?;
        let actions: Vec<&str> = told.ok().lines().collect();
        for action in ["create", "start", "die", "destroy"] {
            assert!(actions.contains(&action), "{client}: {actions:?}");
        }
    }
    Ok(())
}
