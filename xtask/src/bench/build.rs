//! A build of FROM, COPY and three RUN, cold and cached.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tare_tests::{World, docker_cli, unpacked_docker};

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

/// A docker command line that speaks BuildKit's protocol without the plugin buildx: one older than 23.
fn buildkit_cli() -> Option<String> {
    let old = |path: &std::path::PathBuf| {
        let told = Command::new(path).arg("--version").output().ok()?.stdout;
        let major =
            String::from_utf8(told).ok()?.split(' ').nth(2)?.split('.').next()?.parse::<u32>().ok()?;
        (major < 23).then_some(())
    };
    let places = [PathBuf::from("/usr/bin/docker"), unpacked_docker().join("usr/bin/docker")];
    let found = places.into_iter().find(|path| old(path).is_some())?;
    found.to_str().map(str::to_owned)
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
        if buildkit_cli().is_some() {
            let buildkit = move || {
                let mut command = build(dockerd.command_of(world, &buildkit_cli().unwrap_or_default()));
                command.env("DOCKER_BUILDKIT", "1");
                Ok(command)
            };
            all.push(Contender::new("docker CLI on dockerd, BuildKit", buildkit));
        }
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
