use anyhow::Result;
use tare_tests::{World, until};

#[test]
fn exit_codes_come_back_as_they_are() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        for (code, command) in [
            (0, vec!["true"]),
            (42, vec!["sh", "-c", "exit 42"]),
            // The first process of a namespace cannot kill itself, its child can, and the shell passes the code on.
            (137, vec!["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]),
            (127, vec!["no-such-program"]),
            (127, vec!["/no/such/program"]),
            (126, vec!["/etc/passwd"]),
            (126, vec!["/etc"]),
        ] {
            let ran = run(&[&["run", "--rm", &image], &command[..]].concat())?;
            assert_eq!(ran.code, code, "{client}: {ran:?}");
        }
        assert_eq!(run(&["run", "--no-such-flag", &image])?.code, 125, "{client}");
    }
    world.assert_clean(&[])?;
    Ok(())
}

#[test]
fn a_container_lives_from_create_to_rm() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        run(&["pull", "-q", &image])?.ok();
        let id = run(&["create", "--name", "one", &image, "sleep", "600"])?.ok().to_owned();
        assert_eq!(id.len(), 64, "{client}");
        let status = |name: &str| {
            run(&["inspect", "--format", "{{.State.Status}}", name]).map(|ran| ran.ok().to_owned())
        };
        assert_eq!(status("one")?, "created");
        run(&["start", "one"])?.ok();
        assert_eq!(status(&id[..12])?, "running");
        assert_eq!(run(&["ps", "-q", "--no-trunc"])?.ok(), id);
        run(&["pause", "one"])?.ok();
        assert_eq!(status("one")?, "paused");
        run(&["unpause", "one"])?.ok();
        run(&["rename", "one", "other"])?.ok();
        assert!(run(&["top", "other"])?.ok().contains("sleep 600"), "{client}");
        run(&["restart", "-t", "0", "other"])?.ok();
        assert_eq!(status("other")?, "running");
        assert!(run(&["rm", "other"])?.fails(1).contains("running"), "{client}");
        run(&["kill", "-s", "KILL", "other"])?.ok();
        assert_eq!(run(&["wait", "other"])?.ok(), "137");
        assert_eq!(status("other")?, "exited");
        run(&["rm", "other"])?.ok();
        assert!(run(&["inspect", "other"])?.fails(1).contains("o such object"), "{client}");
        world.assert_clean(&[&id])?;
    }
    Ok(())
}

#[test]
fn stop_sends_the_images_signal_and_then_kills() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        let polite = "trap 'echo bye; exit 7' USR1; echo ready; while true; do sleep 0.1; done";
        run(&["run", "-d", "--name", "polite", "--stop-signal", "USR1", &image, "sh", "-c", polite])?.ok();
        until("the trap to be set", || Ok(run(&["logs", "polite"])?.out.contains("ready")))?;
        run(&["stop", "polite"])?.ok();
        assert_eq!(run(&["inspect", "--format", "{{.State.ExitCode}}", "polite"])?.ok(), "7", "{client}");
        assert!(run(&["logs", "polite"])?.ok().ends_with("bye"), "{client}");
        run(&[
            "run",
            "-d",
            "--name",
            "deaf",
            &image,
            "sh",
            "-c",
            "trap '' TERM; while true; do sleep 1; done",
        ])?
        .ok();
        run(&["stop", "-t", "1", "deaf"])?.ok();
        assert_eq!(run(&["inspect", "--format", "{{.State.ExitCode}}", "deaf"])?.ok(), "137", "{client}");
        run(&["rm", "polite", "deaf"])?.ok();
    }
    Ok(())
}

#[test]
fn names_ids_and_their_beginnings_find_a_container_or_say_why_not() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    let mut first_digits = std::collections::BTreeMap::new();
    for _ in 0..17 {
        let id = world.tare(&["create", &image, "true"])?.ok().to_owned();
        *first_digits.entry(id[..1].to_owned()).or_insert(0) += 1;
    }
    let shared =
        first_digits.into_iter().find(|(_, count)| *count > 1).expect("17 ids share one of 16 digits").0;
    world.tare(&["create", "--name", "twice", &image, "true"])?.ok();
    for (client, run) in world.clients() {
        assert!(run(&["start", "nobody"])?.fails(1).contains("No such container: nobody"), "{client}");
        assert!(run(&["start", &shared])?.fails(1).contains("ultiple"), "{client}");
        let taken = run(&["create", "--name", "twice", &image, "true"])?;
        assert!(taken.code != 0 && taken.err.contains("already in use"), "{client}: {taken:?}");
        let invalid = run(&["create", "--name", "a/b", &image, "true"])?;
        assert!(invalid.code != 0 && invalid.err.contains("nvalid"), "{client}: {invalid:?}");
    }
    Ok(())
}

#[test]
fn restart_policies_are_kept() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world
        .docker(&[
            "run",
            "-d",
            "--name",
            "again",
            "--restart",
            "on-failure:2",
            &image,
            "sh",
            "-c",
            "echo round; exit 3",
        ])?
        .ok();
    until("two restarts", || {
        Ok(world.docker(&["inspect", "--format", "{{.RestartCount}} {{.State.Status}}", "again"])?.out.trim()
            == "2 exited")
    })?;
    assert_eq!(world.docker(&["logs", "again"])?.ok().lines().count(), 3);
    world.docker(&["run", "-d", "--name", "ever", "--restart", "always", &image, "sleep", "600"])?.ok();
    world.docker(&["stop", "-t", "0", "ever"])?.ok();
    assert_eq!(world.docker(&["inspect", "--format", "{{.State.Status}}", "ever"])?.ok(), "exited");
    Ok(())
}

#[test]
fn a_small_init_reaps_what_the_program_does_not() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        let orphan = "(sh -c 'sleep 0.1 & exit' ) ; sleep 1; ps -o stat,comm | grep -c '^Z' ; true";
        assert_eq!(run(&["run", "--rm", "--init", &image, "sh", "-c", orphan])?.ok(), "0", "{client}");
        let first = run(&["run", "--rm", "--init", &image, "cat", "/proc/1/comm"])?;
        assert!(first.ok().contains("init"), "{client}: {first:?}");
        assert_eq!(run(&["run", "--rm", "--init", &image, "sh", "-c", "exit 5"])?.code, 5, "{client}");
    }
    Ok(())
}

#[test]
fn fifty_containers_start_side_by_side() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    std::thread::scope(|scope| -> Result<()> {
        let starters: Vec<_> = (0..8)
            .map(|worker| {
                let (world, image) = (&world, &image);
                scope.spawn(move || -> Result<()> {
                    for number in (worker..50).step_by(8) {
                        world
                            .tare(&["run", "-d", "--name", &format!("c{number}"), image, "sleep", "600"])?
                            .ok();
                    }
                    Ok(())
                })
            })
            .collect();
        starters.into_iter().try_for_each(|starter| starter.join().expect("a starter panicked"))
    })?;
    let addresses = world.tare(&["ps", "-q"])?.ok().lines().count();
    assert_eq!(addresses, 50);
    let ids = world.tare(&["ps", "-q", "--no-trunc"])?.ok().to_owned();
    let ids: Vec<&str> = ids.lines().collect();
    let all = world.tare(&[&["inspect", "--format", "{{.NetworkSettings.IPAddress}}"], &ids[..]].concat())?;
    assert_eq!(
        all.ok().lines().collect::<std::collections::BTreeSet<_>>().len(),
        50,
        "every address is another"
    );
    world.tare(&[&["rm", "-f"], &ids[..]].concat())?.ok();
    world.assert_clean(&ids)?;
    Ok(())
}

#[test]
fn a_program_that_ends_by_itself_meets_requests_at_any_moment() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    world.tare(&["create", "--name", "brief", &image, "sleep", "0.02"])?.ok();
    for round in 0..60 {
        let request =
            ["kill?signal=CONT", "stop?signal=CONT&t=-1", "pause", "restart?signal=CONT"][round % 4];
        world.daemon().ask("POST", "/containers/brief/start")?;
        if round % 4 == 0 {
            // Until one comes too late.
            while world.daemon().ask("POST", &format!("/containers/brief/{request}"))? == 204 {}
        }
        std::thread::sleep(std::time::Duration::from_micros(18_000 + 200 * round as u64));
        let status = world.daemon().ask("POST", &format!("/containers/brief/{request}"))?;
        assert!([204, 304, 409].contains(&status), "{request}: {status}");
        if request.starts_with("restart") {
            assert_eq!(status, 204, "whatever it was doing, it is started");
        }
        world.daemon().ask("POST", "/containers/brief/unpause")?;
        world.daemon().ask("POST", "/containers/brief/wait")?;
    }
    Ok(())
}
