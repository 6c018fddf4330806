//! Names that stand for several platforms: made here, sent, fetched and read by everybody.

use anyhow::{Context, Result};
use serde_json::Value;
use tare_tests::{World, capture};

use crate::registries::ours;
use crate::ship::podman;

const PLAIN: &str = "--tls-verify=false";
const OTHER: &str = "linux/s390x";

/// An image of this machine's platform, and one of another.
fn two_platforms(world: &World) -> Result<(String, String)> {
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    let file = world.dir().join("tree.tar").display().to_string();
    world.tare(&["run", "--name", "box", &image, "sh", "-c", "echo other > /platform"])?.ok();
    world.tare(&["export", "-o", &file, "box"])?.ok();
    world.tare(&["rm", "box"])?.ok();
    let other = "127.0.0.1:5000/parts/other:v1".to_owned();
    let command = "CMD [\"cat\", \"/platform\"]";
    world.tare(&["import", "--platform", OTHER, "-c", command, &file, &other])?.ok();
    Ok((image, other))
}

/// What a name stands for in a registry, byte for byte.
fn raw(world: &World, name: &str) -> Result<String> {
    let words = ["inspect", "--raw", PLAIN, &format!("docker://{name}")];
    Ok(capture(world.command("skopeo").args(words))?.ok().to_owned())
}

fn platforms(index: &str) -> Result<Vec<String>> {
    let index: Value = serde_json::from_str(index)?;
    let entries = index["manifests"].as_array().context("an index")?;
    let name = |entry: &Value| {
        let word = |key: &str| entry["platform"][key].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", word("os"), word("architecture"))
    };
    Ok(entries.iter().map(name).collect())
}

/// A name is made of images that are here and in a registry; what is pushed is an index for skopeo, podman and docker.
#[test]
fn an_index_is_made_pushed_and_read_by_everybody() -> Result<()> {
    let world = World::new()?;
    let (image, other) = two_platforms(&world)?;
    let _ours = ours(&world, 5001, &[])?;
    world.tare(&["push", "-q", &other])?.ok();
    world.tare(&["rmi", "-f", &other])?.ok();
    for port in [5000, 5001] {
        let name = format!("127.0.0.1:{port}/multi:v1");
        world.tare(&["manifest", "create", "-q", &name, &image, &other])?.ok();
        world.tare(&["rmi", &other])?.ok();
        let made = world.tare(&["manifest", "inspect", &name])?.ok().to_owned();
        assert_eq!(platforms(&made)?, ["linux/amd64", OTHER]);
        let pushed = world.docker(&["push", &name])?;
        assert!(pushed.code == 0 && !pushed.out.contains("Not all multiplatform-content"), "{pushed:?}");
        let there = raw(&world, &name)?;
        assert_eq!(serde_json::from_str::<Value>(&there)?, serde_json::from_str::<Value>(&made)?);
        let copied = format!("dir:{}", world.dir().join(format!("copied-{port}")).display());
        let from = format!("docker://{name}");
        let copy = ["copy", "-q", "--all", "--src-tls-verify=false", &from, &copied];
        capture(world.command("skopeo").args(copy))?.ok();
        podman(&world, &["pull", "-q", PLAIN, "--platform", OTHER, &name])?.ok();
        let format = "{{.Architecture}}";
        assert_eq!(podman(&world, &["image", "inspect", "--format", format, &name])?.ok().trim(), "s390x");

        for (client, run) in world.clients() {
            let on =
                |platform: &str| run(&["run", "--rm", "--platform", platform, &name, "cat", "/platform"]);
            assert_eq!(on(OTHER)?.ok(), "other", "{client}: the files are those of that platform");
            assert_ne!(on("linux/amd64")?.code, 0, "{client}");
            run(&["create", "--platform", OTHER, "--name", "box", &name])?.ok();
            let made = run(&["ps", "-a", "--filter", &format!("ancestor={name}"), "--format", "{{.Image}}"])?;
            assert_eq!(made.ok(), name, "{client}");
            let refused = run(&["rmi", &name])?;
            assert!(refused.fails(1).contains("is using its referenced image"), "{client}: {refused:?}");
            run(&["rm", "box"])?.ok();
            assert_eq!(run(&["images", "-q", &name])?.ok().lines().count(), 1, "{client}");
            let history = run(&["history", "-q", "--platform", OTHER, &name])?;
            assert_eq!(history.ok().lines().count(), 1, "{client}: {history:?}");
            let inspected = run(&["image", "inspect", "--platform", OTHER, "-f", format, &name])?;
            assert_eq!(inspected.ok(), "s390x", "{client}");
            assert_eq!(run(&["image", "inspect", "-f", format, &name])?.ok(), "amd64", "{client}");
            let none = run(&["image", "inspect", "--platform", "linux/ppc64le", &name])?;
            assert_ne!(none.code, 0, "{client}: {none:?}");
        }
        let tree = world.docker(&["images", "--tree"])?;
        assert!(tree.ok().contains("linux/amd64") && tree.ok().contains(OTHER), "{tree:?}");
        let tree = world.tare(&["images", "--tree", &name])?;
        assert!(tree.ok().contains("├─ linux/amd64") && tree.ok().contains("└─ linux/s390x"), "{tree:?}");
        world.tare(&["rmi", &name, &image])?.ok();
        // One platform after the other, by either client, and what is sent is the index again.
        for (client, run) in world.clients() {
            run(&["pull", "-q", "--platform", OTHER, &name])?.ok();
            let sent = format!("127.0.0.1:{port}/again/{client}:v1");
            run(&["tag", &name, &sent])?.ok();
            let part = run(&["push", &sent])?;
            assert!([&part.out, &part.err].iter().any(|text| text.contains("Not all multiplatform-content")));
            assert!(raw(&world, &sent)?.contains("\"layers\""), "{client}: {part:?}");
            run(&["pull", "-q", &name])?.ok();
            run(&["tag", &name, &sent])?.ok();
            run(&["push", "-q", &sent])?.ok();
            assert_eq!(raw(&world, &sent)?, there, "{client}");
            run(&["push", "-q", "--platform", OTHER, &sent])?.ok();
            assert!(raw(&world, &sent)?.contains("\"layers\""), "{client}");
            run(&["rmi", &sent])?.ok();
            run(&["rmi", "--platform", OTHER, &name])?.ok();
            assert_ne!(run(&["image", "inspect", "--platform", OTHER, &name])?.code, 0, "{client}");
            run(&["rmi", &name])?.ok();
        }
        assert_eq!(world.tare(&["image", "prune", "-f"])?.ok(), "Total reclaimed space: 0B");
        world.tare(&["pull", "-q", &image])?.ok();
    }
    Ok(())
}

/// An archive of a name of which only this machine's image is here is one for everybody, and keeps the index.
#[test]
fn an_archive_of_one_platform_of_several_is_read_by_everybody() -> Result<()> {
    let world = World::new()?;
    let (image, other) = two_platforms(&world)?;
    let name = "127.0.0.1:5000/multi:v1";
    world.tare(&["manifest", "create", name, &image, &other])?.ok();
    world.tare(&["push", "-q", name])?.ok();
    world.tare(&["rmi", "-f", name, &image, &other])?.ok();
    world.tare(&["pull", "-q", name])?.ok();
    let path = |name: &str| world.dir().join(name).display().to_string();
    world.tare(&["save", "-o", &path("part.tar"), name])?.ok();
    for form in ["docker-archive", "oci-archive"] {
        let to = format!("dir:{}", path(form));
        let from = format!("{form}:{}", path("part.tar"));
        capture(world.command("skopeo").args(["copy", "-q", &from, &to]))?.ok();
    }
    podman(&world, &["load", "-q", "-i", &path("part.tar")])?.ok();
    let format = "{{.Architecture}}";
    assert_eq!(podman(&world, &["image", "inspect", "--format", format, name])?.ok().trim(), "amd64");
    for (client, run) in world.clients() {
        run(&["rmi", name])?.ok();
        run(&["load", "-i", &path("part.tar")])?.ok();
        assert_eq!(run(&["image", "inspect", "-f", format, name])?.ok(), "amd64", "{client}");
        let kept: Value = serde_json::from_str(world.tare(&["manifest", "inspect", name])?.ok())?;
        assert_eq!(serde_json::from_str::<Value>(&raw(&world, name)?)?, kept, "{client}");
    }
    Ok(())
}

/// An index that podman made comes whole, goes whole, and is the same afterwards.
#[test]
fn an_index_of_podmans_keeps_its_digest_on_every_way() -> Result<()> {
    let world = World::new()?;
    let (image, other) = two_platforms(&world)?;
    world.tare(&["push", "-q", &other])?.ok();
    podman(&world, &["manifest", "create", "list"])?.ok();
    for name in [&image, &other] {
        podman(&world, &["manifest", "add", PLAIN, "list", &format!("docker://{name}")])?.ok();
    }
    let name = "127.0.0.1:5000/by/podman:v1";
    podman(&world, &["manifest", "push", "-q", "--all", PLAIN, "list", &format!("docker://{name}")])?.ok();
    let there = raw(&world, name)?;
    assert_eq!(platforms(&there)?, ["linux/amd64", OTHER]);
    world.tare(&["rmi", "-f", &image, &other])?.ok();
    world.tare(&["pull", "-q", "--all-platforms", name])?.ok();
    assert_eq!(world.tare(&["images", "-q"])?.ok().lines().count(), 1);
    world.tare(&["system", "verify"])?.ok();
    let sent = "127.0.0.1:5000/sent:v1";
    for (client, run) in world.clients() {
        let file = world.dir().join(format!("{client}.tar")).display().to_string();
        run(&["save", "-o", &file, name])?.ok();
        run(&["rmi", name])?.ok();
        assert_eq!(run(&["images", "-aq"])?.ok(), "", "{client}");
        // skopeo reads the archive whole.
        let to = format!("dir:{}", world.dir().join(format!("read-{client}")).display());
        let from = format!("oci-archive:{file}");
        capture(world.command("skopeo").args(["copy", "-q", "--all", &from, &to]))?.ok();
        run(&["load", "-i", &file])?.ok();
        run(&["tag", name, sent])?.ok();
        run(&["push", "-q", sent])?.ok();
        assert_eq!(raw(&world, sent)?, there, "{client}");
        run(&["rmi", sent])?.ok();
        assert_eq!(run(&["run", "--rm", "--platform", OTHER, name, "cat", "/platform"])?.ok(), "other");
    }
    world.tare(&["rmi", name])?.ok();
    assert_eq!(std::fs::read_dir(world.dir().join("data/content/blobs/sha256"))?.count(), 0);
    Ok(())
}
