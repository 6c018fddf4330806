//! A build of FROM, COPY and three RUN, cold and cached.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use tare_tests::{World, docker_cli};

use super::measure::{Contender, race};
use super::peers::{Dockerd, Podman};

/// Each RUN writes a little and ends.
const STEPS: &str =
    "COPY file /file\nRUN echo one > /one\nRUN echo two > /two\nRUN cat /one /two /file > /three\n";

pub(super) fn run(world: &World, image: &str, dockerd: Option<&Dockerd>, runs: u32) -> Result<()> {
    let directory = world.dir().join("bench-build");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("file"), "content\n")?;
    std::fs::write(directory.join("Dockerfile"), format!("FROM {image}\n{STEPS}"))?;
    for (title, flags) in [
        ("build, FROM + COPY + 3 RUN, no cache", &["--no-cache"][..]),
        ("build, FROM + COPY + 3 RUN, all cached", &[]),
    ] {
        race(title, contenders(world, dockerd, &directory, flags), runs)?;
    }
    Ok(())
}

fn contenders<'a>(
    world: &'a World,
    dockerd: Option<&'a Dockerd>,
    directory: &'a Path,
    flags: &'a [&'a str],
) -> Vec<Contender<'a>> {
    let build = move |mut command: Command| {
        command.env("DOCKER_BUILDKIT", "0").args(["build", "-q", "-t", "bench"]).args(flags).arg(directory);
        command
    };
    let mut all = vec![Contender::new("tare", move || Ok(build(world.tare_command()?)))];
    if docker_cli().is_some() {
        all.push(Contender::new("docker CLI on tared", move || Ok(build(world.docker_command()?))));
    }
    if let Some(dockerd) = dockerd {
        let classic = move || Ok(build(dockerd.command(world)?));
        all.push(Contender::new("docker CLI on dockerd, classic", classic));
    }
    if let Some(podman) = Podman::find(world) {
        all.push(Contender::new("buildah", move || {
            let mut command = podman.buildah(world);
            command.args(["build", "-q", "--layers", "-t", "bench"]).args(flags).arg(directory);
            Ok(command)
        }));
    }
    all
}
