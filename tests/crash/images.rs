//! Images, with the daemon killed at each step of what is done with them: afterwards they are whole or absent, and nothing
//! is left of those that are gone.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use tare_tests::{World, binaries, capture, until};

use crate::trap::{Trap, next};

/// Three layers, each with a file that tells of it.
const LOOK: &str = "cat /one /two/of/many";
const SEEN: &str = "1\n2";

/// A world whose registry has an image of three layers.
fn world() -> Result<(World, String)> {
    let world = World::new()?;
    let base = world.push_busybox()?;
    let work = ["echo 1 > /one", "mkdir -p /two/of; echo 2 > /two/of/many; rm /bin/vi; ln /one /two/one"];
    let mut from = base.clone();
    for (number, work) in work.iter().enumerate() {
        world.tare(&["run", "--name", "box", &from, "sh", "-c", work])?.ok();
        from = format!("127.0.0.1:5000/made:{number}");
        world.tare(&["commit", "box", &from])?.ok();
        world.tare(&["rm", "box"])?.ok();
    }
    world.tare(&["push", "-q", &from])?.ok();
    world.tare(&["rmi", "-f", &from, "127.0.0.1:5000/made:0", &base])?.ok();
    world.tare(&["image", "prune", "-a", "-f"])?.ok();
    assert_empty(&world)?;
    Ok((world, from))
}

/// Does something anew until it comes through, each time with a daemon that is killed a step later. After each try `check`
/// looks at what there is, and is told whether the client was answered.
fn at_each_step(
    world: &mut World,
    work: &dyn Fn(u32) -> Vec<String>,
    check: &dyn Fn(&World, u32, bool) -> Result<()>,
) -> Result<()> {
    let mut nth = 1;
    loop {
        let words = work(nth);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let trap = Trap::set(world.daemon().pid(), nth)?;
        let ran = world.tare(&words)?;
        let sprung = trap.release(&ran)?;
        if sprung {
            world.kill_daemon();
            world.start_daemon(&[])?;
        }
        let told = || format!("killed at step {nth} of {words:?}");
        assert_no_half(world).with_context(told)?;
        check(world, nth, ran.code == 0).with_context(told)?;
        if !sprung {
            ensure!(nth > 2, "no more than {nth} steps were seen");
            return Ok(());
        }
        nth = next(nth);
    }
}

/// Nothing that only a daemon at work has.
fn assert_no_half(world: &World) -> Result<()> {
    let left = world.leftovers(&[])?.0;
    let half: Vec<_> =
        left.iter().filter(|line| line.contains("snapshots/tmp") || line.contains(".scratch")).collect();
    ensure!(half.is_empty(), "left behind: {half:#?}");
    let mounts: Vec<_> = left.iter().filter(|line| line.starts_with("mount: ")).collect();
    ensure!(mounts.is_empty(), "left mounted: {mounts:#?}");
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

/// No image, and nothing of one.
fn assert_empty(world: &World) -> Result<()> {
    let data = world.dir().join("data");
    for place in ["snapshots/layers", "snapshots/writable", "content/blobs/sha256"] {
        let left = names(&data.join(place))?;
        ensure!(left.is_empty(), "left behind: {left:#?}");
    }
    Ok(())
}

/// The image runs with all its layers, or there is none.
fn assert_whole_or_absent(world: &World, image: &str, must: bool) -> Result<()> {
    let id = world.tare(&["images", "-q", image])?;
    ensure!(!must || !id.ok().is_empty(), "the client was told that it is there");
    if !id.ok().is_empty() {
        ensure!(world.tare(&["run", "--rm", image, "sh", "-c", LOOK])?.ok() == SEEN, "it is not whole");
    }
    let verified = world.tare(&["system", "verify", "-q"])?;
    ensure!(verified.code == 0 && verified.out.is_empty(), "damaged: {verified:?}");
    Ok(())
}

/// Takes the image away, by which all goes that stood for it.
fn assert_goes(world: &World, image: &str) -> Result<()> {
    if !world.tare(&["images", "-q", image])?.ok().is_empty() {
        world.tare(&["rmi", image])?.ok();
    }
    assert_empty(world)
}

#[test]
fn a_pull_is_whole_or_absent_at_each_step() -> Result<()> {
    let (mut world, image) = world()?;
    let words = |_| ["pull", "-q", &image].map(str::to_owned).to_vec();
    at_each_step(&mut world, &words, &|world, _, answered| {
        assert_whole_or_absent(world, &image, answered)?;
        assert_goes(world, &image)
    })
}

#[test]
fn a_load_is_whole_or_absent_at_each_step() -> Result<()> {
    let (mut world, image) = world()?;
    let file = world.dir().join("made.tar").display().to_string();
    world.tare(&["pull", "-q", &image])?.ok();
    world.tare(&["save", "-o", &file, &image])?.ok();
    world.tare(&["rmi", &image])?.ok();
    let words = |_| ["load", "-q", "-i", &file].map(str::to_owned).to_vec();
    at_each_step(&mut world, &words, &|world, _, answered| {
        assert_whole_or_absent(world, &image, answered)?;
        assert_goes(world, &image)?;
        let ingest = names(&world.dir().join("data/content/ingest"))?;
        ensure!(ingest.is_empty(), "left behind: {ingest:#?}");
        Ok(())
    })
}

#[test]
fn a_commit_is_whole_or_absent_at_each_step() -> Result<()> {
    let (mut world, image) = world()?;
    world.tare(&["pull", "-q", &image])?.ok();
    let work = "echo 3 > /three; rm -r /two; mkdir -p /two/of; echo 2 > /two/of/many; sleep 1000";
    world.tare(&["run", "-d", "--name", "box", &image, "sh", "-c", work])?.ok();
    world.until_inside("box", "test -s /two/of/many")?;
    let words = |nth| ["commit".to_owned(), "box".to_owned(), format!("new:{nth}")].to_vec();
    at_each_step(&mut world, &words, &|world, nth, answered| {
        let name = format!("new:{nth}");
        ensure!(world.tare(&["inspect", "-f", "{{.State.Status}}", "box"])?.ok() == "running", "it goes on");
        let id = world.tare(&["images", "-q", &name])?;
        ensure!(!answered || !id.ok().is_empty(), "the client was told that it is there");
        if !id.ok().is_empty() {
            let seen = world.tare(&["run", "--rm", &name, "sh", "-c", "cat /three; ls /two /two/of"])?;
            ensure!(seen.ok() == "3\n/two:\nof\n\n/two/of:\nmany", "it is not whole: {seen:?}");
            world.tare(&["rmi", &name])?.ok();
        }
        let verified = world.tare(&["system", "verify", "-q"])?;
        ensure!(verified.code == 0 && verified.out.is_empty(), "damaged: {verified:?}");
        let layers = names(&world.dir().join("data/snapshots/layers"))?.len();
        ensure!(layers == 3, "{layers} layers are left of the image's three");
        Ok(())
    })?;
    world.tare(&["rm", "-f", "box"])?.ok();
    assert_goes(&world, &image)
}

/// Two platforms under one name: both, or none.
#[test]
fn a_name_for_several_platforms_is_whole_or_absent_at_each_step() -> Result<()> {
    let (mut world, image) = world()?;
    world.tare(&["pull", "-q", &image])?.ok();
    let (file, other) = (world.dir().join("tree.tar").display().to_string(), "127.0.0.1:5000/other:v1");
    world.tare(&["run", "--name", "box", &image, "true"])?.ok();
    world.tare(&["export", "-o", &file, "box"])?.ok();
    world.tare(&["rm", "box"])?.ok();
    let name = "127.0.0.1:5000/several:v1";
    let look = |world: &World, must: bool| -> Result<bool> {
        let id = world.tare(&["images", "-q", name])?;
        ensure!(!must || !id.ok().is_empty(), "the client was told that it is there");
        if id.ok().is_empty() {
            return Ok(false);
        }
        for platform in ["linux/amd64", "linux/s390x"] {
            let ran = world.tare(&["run", "--rm", "--platform", platform, name, "sh", "-c", LOOK])?;
            ensure!(ran.ok() == SEEN, "{platform} is not whole");
        }
        let verified = world.tare(&["system", "verify", "-q"])?;
        ensure!(verified.code == 0 && verified.out.is_empty(), "damaged: {verified:?}");
        Ok(true)
    };
    // Few steps, which differ: the documents are written, named, and their directory; then the records.
    for step in ["fdatasync", "rename,renameat,renameat2", "fsync", "fdatasync,fsync"] {
        for nth in [1, 2] {
            // Another image, so that the index is a new one.
            world.tare(&["import", "--platform", "linux/s390x", &file, other])?.ok();
            let trap = Trap::set_at(world.daemon().pid(), step, nth)?;
            let ran = world.tare(&["manifest", "create", name, &image, other])?;
            let sprung = trap.release(&ran)?;
            ensure!(sprung || nth > 1, "no {step} was seen");
            if sprung {
                world.kill_daemon();
                world.start_daemon(&[])?;
            }
            if look(&world, ran.code == 0).with_context(|| format!("killed at {step} {nth}"))? {
                world.tare(&["rmi", name])?.ok();
            }
        }
    }
    world.tare(&["manifest", "create", name, &image, other])?.ok();
    world.tare(&["push", "-q", name])?.ok();
    world.tare(&["rmi", "-f", name, other, &image])?.ok();
    world.tare(&["image", "prune", "-f"])?.ok();
    assert_empty(&world)?;
    let pull = |_| ["pull", "-q", "--all-platforms", name].map(str::to_owned).to_vec();
    at_each_step(&mut world, &pull, &|world, _, answered| {
        look(world, answered)?;
        assert_goes(world, name)
    })?;
    world.tare(&["pull", "-q", "--all-platforms", name])?.ok();
    let remove = |_| ["rmi", name].map(str::to_owned).to_vec();
    at_each_step(&mut world, &remove, &|world, _, answered| {
        if !look(world, false)? {
            assert_empty(world)?;
        }
        if answered {
            return Ok(());
        }
        world.tare(&["pull", "-q", "--all-platforms", name]).map(drop)
    })
}

/// Names and images go one after the other; what still has a name runs.
#[test]
fn a_removal_and_a_prune_leave_whole_images_at_each_step() -> Result<()> {
    let (mut world, image) = world()?;
    for remove in [&["rmi", &image][..], &["image", "prune", "-a", "-f"], &["system", "prune", "-a", "-f"]] {
        world.tare(&["pull", "-q", &image])?.ok();
        let words = |_| remove.iter().map(|&word| word.to_owned()).collect();
        at_each_step(&mut world, &words, &|world, _, answered| {
            assert_whole_or_absent(world, &image, false)?;
            let gone = world.tare(&["images", "-q"])?.ok().is_empty();
            ensure!(gone || !answered, "the client was told that it is gone");
            if gone {
                assert_empty(world)?;
            }
            if answered {
                return Ok(());
            }
            world.tare(&["pull", "-q", &image]).map(drop)
        })?;
    }
    Ok(())
}

/// Our registry on a port of the world, in a process of its own.
struct Served(Child);

impl Served {
    fn start(world: &World) -> Result<Self> {
        let mut command = world.command(&binaries()?.join("tared").to_string_lossy());
        command
            .args(["registry", "serve", "--addr", "127.0.0.1:5001", "--root"])
            .arg(world.dir().join("depot"));
        let log = std::fs::File::options().create(true).append(true).open(world.dir().join("depot.log"))?;
        let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let served = Self(command.spawn()?);
        until("the registry to answer", || {
            let mut curl = world.command("curl");
            Ok(capture(curl.args(["-s", "-o", "/dev/null", "http://127.0.0.1:5001/v2/"]))?.code == 0)
        })?;
        Ok(served)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who pushes is killed: the image stays what it is, and the push is done anew.
#[test]
fn a_push_can_be_done_again_after_each_step() -> Result<()> {
    let (mut world, image) = world()?;
    let registry = Served::start(&world)?;
    world.tare(&["pull", "-q", &image])?.ok();
    let name = |nth: u32| format!("127.0.0.1:5001/by/{nth}:v1");
    let mut nth = 1;
    loop {
        let name = name(nth);
        world.tare(&["tag", &image, &name])?.ok();
        let trap = Trap::set(world.daemon().pid(), nth)?;
        let ran = world.tare(&["push", "-q", &name])?;
        let sprung = trap.release(&ran)?;
        if sprung {
            world.kill_daemon();
            world.start_daemon(&[])?;
        }
        assert_no_half(&world)?;
        assert_whole_or_absent(&world, &name, true)?;
        world.tare(&["push", "-q", &name])?.ok();
        world.tare(&["rmi", &name])?.ok();
        world.tare(&["pull", "-q", &name])?.ok();
        assert_whole_or_absent(&world, &name, true)?;
        world.tare(&["rmi", &name])?.ok();
        if !sprung {
            break;
        }
        nth = next(nth);
    }
    drop(registry);
    assert_goes(&world, &image)
}

/// Who is pushed to is killed: a name is there with all its content or not at all, and what is sent again is taken.
#[test]
fn a_registry_has_a_name_with_its_content_or_not_at_all() -> Result<()> {
    let (world, image) = world()?;
    world.tare(&["pull", "-q", &image])?.ok();
    let name = "127.0.0.1:5001/kept:v1";
    world.tare(&["tag", &image, name])?.ok();
    let mut nth = 1;
    loop {
        let _ = std::fs::remove_dir_all(world.dir().join("depot"));
        let mut registry = Served::start(&world)?;
        let trap = Trap::set(registry.0.id(), nth)?;
        // The client tries again for a while where nobody answers any more; that the registry is gone is enough.
        let mut pushing = world.tare_command()?;
        let mut pushing =
            pushing.args(["push", "-q", name]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut ended = None;
        until("the push or the registry to end", || {
            ended = pushing.try_wait()?;
            Ok(ended.is_some() || registry.0.try_wait()?.is_some())
        })?;
        let _ = pushing.kill();
        pushing.wait()?;
        let answered = ended.is_some_and(|status| status.success());
        let sprung = registry.0.try_wait()?.is_some();
        drop(trap);
        drop(registry);
        let registry = Served::start(&world)?;
        let tags = capture(world.command("curl").args(["-s", "http://127.0.0.1:5001/v2/kept/tags/list"]))?;
        let there = tags.ok().contains("\"v1\"");
        ensure!(there || !answered, "killed at step {nth}, it has lost what it had taken");
        if there {
            world.tare(&["rmi", name, &image])?.ok();
            world.tare(&["pull", "-q", name])?.ok();
            assert_whole_or_absent(&world, name, true)?;
            world.tare(&["tag", name, &image])?.ok();
        }
        world.tare(&["push", "-q", name])?.ok();
        drop(registry);
        if !sprung {
            ensure!(nth > 2, "no more than {nth} steps were seen");
            return Ok(());
        }
        nth = next(nth);
    }
}
