//! What images are made of, and whether they still are: Tare's own verbs beside Docker's.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use tare_tests::{World, until};

/// A world with an image and one made upon it.
fn made(world: &World) -> Result<String> {
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    world
        .tare(&[
            "run",
            "--name",
            "box",
            &image,
            "sh",
            "-c",
            "echo new > /new; rm /bin/vi; echo other > /etc/passwd",
        ])?
        .ok();
    world.tare(&["commit", "box", "made:1"])?.ok();
    world.tare(&["rm", "box"])?.ok();
    Ok(image)
}

#[test]
fn two_images_are_told_apart_file_by_file() -> Result<()> {
    let world = World::new()?;
    let image = made(&world)?;
    let told = world.tare(&["image", "diff", &image, "made:1"])?;
    let lines: Vec<&str> = told.ok().lines().collect();
    assert_eq!(lines[0], "D /bin/vi  0B");
    assert!(
        lines.contains(&"A /new  4B") && lines.iter().any(|line| line.starts_with("C /etc/passwd  60B → 6B")),
        "{lines:?}"
    );
    assert_eq!(lines.last(), Some(&"1 added, 1 changed, 1 deleted: -50B"));
    let json = world.tare(&["image", "diff", "--json", "made:1", &image])?;
    let first: Value = serde_json::from_str(json.ok().lines().next().context("a line")?)?;
    assert_eq!(first["Kind"], "added");
    assert_eq!(world.tare(&["image", "diff", &image, &image])?.ok(), "0 added, 0 changed, 0 deleted: +0B");
    let log = world.tare(&["image", "log", "made:1"])?;
    assert!(log.ok().contains(&format!("= also of {image}")), "{log:?}");
    assert!(log.ok().contains("echo new"), "{log:?}");
    let manifest: Value = serde_json::from_str(world.tare(&["manifest", "inspect", "made:1"])?.ok())?;
    assert_eq!(manifest["layers"].as_array().context("layers")?.len(), 2);
    for missing in [
        &["image", "diff", "made:1", "nosuch"][..],
        &["image", "log", "nosuch"],
        &["manifest", "inspect", "nosuch"],
    ] {
        assert!(world.tare(missing)?.fails(1).contains("No such image: nosuch"), "{missing:?}");
    }
    Ok(())
}

#[test]
fn inspect_tells_what_clients_read() -> Result<()> {
    let world = World::new()?;
    let image = made(&world)?;
    let inspected: Value = serde_json::from_str(world.docker(&["image", "inspect", "made:1"])?.ok())?;
    let inspected = &inspected[0];
    let parent: Value = serde_json::from_str(world.docker(&["image", "inspect", &image])?.ok())?;
    assert_eq!(inspected["Parent"], parent[0]["Id"]);
    assert_eq!(inspected["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
    assert_eq!(inspected["Descriptor"]["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let upper = inspected["GraphDriver"]["Data"]["UpperDir"].as_str().context("UpperDir")?;
    assert_eq!(std::fs::read_to_string(PathBuf::from(upper).join("new"))?, "new\n");
    let (_, text) = world.api("GET", "/v1.51/images/made:1/json?manifests=1", None)?;
    let with: Value = serde_json::from_str(&text)?;
    assert_eq!(with["Manifests"][0]["ImageData"]["Platform"]["os"], "linux", "{text}");
    let tree = world.docker(&["images", "--tree"])?;
    assert!(tree.ok().contains("made:1") && tree.ok().contains("linux/amd64"), "{tree:?}");
    Ok(())
}

#[test]
fn a_parent_goes_with_the_last_image_that_was_made_from_it() -> Result<()> {
    for client in ["tare", "docker"] {
        let world = World::new()?;
        let image = made(&world)?;
        let run = |words: &[&str]| if client == "tare" { world.tare(words) } else { world.docker(words) };
        let id = run(&["inspect", "-f", "{{.Id}}", &image])?.ok().to_owned();
        let refused = run(&["rmi", "-f", &id])?;
        assert!(refused.fails(1).contains("image has dependent child images"), "{client}: {refused:?}");
        // Its name may go; the child has all it needs.
        let told = run(&["rmi", &image])?;
        assert!(told.ok().contains("Untagged") && !told.ok().contains("Deleted"), "{client}: {told:?}");
        assert_eq!(run(&["images", "-q"])?.ok().lines().count(), 1, "{client}");
        assert_eq!(run(&["images", "-aq"])?.ok().lines().count(), 2, "{client}");
        assert_eq!(run(&["run", "--rm", "made:1", "cat", "/new"])?.ok(), "new");
        let told = run(&["rmi", "made:1"])?;
        assert!(told.ok().contains(&format!("Deleted: {id}")), "{client}: {told:?}");
        assert_eq!(run(&["images", "-aq"])?.ok(), "", "{client}");
        assert_eq!(std::fs::read_dir(world.dir().join("data/snapshots/layers"))?.count(), 0, "{client}");
    }
    Ok(())
}

#[test]
fn an_image_is_mounted_for_reading_and_kept_meanwhile() -> Result<()> {
    let world = World::new()?;
    made(&world)?;
    let at = world.dir().join("mnt");
    std::fs::create_dir(&at)?;
    let path = at.to_str().context("a path that is text")?;
    world.tare(&["image", "mount", "made:1", path])?.ok();
    let seen = std::fs::read_to_string(at.join("new"));
    let written = std::fs::write(at.join("more"), "");
    let kept = world.tare(&["rmi", "made:1"]);
    let ended = world.tare(&["image", "unmount", path]);
    assert_eq!(seen?, "new\n");
    assert_eq!(written.map_err(|error| error.kind()), Err(std::io::ErrorKind::ReadOnlyFilesystem));
    assert!(kept?.fails(1).contains("conflict"));
    ended?.ok();
    assert_eq!(std::fs::read_dir(&at)?.count(), 0);
    world.tare(&["rmi", "made:1"])?.ok();
    assert!(world.tare(&["image", "mount", "made:1", path])?.fails(1).contains("No such image"));
    Ok(())
}

#[test]
fn damage_is_found_and_what_came_from_a_registry_is_repaired() -> Result<()> {
    let world = World::new()?;
    let image = made(&world)?;
    let sound = world.tare(&["system", "verify"])?;
    assert!(sound.ok().ends_with("2 layers: 0 damaged, 0 repaired"), "{sound:?}");
    let inspected: Value = serde_json::from_str(world.tare(&["image", "inspect", &image])?.ok())?;
    let tree = PathBuf::from(inspected[0]["GraphDriver"]["Data"]["UpperDir"].as_str().context("UpperDir")?);
    let manifest: Value = serde_json::from_str(world.tare(&["manifest", "inspect", &image])?.ok())?;
    let blob = manifest["layers"][0]["digest"].as_str().context("digest")?.trim_start_matches("sha256:");
    let blob = world.dir().join("data/content/blobs/sha256").join(blob);
    let mut bytes = std::fs::read(&blob)?;
    bytes[1000] ^= 1;
    std::fs::write(&blob, &bytes)?;
    std::fs::write(tree.join("etc/passwd"), "root::0:0:evil:/:/bin/sh\n")?;
    std::fs::remove_file(tree.join("bin/ls"))?;
    std::fs::write(tree.join("bin/extra"), "")?;

    let found = world.tare(&["system", "verify"])?;
    assert_eq!(found.code, 1, "{found:?}");
    assert!(found.out.contains("its content has the digest"), "{found:?}");
    let repaired = world.tare(&["system", "verify", "--repair"])?;
    let words = repaired.ok();
    for word in
        ["/bin/extra, /bin/ls, /etc/passwd differ from its archive: repaired", "2 damaged, 2 repaired"]
    {
        assert!(words.contains(word), "{repaired:?}");
    }
    let sound = world.tare(&["system", "verify", "-q"])?;
    assert_eq!(sound.ok(), "");
    assert!(!tree.join("bin/extra").exists());
    assert!(std::fs::read_to_string(tree.join("etc/passwd"))?.starts_with("root:x:0:0"));
    world.tare(&["run", "--rm", &image, "ls", "/"])?.ok();

    // What was made here can be told and not be fetched.
    let manifest: Value = serde_json::from_str(world.tare(&["manifest", "inspect", "made:1"])?.ok())?;
    let own = manifest["layers"][1]["digest"].as_str().context("digest")?.trim_start_matches("sha256:");
    std::fs::write(world.dir().join("data/content/blobs/sha256").join(own), "nothing")?;
    let lost = world.tare(&["system", "verify", "--repair"])?;
    assert_eq!(lost.code, 1, "{lost:?}");
    assert!(lost.out.contains("it did not come from a registry"), "{lost:?}");
    Ok(())
}

/// The same containers where nothing is stacked: every tree is a copy, bound as it lies.
#[test]
fn containers_run_on_the_copying_driver() -> Result<()> {
    containers_run_on("copy").map(drop)
}

/// The same containers on a kernel without overlayfs: a program serves every tree, and ends with it.
#[test]
fn containers_run_on_fuse_overlayfs() -> Result<()> {
    let world = containers_run_on("fuse-overlayfs")?;
    let image = world.push_busybox()?;
    world.tare(&["run", "-d", "--name", "box", &image, "sh", "-c", "echo 1 > /one; exec sleep 1000"])?.ok();
    world.until_inside("box", "test -s /one")?;
    assert_eq!(servers(&world)?, 1);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    assert!(!mounts.lines().any(|line| line.contains("fuse-overlayfs")), "mounted where others see it");
    // What is written is in the layer at once, also of one that runs.
    world.tare(&["commit", "box", "made:2"])?.ok();
    assert_eq!(world.tare(&["run", "--rm", "made:2", "cat", "/one"])?.ok(), "1");
    let set_id = "cp /bin/busybox /mine; chmod 4755 /mine; mkdir /d; chown 1000:1000 /d; ls -ln /mine";
    assert!(world.tare(&["exec", "box", "sh", "-c", set_id])?.ok().starts_with("-rwsr-xr-x"));
    let other =
        world.tare(&["exec", "-u", "1000", "box", "sh", "-c", "echo x > /d/x && ! echo x > /etc/x"])?;
    assert_eq!(other.code, 0, "permissions are what modes say: {other:?}");
    world.tare(&["rm", "-f", "box"])?.ok();
    until("the server to end with its tree", || Ok(servers(&world)? == 0))?;
    world.tare(&["run", "-d", "--name", "box", &image, "sleep", "1000"])?.ok();
    world.tare(&["stop", "-t", "0", "box"])?.ok();
    until("the server to end with its tree", || Ok(servers(&world)? == 0))
}

/// Processes that serve a tree of this world.
fn servers(world: &World) -> Result<usize> {
    let root = world.dir().display().to_string();
    let lines = std::fs::read_dir("/proc")?.flatten().filter_map(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .ok()
            .map(|line| String::from_utf8_lossy(&line).into_owned())
    });
    Ok(lines.filter(|line| line.contains("fuse-overlayfs") && line.contains(&root)).count())
}

fn containers_run_on(driver: &str) -> Result<World> {
    let mut world = World::with_daemon_arguments(&["--storage-driver", driver])?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        assert_eq!(run(&["info", "--format", "{{.Driver}}"])?.ok(), driver, "{client}");
        run(&["pull", "-q", &image])?.ok();
        let work = "echo new > /new; rm /bin/vi; echo other > /etc/passwd; cat /etc/passwd";
        assert_eq!(run(&["run", "--name", "box", &image, "sh", "-c", work])?.ok(), "other", "{client}");
        let diff = run(&["diff", "box"])?;
        let expected = ["C /bin", "D /bin/vi", "C /etc", "C /etc/passwd", "A /new"];
        assert_eq!(diff.ok().lines().collect::<Vec<_>>(), expected, "{client}");
        run(&["commit", "box", "made:1"])?.ok();
        let look = "cat /new /etc/passwd; ls /bin/vi";
        assert_eq!(run(&["run", "--rm", "made:1", "sh", "-c", look])?.out, "new\nother\n", "{client}");
        assert_eq!(run(&["run", "--rm", &image, "cat", "/etc/passwd"])?.ok().lines().count(), 2, "{client}");
        assert_eq!(
            run(&["ps", "-a", "--size", "--format", "{{.Size}}"])?.ok().split(' ').next(),
            Some("10B"),
            "{client}"
        );
        let at = world.dir().join("mnt");
        std::fs::create_dir_all(&at)?;
        let path = at.to_str().context("a path that is text")?;
        world.tare(&["image", "mount", "made:1", path])?.ok();
        let gone = !at.join("bin/vi").exists() && at.join("new").exists();
        let written = std::fs::write(at.join("more"), "").map_err(|error| error.kind());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        world.tare(&["image", "unmount", path])?.ok();
        assert!(gone, "{client}");
        assert_eq!(written, Err(std::io::ErrorKind::ReadOnlyFilesystem), "{client}");
        let mount = mounts.lines().find(|line| line.contains(&format!(" {path} "))).context("the mount")?;
        assert!(mount.contains("ro,nosuid,nodev"), "{client}: {mount}");
        assert_eq!(mount.contains(" - fuse "), driver == "fuse-overlayfs", "{client}: {mount}");
        assert!(!mount.contains(" - overlay "), "{client}: the kernel's overlayfs is not needed: {mount}");
        assert!(world.tare(&["system", "verify"])?.ok().ends_with("2 layers: 0 damaged, 0 repaired"));
        run(&["rm", "box"])?.ok();
        run(&["rmi", "made:1", &image])?.ok();
    }
    world.tare(&["pull", "-q", &image])?.ok();
    world.stop_daemon();
    assert!(world.start_daemon(&["--storage-driver", "overlayfs"]).is_err());
    world.start_daemon(&[])?;
    assert_eq!(world.tare(&["run", "--rm", &image, "echo", "still"])?.ok(), "still");
    Ok(world)
}
