//! What takes up the disk, and how it is given back.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use tare_tests::World;

/// Bytes of all files below a directory, each counted once.
fn bytes(directory: &Path) -> Result<i64> {
    use std::os::unix::fs::MetadataExt;
    let (mut sum, mut seen) = (0, std::collections::BTreeSet::new());
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.is_file() && seen.insert(metadata.ino()) {
                sum += i64::try_from(metadata.len())?;
            }
        }
    }
    Ok(sum)
}

#[test]
fn the_sums_of_disk_usage_are_what_lies_on_the_disk() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        run(&["pull", "-q", &image])?.ok();
        run(&[
            "run",
            "--name",
            "box",
            "-v",
            "data:/data",
            &image,
            "sh",
            "-c",
            "head -c 100000 /dev/zero > /data/f; head -c 5000 /dev/zero > /g",
        ])?
        .ok();
        run(&["commit", "box", "made:1"])?.ok();
        let (status, text) = world.api("GET", "/system/df", None)?;
        assert_eq!(status, 200, "{text}");
        let usage: Value = serde_json::from_str(&text)?;
        let data = world.dir().join("data");
        let mut layers = bytes(&data.join("content/blobs"))?;
        for layer in std::fs::read_dir(data.join("snapshots/layers"))? {
            layers += bytes(&layer?.path().join("fs"))?;
        }
        let told = usage["LayersSize"].as_i64().context("LayersSize")?;
        // Symlinks are counted on neither side.
        assert_eq!(told, layers, "{client}");
        let images = usage["Images"].as_array().context("Images")?;
        let number = |image: &Value, field: &str| image[field].as_i64().unwrap_or_default();
        let unique: i64 = images.iter().map(|i| number(i, "Size") - number(i, "SharedSize")).sum();
        let shared = images.iter().map(|image| number(image, "SharedSize")).max().context("two images")?;
        assert_eq!(unique + shared, told, "{client}: each byte is somebody's: {text}");
        assert_eq!(images.iter().map(|image| number(image, "Containers")).sum::<i64>(), 1, "{client}");
        assert_eq!(usage["Containers"][0]["SizeRw"], 5000, "{client}");
        assert_eq!(usage["Volumes"][0]["UsageData"]["Size"], 100_000, "{client}");
        let table = run(&["system", "df"])?;
        for word in ["Images", "Containers", "Local Volumes", "Build Cache", "100kB", "5kB"] {
            assert!(table.ok().contains(word), "{client}: {table:?}");
        }
        let verbose = run(&["system", "df", "-v"])?;
        for word in ["SHARED SIZE", "made", "box", "data"] {
            assert!(verbose.ok().contains(word), "{client}: {verbose:?}");
        }
        run(&["rm", "box"])?.ok();
        run(&["volume", "rm", "data"])?.ok();
        run(&["rmi", "made:1", &image])?.ok();
        assert_eq!(bytes(&data.join("content/blobs"))?, 0, "{client}");
        assert_eq!(std::fs::read_dir(data.join("snapshots/layers"))?.count(), 0, "{client}");
    }
    Ok(())
}

#[test]
fn what_nobody_uses_is_pruned_and_filters_keep_the_rest() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        run(&["pull", "-q", &image])?.ok();
        run(&["create", "--name", "kept", "--label", "keep=1", &image, "true"])?.ok();
        run(&["create", "--name", "gone", &image, "true"])?.ok();
        for (label, name) in [("keep=1", "labelled:1"), ("drop=1", "plain:1")] {
            run(&["commit", "-c", &format!("LABEL {label}"), "gone", name])?.ok();
        }
        let dangling = run(&["commit", "gone"])?.ok().to_owned();
        for words in [
            &["image", "prune", "-f", "--filter", "until=1h"][..],
            &["container", "prune", "-f", "--filter", "until=1h"],
        ] {
            assert!(run(words)?.ok().ends_with("Total reclaimed space: 0B"), "{client}");
        }
        let pruned = run(&["image", "prune", "-f"])?;
        assert!(pruned.ok().contains(&format!("deleted: {dangling}")), "{client}: {pruned:?}");
        assert_eq!(run(&["images", "-q"])?.ok().lines().count(), 3, "{client}");

        let pruned = run(&["container", "prune", "-f", "--filter", "label!=keep=1"])?;
        assert!(pruned.ok().starts_with("Deleted Containers:\n"), "{client}: {pruned:?}");
        assert_eq!(run(&["ps", "-a", "--format", "{{.Names}}"])?.ok(), "kept", "{client}");
        let pruned = run(&["image", "prune", "-a", "-f", "--filter", "label!=keep=1"])?;
        assert!(pruned.ok().contains("untagged: plain:1"), "{client}: {pruned:?}");
        let left = run(&["images", "--format", "{{.Repository}}"])?;
        let mut left: Vec<&str> = left.ok().lines().collect();
        left.sort_unstable();
        assert_eq!(left, ["127.0.0.1:5000/bb", "labelled"], "{client}: the base is used by a container");
        assert!(run(&["image", "prune", "-f", "--filter", "nosuch=1"])?.fails(1).contains("invalid filter"));

        run(&["system", "prune", "-a", "-f"])?.ok();
        assert_eq!(run(&["ps", "-aq"])?.ok(), "", "{client}");
        let layers = std::fs::read_dir(world.dir().join("data/snapshots/layers"))?.count();
        assert_eq!((run(&["images", "-q"])?.ok(), layers), ("", 0), "{client}");
    }
    // As dockerd has them.
    for (what, none) in [
        ("containers", "\"ContainersDeleted\":null"),
        ("images", "\"ImagesDeleted\":null"),
        ("volumes", "\"VolumesDeleted\":[]"),
        ("build", "\"CachesDeleted\":null"),
    ] {
        let (_, told) = world.api("POST", &format!("/{what}/prune"), None)?;
        assert!(told.contains(none), "{told}");
    }
    Ok(())
}
