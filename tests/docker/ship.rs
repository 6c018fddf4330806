use anyhow::{Context, Result};
use tare_tests::{World, capture};

/// The same bytes go out that came in, and come back from where they were sent.
#[test]
fn an_image_is_pushed_under_another_name_and_runs_from_there() -> Result<()> {
    let world = World::new()?;
    let image = world.push_debian()?;
    for (client, run) in world.clients() {
        let other = format!("127.0.0.1:5000/shipped/by-{client}:v2");
        run(&["pull", "-q", &image])?.ok();
        run(&["tag", &image, &other])?.ok();
        let pushed = run(&["push", &other])?;
        let words = pushed.ok();
        assert!(words.contains(&format!("[127.0.0.1:5000/shipped/by-{client}]")), "{client}: {words}");
        // The registry has these layers in the repository that they were pulled from.
        assert!(words.contains("Mounted from web"), "{client}: {words}");
        assert!(words.contains("v2: digest: sha256:"), "{client}: {words}");
        assert_eq!(digest(&world, &other)?, digest(&world, &image)?, "{client}");
        let again = run(&["push", &other])?;
        assert!(again.ok().contains("Layer already exists"), "{client}: {again:?}");
        run(&["rmi", "-f", &image, &other])?.ok();
        run(&["pull", "-q", &other])?.ok();
        let ran = run(&["run", "--rm", &other, "python3", "-c", "print(6 * 7)"])?;
        assert_eq!(ran.ok(), "42", "{client}");
        run(&["rmi", &other])?.ok();
    }
    Ok(())
}

#[test]
fn what_cannot_be_pushed_is_said_in_a_line() -> Result<()> {
    let mut world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        let missing = run(&["push", "127.0.0.1:5000/no/such:thing"])?;
        assert!(missing.fails(1).contains("does not exist locally"), "{client}: {missing:?}");
        run(&["pull", "-q", &image])?.ok();
        run(&["tag", &image, "127.0.0.1:1/bb:v1"])?.ok();
        let nobody = run(&["push", "127.0.0.1:1/bb:v1"])?;
        assert!(nobody.fails(1).contains("refused"), "{client}: {nobody:?}");
    }
    world.stop_registry();
    for (client, run) in world.clients() {
        let gone = run(&["push", &image])?;
        assert!(gone.fails(1).contains("refused"), "{client}: {gone:?}");
    }
    Ok(())
}

#[test]
fn all_tags_of_a_repository_are_pushed_when_asked_for() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        let name = format!("127.0.0.1:5000/many/{client}");
        run(&["pull", "-q", &image])?.ok();
        for tag in ["one", "two"] {
            run(&["tag", &image, &format!("{name}:{tag}")])?.ok();
        }
        run(&["push", "--all-tags", &name])?.ok();
        for tag in ["one", "two"] {
            assert_eq!(digest(&world, &format!("{name}:{tag}"))?, digest(&world, &image)?, "{client}");
        }
    }
    Ok(())
}

/// The digest that skopeo reads under a name in the registry.
fn digest(world: &World, reference: &str) -> Result<String> {
    let address = format!("docker://{reference}");
    let words = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &address];
    let ran = capture(world.command("skopeo").args(words))?;
    Some(ran.ok().to_owned()).filter(|digest| digest.starts_with("sha256:")).context("no digest")
}

/// What is saved is an archive for Docker and an OCI layout at once, and comes back as it was.
#[test]
fn images_are_saved_removed_loaded_and_run() -> Result<()> {
    let world = World::new()?;
    let (web, bb) = (world.push_debian()?, world.push_busybox()?);
    for (client, run) in world.clients() {
        let file = world.dir().join(format!("{client}.tar"));
        let file = file.to_str().context("a path that is text")?;
        for image in [&web, &bb] {
            run(&["pull", "-q", image])?.ok();
        }
        run(&["tag", &bb, "boxes/busy:other"])?.ok();
        let ids = run(&["images", "-q", "--no-trunc"])?.ok().to_owned();
        run(&["save", "-o", file, &web, "boxes/busy"])?.ok();
        run(&["rmi", "-f", &web, &bb, "boxes/busy:other"])?.ok();
        assert_eq!(run(&["images", "-q"])?.ok(), "", "{client}");
        let loaded = run(&["load", "-i", file])?;
        for name in [&web, "boxes/busy:other"] {
            assert!(loaded.ok().contains(&format!("Loaded image: {name}")), "{client}: {loaded:?}");
        }
        let same = |a: &str, b: &str| {
            let sorted =
                |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
            sorted(a) == sorted(b)
        };
        assert!(same(run(&["images", "-q", "--no-trunc"])?.ok(), &ids), "{client}");
        assert_eq!(run(&["run", "--rm", &web, "python3", "-c", "print(6 * 7)"])?.ok(), "42", "{client}");
        assert_eq!(run(&["run", "--rm", "boxes/busy:other", "echo", "back"])?.ok(), "back", "{client}");
        // The same images make the same archive, whoever asks and however often.
        let again = format!("{file}.again");
        run(&["save", "-o", &again, &web, "boxes/busy"])?.ok();
        assert_eq!(std::fs::read(file)?, std::fs::read(&again)?, "{client}");
        run(&["rmi", "-f", &web, "boxes/busy:other"])?.ok();
    }
    Ok(())
}

#[test]
fn skopeo_reads_what_is_saved_and_what_it_writes_is_loaded() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let file = world.dir().join("bb.tar");
    let file = file.to_str().context("a path that is text")?;
    world.tare(&["pull", "-q", &image])?.ok();
    let id = world.tare(&["inspect", "--format", "{{.Id}}", &image])?.ok().to_owned();
    world.tare(&["save", "-o", file, &image])?.ok();
    for form in ["docker-archive", "oci-archive"] {
        let inspected = capture(world.command("skopeo").args(["inspect", &format!("{form}:{file}")]))?;
        assert!(inspected.ok().contains("\"Layers\""), "{form}: {inspected:?}");
        let made = format!("{file}.{form}");
        let target = format!("{form}:{made}:127.0.0.1:5000/by/skopeo:v1");
        let source = format!("docker://{image}");
        capture(world.command("skopeo").args(["copy", "-q", "--src-tls-verify=false", &source, &target]))?
            .ok();
        for (client, run) in world.clients() {
            let loaded = run(&["load", "-i", &made])?;
            assert!(
                loaded.ok().contains("Loaded image: 127.0.0.1:5000/by/skopeo:v1"),
                "{client} {form}: {loaded:?}"
            );
            let found = run(&["inspect", "--format", "{{.Id}}", "127.0.0.1:5000/by/skopeo:v1"])?;
            assert_eq!(found.ok(), id, "{client} {form}");
            let ran = run(&["run", "--rm", "127.0.0.1:5000/by/skopeo:v1", "echo", "loaded"])?;
            assert_eq!(ran.ok(), "loaded", "{client} {form}");
            run(&["rmi", "127.0.0.1:5000/by/skopeo:v1"])?.ok();
        }
    }
    Ok(())
}

#[test]
fn archives_come_from_pipes_compressed_or_not_and_bad_ones_are_refused() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let file = world.dir().join("bb.tar");
    let file = file.to_str().context("a path that is text")?;
    for (client, run) in world.clients() {
        run(&["pull", "-q", &image])?.ok();
        run(&["save", "-o", file, &image])?.ok();
        run(&["rmi", &image])?.ok();
        for packer in ["cat", "gzip -c", "zstd -qc"] {
            let command = match client {
                "tare" => world.tare_command()?,
                _ => world.docker_command()?,
            };
            let packed =
                std::process::Command::new("sh").args(["-c", &format!("{packer} {file}")]).output()?;
            let mut command = command;
            let loaded = tare_tests::capture_with_input(command.arg("load"), &packed.stdout)?;
            assert!(loaded.ok().contains("Loaded image: "), "{client} {packer}: {loaded:?}");
            run(&["rmi", &image])?.ok();
        }
        std::fs::write(file, b"this is no archive at all".repeat(1000))?;
        let refused = run(&["load", "-i", file])?;
        assert!(refused.fails(1).contains("invalid archive"), "{client}: {refused:?}");
        let missing = run(&["save", "-o", file, "no/such:thing"])?;
        assert!(missing.fails(1).contains("No such image"), "{client}: {missing:?}");
        let mut piped = world.tare_command()?;
        let half = tare_tests::capture_with_input(piped.arg("load"), &[0; 100])?;
        assert!(half.fails(1).contains("invalid archive"), "{half:?}");
    }
    Ok(())
}
