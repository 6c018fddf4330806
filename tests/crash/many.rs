//! Much at once: many pulls that share layers, while garbage is collected, and a kill in the middle.

use std::process::{Child, Stdio};

use anyhow::{Result, ensure};
use tare_tests::{World, until};

const IMAGES: usize = 50;
/// Layers that the images share, each of them ten.
const SHARED: usize = 5;

/// Pushes the images and forgets them.
fn push_all(world: &World) -> Result<Vec<String>> {
    let base = world.push_busybox()?;
    let mut shared = Vec::new();
    for number in 0..SHARED {
        let work = format!("mkdir /shared; head -c 300000 /dev/urandom > /shared/{number}");
        shared.push(made(world, &base, &work, &format!("shared:{number}"))?);
    }
    let mut images = Vec::new();
    for number in 0..IMAGES {
        let name = format!("127.0.0.1:5000/many/{number}:v1");
        let work = format!("echo {number} > /own; head -c 100000 /dev/urandom > /noise");
        let image = made(world, &shared[number % SHARED], &work, &name)?;
        world.tare(&["push", "-q", &image])?.ok();
        images.push(image);
    }
    world.tare(&["image", "prune", "-a", "-f"])?.ok();
    ensure!(world.tare(&["images", "-aq"])?.ok().is_empty());
    Ok(images)
}

fn made(world: &World, from: &str, work: &str, name: &str) -> Result<String> {
    world.tare(&["run", "--name", "box", from, "sh", "-c", work])?.ok();
    world.tare(&["commit", "box", name])?.ok();
    world.tare(&["rm", "box"])?.ok();
    Ok(name.to_owned())
}

fn pull_all(world: &World, images: &[String]) -> Result<Vec<Child>> {
    let pull = |image: &String| {
        let mut pull = world.tare_command()?;
        let pull = pull.args(["pull", "-q", image]).stdout(Stdio::null()).stderr(Stdio::inherit());
        Ok(pull.spawn()?)
    };
    images.iter().map(pull).collect()
}

#[test]
fn many_pulls_that_share_layers_outlive_garbage_collection_and_a_kill() -> Result<()> {
    let mut world = World::new()?;
    let images = push_all(&world)?;

    // Killed when some are here and others are not.
    let mut pulls = pull_all(&world, &images)?;
    until("some to be pulled", || Ok(world.tare(&["images", "-q"])?.out.lines().count() >= IMAGES / 4))?;
    world.kill_daemon();
    for pull in &mut pulls {
        let _ = pull.kill();
        pull.wait()?;
    }
    world.start_daemon(&[])?;
    let half = world.leftovers(&[])?.0.into_iter().filter(|line| line.contains("snapshots/tmp")).count();
    ensure!(half == 0, "half a layer is left");
    let verified = world.tare(&["system", "verify", "-q"])?;
    ensure!(verified.ok().is_empty(), "{verified:?}");

    // Again, and meanwhile what nobody uses is removed over and over.
    let mut pulls = pull_all(&world, &images)?;
    let mut left = pulls.len();
    while left > 0 {
        world.tare(&["image", "prune", "-f"])?.ok();
        world.tare(&["system", "df"])?.ok();
        left = pulls
            .iter_mut()
            .map(|pull| pull.try_wait())
            .filter(|ended| !matches!(ended, Ok(Some(_))))
            .count();
    }
    for pull in &mut pulls {
        ensure!(pull.wait()?.success(), "a pull has failed");
    }
    for (number, image) in images.iter().enumerate() {
        let look = format!("cat /own; ls /shared; [ $(stat -c %s /shared/{}) = 300000 ]", number % SHARED);
        let seen = world.tare(&["run", "--rm", image, "sh", "-c", &look])?;
        ensure!(seen.ok() == format!("{number}\n{}", number % SHARED), "{image}: {seen:?}");
    }
    let layers = std::fs::read_dir(world.dir().join("data/snapshots/layers"))?.count();
    ensure!(layers == 1 + SHARED + IMAGES, "{layers} layers, each of which is stored once");
    ensure!(world.tare(&["system", "verify", "-q"])?.ok().is_empty());

    world.tare(&["image", "prune", "-a", "-f"])?.ok();
    for place in ["snapshots/layers", "content/blobs/sha256", "content/ingest"] {
        let left = std::fs::read_dir(world.dir().join("data").join(place))?.count();
        ensure!(left == 0, "{left} are left in {place}");
    }
    Ok(())
}

/// As many layers as nobody has: made one upon the other, run, compared, sent and taken in again.
#[test]
fn two_hundred_layers_are_an_image_like_others() -> Result<()> {
    const LAYERS: usize = 200;
    let world = World::new()?;
    let base = world.push_busybox()?;
    let mut from = base.clone();
    for number in 1..LAYERS {
        let work = format!("echo {number} > /n{number}; echo {number} >> /all; rm -f /n{}", number - 1);
        from = made(&world, &from, &work, "deep:1")?;
    }
    let look = "wc -l < /all; ls -d /n*";
    let check = |name: &str| -> Result<()> {
        let seen = world.tare(&["run", "--rm", name, "sh", "-c", look])?;
        ensure!(seen.ok() == format!("{}\n/n{}", LAYERS - 1, LAYERS - 1), "{seen:?}");
        Ok(())
    };
    check(&from)?;
    let layers = world.tare(&["inspect", "-f", "{{len .RootFS.Layers}}", &from])?;
    ensure!(layers.ok() == LAYERS.to_string(), "{layers:?}");
    world.tare(&["run", "--name", "box", &from, "sh", "-c", "echo x > /n5; rm /all"])?.ok();
    let changed = world.tare(&["diff", "box"])?;
    ensure!(changed.ok() == "D /all\nA /n5", "{changed:?}");
    world.tare(&["rm", "box"])?.ok();
    let told = world.tare(&["image", "diff", &base, &from])?;
    ensure!(told.ok().ends_with("2 added, 0 changed, 0 deleted: +692B"), "{told:?}");

    let file = world.dir().join("deep.tar").display().to_string();
    world.tare(&["save", "-o", &file, &from])?.ok();
    let name = "127.0.0.1:5000/deep:1";
    world.tare(&["tag", &from, name])?.ok();
    world.tare(&["push", "-q", name])?.ok();
    world.tare(&["image", "prune", "-a", "-f"])?.ok();
    world.tare(&["load", "-q", "-i", &file])?.ok();
    check(&from)?;
    world.tare(&["image", "prune", "-a", "-f"])?.ok();
    world.tare(&["pull", "-q", name])?.ok();
    check(name)?;
    world.tare(&["image", "prune", "-a", "-f"])?.ok();
    let left = std::fs::read_dir(world.dir().join("data/snapshots/layers"))?.count();
    ensure!(left == 0, "{left} layers are left");
    Ok(())
}
