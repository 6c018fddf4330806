//! A large image on its way in and out: pull, load, push and save, with the image absent and present. Every engine has a
//! data root of its own; what a run leaves is removed before the next one's clock starts.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tare_tests::{LargeImage, World, capture, docker_cli, unpacked_peers};

use super::measure::{self, Contender, race, race_cold};
use super::peers::{Dockerd, Podman};
use super::yard::{Whose, Yard};

/// Each takes eight minutes, most of which are the peers'.
pub(super) const RUNS: u32 = 2;
/// What takes milliseconds can be asked more often.
const QUICK_RUNS: u32 = 10;
/// No bridge: several daemons share the world's network.
const QUIET: [&str; 3] = ["--bridge=none", "--iptables=false", "--ip6tables=false"];

/// Something that understands docker's words for images.
struct Engine<'a> {
    name: String,
    command: Box<dyn Fn() -> Result<Command> + 'a>,
    /// The processes that do its work and outlive a command.
    daemons: Vec<u32>,
}

impl Engine<'_> {
    fn say(&self, words: &[String]) -> Result<Command> {
        let mut command = (self.command)()?;
        command.args(words);
        Ok(command)
    }

    fn succeed(&self, words: &[&str]) -> Result<String> {
        let ran = capture((self.command)()?.args(words))?;
        ensure!(ran.code == 0, "{}: {}", ran.line, ran.err);
        Ok(ran.out)
    }

    /// Removes every image, and lets the disk come to rest.
    fn forget(&self) -> Result<()> {
        let listed = self.succeed(&["images", "-q"])?;
        let mut ids: Vec<&str> = listed.split_whitespace().collect();
        ids.sort_unstable();
        ids.dedup();
        if !ids.is_empty() {
            self.succeed(&[&["rmi", "-f"], &ids[..]].concat())?;
        }
        rustix::fs::sync();
        Ok(())
    }
}

/// Everybody's work, in words.
struct Words {
    pull: Vec<String>,
    pull_flat: Vec<String>,
    load: Vec<String>,
    push: Vec<String>,
    layered: String,
    pushed: String,
}

/// Measures all of it, `runs` times a figure.
pub(crate) fn run(runs: u32) -> Result<()> {
    let world = World::new()?;
    let large = LargeImage::find()?;
    let layered = world.push(&large.layered, "large:layered")?;
    let flat = world.push(&large.flat, "large:flat")?;
    let pushed = format!("{}/large:pushed", Yard::ADDRESS);
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let archive = large.archive.to_str().context("a path that is text")?;
    let words = Words {
        pull: text(&["pull", "-q", &layered]),
        pull_flat: text(&["pull", "-q", &flat]),
        load: text(&["load", "-q", "-i", archive]),
        push: text(&["push", "-q", &pushed]),
        layered,
        pushed,
    };
    let dockerds = dockerds(&world)?;
    let engines = engines(&world, &dockerds);
    println!("a large image: {}\n", size(&large)?);
    pulls(&world, &engines, &words, runs)?;
    loads(&engines, &words, runs)?;
    saves(&world, &engines, &words, runs)?;
    pushes(&world, &large, &engines, &words, runs)?;
    memory(&engines, &words)
}

/// The machine's dockerd, and the newest one with each of its two stores.
fn dockerds(world: &World) -> Result<Vec<(String, Dockerd)>> {
    let newest = unpacked_peers();
    let mut all = Vec::new();
    let mut add = |name: &str, bin: Option<&Path>, store: &str, more: &[&str]| -> Result<()> {
        let launched = Dockerd::launch(world, name, bin, &[&QUIET[..], more].concat())?;
        all.extend(launched.map(|dockerd| (format!("dockerd {}, {store}", dockerd.version()), dockerd)));
        Ok(())
    };
    add("dockerd", None, "overlay2", &[])?;
    if !newest.join("dockerd").exists() {
        println!("the newest dockerd is not here (cargo xtask peers unpacks it): its rows are left out");
        return Ok(all);
    }
    let newest = newest.canonicalize()?;
    add("newest-overlay2", Some(&newest), "overlay2", &["--feature", "containerd-snapshotter=false"])?;
    add("newest-containerd", Some(&newest), "containerd", &["--feature", "containerd-snapshotter=true"])?;
    Ok(all)
}

fn engines<'a>(world: &'a World, dockerds: &'a [(String, Dockerd)]) -> Vec<Engine<'a>> {
    let tared = vec![world.daemon().pid()];
    let mut all = vec![Engine {
        name: "tare".to_owned(),
        command: Box::new(move || world.tare_command()),
        daemons: tared,
    }];
    if docker_cli().is_some() {
        all.push(Engine {
            name: "docker CLI on tared".to_owned(),
            command: Box::new(move || world.docker_command()),
            daemons: Vec::new(),
        });
    }
    for (name, dockerd) in dockerds {
        let command = Box::new(move || dockerd.command(world));
        all.push(Engine { name: name.clone(), command, daemons: dockerd.pids() });
    }
    if let Some(podman) = Podman::find(world) {
        let command = Box::new(move || Ok(podman.command(world)));
        all.push(Engine { name: "podman".to_owned(), command, daemons: Vec::new() });
    }
    all
}

/// The same of every engine, each after `before`.
fn everybody<'a>(
    engines: &'a [Engine<'a>],
    words: &'a [String],
    before: impl Fn(&Engine<'_>) -> Result<()> + Copy + 'a,
) -> Vec<Contender<'a>> {
    let one = |engine: &'a Engine<'a>| {
        Contender::prepared(&engine.name, move || before(engine), move || engine.say(words))
    };
    engines.iter().map(one).collect()
}

fn absent(engine: &Engine<'_>) -> Result<()> {
    engine.forget()
}

fn nothing(_: &Engine<'_>) -> Result<()> {
    Ok(())
}

fn pulls(world: &World, engines: &[Engine<'_>], words: &Words, runs: u32) -> Result<()> {
    race_cold("pull, one layer, image absent", everybody(engines, &words.pull_flat, absent), runs)?;
    let copy = world.dir().join("skopeo");
    let mut all = everybody(engines, &words.pull, absent);
    all.push(Contender::prepared(
        "skopeo, which unpacks nothing",
        || {
            let _ = std::fs::remove_dir_all(&copy); // absent before the first run
            rustix::fs::sync();
            Ok(())
        },
        || {
            let mut skopeo = world.command("skopeo");
            skopeo.args(["copy", "-q", "--src-tls-verify=false", &format!("docker://{}", words.layered)]);
            skopeo.arg(format!("dir:{}", copy.display()));
            Ok(skopeo)
        },
    ));
    race_cold("pull, three layers, image absent", all, runs)?;
    race("pull, image present", everybody(engines, &words.pull, nothing), QUICK_RUNS.max(runs))
}

fn loads(engines: &[Engine<'_>], words: &Words, runs: u32) -> Result<()> {
    race_cold("load, image absent", everybody(engines, &words.load, absent), runs)?;
    race_cold("load, image present", everybody(engines, &words.load, nothing), runs)
}

/// Of what was pulled.
fn saves(world: &World, engines: &[Engine<'_>], words: &Words, runs: u32) -> Result<()> {
    let file = world.dir().join("saved.tar");
    let save: Vec<String> = ["save", "-o", file.to_str().context("a path that is text")?, &words.layered]
        .map(str::to_owned)
        .into();
    // One that cannot says so when it is to save.
    for engine in engines {
        let _ = engine.forget().and_then(|()| engine.succeed(&["pull", "-q", &words.layered]));
    }
    let before = |_: &Engine<'_>| {
        let _ = std::fs::remove_file(&file); // absent before the first run
        rustix::fs::sync();
        Ok(())
    };
    race_cold("save", everybody(engines, &save, before), runs)
}

/// Of what was pulled too.
fn pushes(world: &World, large: &LargeImage, engines: &[Engine<'_>], words: &Words, runs: u32) -> Result<()> {
    for engine in engines {
        let _ = engine.succeed(&["tag", &words.layered, &words.pushed]); // or it fails to push
    }
    let yard = &Yard::new(world);
    let empty = move |whose: Whose| {
        yard.clear(whose)?;
        rustix::fs::sync();
        Ok(())
    };
    let mut all = everybody(engines, &words.push, move |_| empty(Whose::Docker));
    all.push(Contender::prepared(
        "skopeo, from an OCI layout",
        move || empty(Whose::Docker),
        || {
            let mut skopeo = world.command("skopeo");
            let to = format!("docker://{}", words.pushed);
            skopeo.args(["copy", "-q", "--dest-tls-verify=false", &large.layered, &to]);
            Ok(skopeo)
        },
    ));
    let ours = |engine| Contender::prepared("tare to its own registry", move || empty(Whose::Tare), engine);
    all.push(ours(|| engines[0].say(&words.push)));
    race_cold("push, registry empty", all, runs)?;
    yard.clear(Whose::Docker)?;
    race("push, registry has it", everybody(engines, &words.push, nothing), QUICK_RUNS.max(runs))
}

/// What the daemons take at most while they work.
fn memory(engines: &[Engine<'_>], words: &Words) -> Result<()> {
    println!("largest resident set of the daemon while it works");
    for (title, work) in
        [("pull, three layers", &words.pull), ("pull, one layer", &words.pull_flat), ("load", &words.load)]
    {
        for engine in engines.iter().filter(|engine| !engine.daemons.is_empty()) {
            engine.forget()?;
            measure::reset_peak(&engine.daemons)?;
            let done = capture(&mut engine.say(work)?)?.code == 0;
            let peak = if done { measure::peak(&engine.daemons).to_string() } else { "it fails".to_owned() };
            println!("  {title:<24}{:<26}{peak:>8} KiB", engine.name);
        }
    }
    println!();
    Ok(())
}

fn size(large: &LargeImage) -> Result<String> {
    let archive = std::fs::metadata(&large.archive)?.len();
    Ok(format!("{} MB in three uncompressed layers", archive / 1_000_000))
}
