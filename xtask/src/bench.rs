//! This build beside every peer that is installed: all figures of one run, taken in turn, shown as medians and ratios.
//! It never judges: a machine's speed drifts, so there is no assertion on a time.

mod build;
mod fifty;
mod files;
mod floor;
mod http;
mod measure;
mod peers;
mod runner;
mod runtimes;
mod ship;
mod yard;

use std::process::Command;

use anyhow::Result;
pub(crate) use files::{FILES, run as run_files};
use measure::{Contender, race};
use peers::Dockerd;
pub(crate) use runner::serve;
pub(crate) use runtimes::run as run_runtimes;
pub(crate) use ship::run as run_ship;
use tare_tests::{World, capture, docker_cli};

/// Runs every section, `runs` times a figure.
pub(crate) fn run(runs: u32) -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", &image])?.ok();
    let dockerd = Dockerd::start(&world, &image)?;
    println!("medians of {runs} runs taken in turn; ratio = time over tare's time in the same run\n");
    engines(&world, &image, dockerd.as_ref(), runs)?;
    fifty::run(&world, &image, dockerd.as_ref(), runs)?;
    build::run(&world, &image, dockerd.as_ref(), runs)?;
    run_runtimes(runs)?;
    http::run(&world, dockerd.as_ref(), runs.min(http::RUNS))?;
    memory(&world, &image, dockerd.as_ref())?;
    drop(dockerd);
    drop(world);
    run_ship(runs.min(ship::RUNS))
}

/// HTTP through a published port alone.
pub(crate) fn run_http(runs: u32) -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let dockerd = Dockerd::start(&world, &image)?;
    http::run(&world, dockerd.as_ref(), runs)
}

/// Every way to say `docker run` here.
fn contenders<'a>(world: &'a World, dockerd: Option<&'a Dockerd>, words: &[&str]) -> Vec<Contender<'a>> {
    let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    let mut all = vec![Contender::new("tare", {
        let words = words.clone();
        move || Ok(add(world.tare_command()?, &words))
    })];
    if docker_cli().is_some() {
        let words = words.clone();
        all.push(Contender::new("docker CLI on tared", move || Ok(add(world.docker_command()?, &words))));
    }
    if let Some(dockerd) = dockerd {
        let words = words.clone();
        all.push(Contender::new("docker CLI on dockerd", move || Ok(add(dockerd.command(world)?, &words))));
    }
    if let Some(podman) = peers::Podman::find(world) {
        all.push(Contender::new("podman", move || Ok(add(podman.command(world), &words))));
    }
    all
}

fn add(mut command: Command, words: &[String]) -> Command {
    command.args(words);
    command
}

fn engines(world: &World, image: &str, dockerd: Option<&Dockerd>, runs: u32) -> Result<()> {
    for (title, words) in [
        ("run --rm, no network", vec!["run", "--rm", "--network", "none", image, "true"]),
        ("run --rm, bridge network", vec!["run", "--rm", image, "true"]),
        ("run --rm, bridge and a published port", vec!["run", "--rm", "-p", "18080:80", image, "true"]),
    ] {
        race(title, contenders(world, dockerd, &words), runs)?;
    }
    let start = ["run", "-d", "--name", "tare-bench-exec", image, "sleep", "600"];
    world.tare(&start)?.ok();
    if let Some(dockerd) = dockerd {
        capture(dockerd.command(world)?.args(start))?.ok();
    }
    let all = contenders(world, dockerd, &["exec", "tare-bench-exec", "true"]);
    race("exec in a running container", all.into_iter().filter(|c| c.name != "podman").collect(), runs)?;
    let stop = ["rm", "-f", "tare-bench-exec"];
    world.tare(&stop)?.ok();
    if let Some(dockerd) = dockerd {
        capture(dockerd.command(world)?.args(stop))?.ok();
    }
    Ok(())
}

fn memory(world: &World, image: &str, dockerd: Option<&Dockerd>) -> Result<()> {
    const CONTAINERS: u64 = 10;
    println!("memory (PSS)");
    let idle = measure::pss(&[world.daemon().pid()]);
    println!("  {:<34}{:>8} KiB", "tared, idle", idle);
    for _ in 0..CONTAINERS {
        world.tare(&["run", "-d", "--network", "none", image, "sleep", "600"])?.ok();
    }
    let shims = measure::processes_named("tare-runtime", world.dir());
    println!("  {:<34}{:>8} KiB", "a shim, one of ten", measure::pss(&shims) / CONTAINERS);
    println!("  {:<34}{:>8} KiB", "tared, ten containers", measure::pss(&[world.daemon().pid()]));
    if let Some(dockerd) = dockerd {
        println!("  {:<34}{:>8} KiB", "dockerd and containerd, idle", dockerd.pss());
    }
    Ok(())
}
