//! What images are made of, and whether they still are: Tare's own verbs beside Docker's.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use tare_tests::World;

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
    // The parent may go; the child has all it needs.
    world.docker(&["rmi", &image])?.ok();
    assert_eq!(world.docker(&["run", "--rm", "made:1", "cat", "/new"])?.ok(), "new");
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
    let mut world = World::with_daemon_arguments(&["--storage-driver", "copy"])?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        assert_eq!(run(&["info", "--format", "{{.Driver}}"])?.ok(), "copy", "{client}");
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
        world.tare(&["image", "unmount", path])?.ok();
        assert!(gone, "{client}");
        assert!(world.tare(&["system", "verify"])?.ok().ends_with("2 layers: 0 damaged, 0 repaired"));
        run(&["rm", "box"])?.ok();
        run(&["rmi", "made:1", &image])?.ok();
    }
    world.tare(&["pull", "-q", &image])?.ok();
    world.stop_daemon();
    assert!(world.start_daemon(&["--storage-driver", "overlayfs"]).is_err());
    world.start_daemon(&[])?;
    assert_eq!(world.tare(&["run", "--rm", &image, "echo", "still"])?.ok(), "still");
    Ok(())
}
