use anyhow::{Context, Result};
use tare_tests::{Ran, World, capture};

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
        let missing = run(&["push", "127.0.0.1:1/bb:v2"])?;
        assert!(missing.fails(1).contains("tag does not exist: 127.0.0.1:1/bb:v2"), "{client}: {missing:?}");
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

/// What is saved is a layout that umoci changes, and what it made of it is loaded.
#[test]
fn umoci_unpacks_what_is_saved_and_what_it_packs_is_loaded() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let dir = world.dir().join("layout");
    std::fs::create_dir(&dir)?;
    let path = |name: &str| world.dir().join(name).display().to_string();
    world.tare(&["pull", "-q", &image])?.ok();
    world.tare(&["save", "-o", &path("bb.tar"), &image])?.ok();
    let run = |program: &str, words: &[&str]| capture(world.command(program).args(words));
    run("tar", &["-xf", &path("bb.tar"), "-C", &path("layout")])?.ok();
    assert_eq!(run("umoci", &["ls", "--layout", &path("layout")])?.ok(), "v1");
    let source = format!("{}:v1", path("layout"));
    run("umoci", &["unpack", "--image", &source, &path("bundle")])?.ok();
    assert!(world.dir().join("bundle/rootfs/bin/busybox").exists());
    std::fs::write(world.dir().join("bundle/rootfs/new"), "by umoci")?;
    std::fs::remove_file(world.dir().join("bundle/rootfs/bin/vi"))?;
    run("umoci", &["repack", "--image", &format!("{}:v2", path("layout")), &path("bundle")])?.ok();
    run("umoci", &["rm", "--image", &source])?.ok();
    // It knows nothing of Docker's list, which would still name what was there before.
    std::fs::remove_file(dir.join("manifest.json"))?;
    run("tar", &["-cf", &path("changed.tar"), "-C", &path("layout"), "."])?.ok();
    for (client, run) in world.clients() {
        let loaded = run(&["load", "-i", &path("changed.tar")])?;
        // The name that the entry had stays with what umoci made of it.
        assert_eq!(loaded.ok(), format!("Loaded image: {image}"), "{client}");
        let seen = run(&["run", "--rm", &image, "sh", "-c", "cat /new; ls /bin/vi"])?;
        assert_eq!(seen.out, "by umoci", "{client}: {seen:?}");
        run(&["rmi", "-f", &image])?.ok();
    }
    Ok(())
}

/// podman with a store of the world's own.
pub(crate) fn podman(world: &World, words: &[&str]) -> Result<Ran> {
    let path = |name: &str| world.dir().join(name).display().to_string();
    let mut podman = world.command("podman");
    podman.args(["--root", &path("podman"), "--runroot", &path("podman-run"), "--storage-driver", "vfs"]);
    podman.args(["--cgroup-manager", "cgroupfs", "--events-backend", "none"]);
    capture(podman.env("HOME", world.dir()).args(words))
}

/// podman loads, pulls, saves and pushes what we save, push, load and pull, and the image stays the same one.
#[test]
fn podman_and_we_read_what_the_other_writes() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let path = |name: &str| world.dir().join(name).display().to_string();
    let podman = |words: &[&str]| podman(&world, words);
    let plain = "--tls-verify=false";
    world.tare(&["pull", "-q", &image])?.ok();
    let id = world.tare(&["inspect", "--format", "{{.Id}}", &image])?.ok().to_owned();
    let same = |name: &str| -> Result<()> {
        let found = podman(&["image", "inspect", "--format", "{{.Id}}", name])?;
        assert_eq!(format!("sha256:{}", found.ok().trim()), id, "{name}");
        Ok(())
    };
    world.tare(&["save", "-o", &path("bb.tar"), &image])?.ok();
    podman(&["load", "-q", "-i", &path("bb.tar")])?.ok();
    same(&image)?;
    podman(&["rmi", &image])?.ok();
    world.tare(&["tag", &image, "127.0.0.1:5000/by/tare:v1"])?.ok();
    world.tare(&["push", "-q", "127.0.0.1:5000/by/tare:v1"])?.ok();
    podman(&["pull", "-q", plain, "127.0.0.1:5000/by/tare:v1"])?.ok();
    same("127.0.0.1:5000/by/tare:v1")?;
    podman(&["push", "-q", plain, "127.0.0.1:5000/by/tare:v1", "127.0.0.1:5000/by/podman:v1"])?.ok();
    world.tare(&["rmi", &image, "127.0.0.1:5000/by/tare:v1"])?.ok();
    for form in ["docker-archive", "oci-archive"] {
        let file = path(form);
        podman(&["save", "-q", "--format", form, "-o", &file, "127.0.0.1:5000/by/tare:v1"])?.ok();
        for (client, run) in world.clients() {
            let loaded = run(&["load", "-i", &file])?;
            assert!(loaded.ok().contains("127.0.0.1:5000/by/tare:v1"), "{client} {form}: {loaded:?}");
            let ran = run(&["run", "--rm", "127.0.0.1:5000/by/tare:v1", "echo", "from podman"])?;
            assert_eq!(ran.ok(), "from podman", "{client} {form}");
            run(&["rmi", "127.0.0.1:5000/by/tare:v1"])?.ok();
        }
    }
    for (client, run) in world.clients() {
        run(&["pull", "-q", "127.0.0.1:5000/by/podman:v1"])?.ok();
        let ran = run(&["run", "--rm", "127.0.0.1:5000/by/podman:v1", "echo", "pulled"])?;
        assert_eq!(ran.ok(), "pulled", "{client}");
        run(&["rmi", "127.0.0.1:5000/by/podman:v1"])?.ok();
    }
    Ok(())
}

/// What a registry or an archive gets in another compression is the same image for everybody who reads it.
#[test]
fn layers_travel_in_the_compression_that_is_asked_for() -> Result<()> {
    const SENT: &str = "127.0.0.1:5000/sent/zstd:v1";
    let world = World::new()?;
    let image = world.push_busybox()?;
    let raw = |address: &str| {
        let words = ["inspect", "--raw", "--tls-verify=false", address];
        Ok::<_, anyhow::Error>(capture(world.command("skopeo").args(words))?.ok().to_owned())
    };
    world.tare(&["pull", "-q", &image])?.ok();
    let id = world.tare(&["inspect", "--format", "{{.Id}}", &image])?.ok().to_owned();
    world.tare(&["tag", &image, SENT])?.ok();
    let unknown = world.tare(&["push", "--compression", "lz4", SENT])?;
    assert!(unknown.fails(1).contains("known are gzip and zstd"), "{unknown:?}");
    let pushed = world.tare(&["push", "--compression", "zstd", SENT])?;
    assert!(pushed.ok().contains("Compressed"), "{pushed:?}");
    let manifest = raw(&format!("docker://{SENT}"))?;
    assert!(manifest.contains("tar+zstd") && !manifest.contains("gzip"), "{manifest}");
    podman(&world, &["pull", "-q", "--tls-verify=false", SENT])?.ok();
    let found = podman(&world, &["image", "inspect", "--format", "{{.Id}}", SENT])?;
    assert_eq!(format!("sha256:{}", found.ok().trim()), id);
    for (client, run) in world.clients() {
        run(&["rmi", "-f", &image, SENT])?.ok();
        run(&["pull", "-q", SENT])?.ok();
        assert_eq!(run(&["inspect", "--format", "{{.Id}}", SENT])?.ok(), id, "{client}");
        assert_eq!(run(&["run", "--rm", SENT, "echo", "unpacked"])?.ok(), "unpacked", "{client}");
        run(&["pull", "-q", &image])?.ok();
    }
    let context = world.dir().join("context");
    std::fs::create_dir_all(&context)?;
    std::fs::write(context.join("Dockerfile"), format!("FROM {image}\nRUN echo built > /built\n"))?;
    let (context, archive) =
        (context.display().to_string(), world.dir().join("built.tar").display().to_string());
    let output = format!("type=oci,compression=zstd,dest={archive}");
    world.tare(&["build", "-q", "-t", "built:v1", "-o", &output, &context])?.ok();
    let manifest = raw(&format!("oci-archive:{archive}"))?;
    assert!(manifest.matches("tar+zstd").count() == 2 && !manifest.contains("gzip"), "{manifest}");
    let output = "type=image,name=127.0.0.1:5000/built:v1,push=true,compression=zstd";
    world.tare(&["build", "-q", "-o", output, &context])?.ok();
    assert_eq!(raw("docker://127.0.0.1:5000/built:v1")?, manifest, "the same layers come to the same bytes");
    for (client, run) in world.clients() {
        run(&["rmi", "-f", "built:v1", "127.0.0.1:5000/built:v1"])?;
        run(&["load", "-q", "-i", &archive])?.ok();
        assert_eq!(run(&["run", "--rm", "built:v1", "cat", "/built"])?.ok(), "built", "{client}");
    }
    Ok(())
}
