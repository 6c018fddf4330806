use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tare_tests::{World, capture, docker_cli, until};

use super::measure;

/// A dockerd on roots of its own, in the world's network namespace.
pub(super) struct Dockerd {
    process: Child,
    dir: PathBuf,
    version: String,
}

impl Dockerd {
    /// The machine's own, with an image. None where it is not installed or does not start; says which.
    pub(super) fn start(world: &World, image: &str) -> Result<Option<Self>> {
        let Some(dockerd) = Self::launch(world, "dockerd", None, &[])? else { return Ok(None) };
        let pulled = capture(dockerd.command(world)?.args(["pull", "-q", image]))?.code == 0;
        if !pulled {
            println!("dockerd does not pull here: its rows are left out");
        }
        Ok(pulled.then_some(dockerd))
    }

    /// One with its roots in `name` and these arguments; `bin` has its programs where it is not the machine's own.
    pub(super) fn launch(
        world: &World,
        name: &str,
        bin: Option<&Path>,
        arguments: &[&str],
    ) -> Result<Option<Self>> {
        let program = bin.map_or_else(|| PathBuf::from("dockerd"), |bin| bin.join("dockerd"));
        let program = program.to_str().context("a path that is text")?;
        let asked = capture(world.command(program).arg("--version"));
        let Some(version) = asked.ok().filter(|ran| ran.code == 0 && docker_cli().is_some()) else {
            println!("{name}: {program} is not installed: its rows are left out");
            return Ok(None);
        };
        let dir = world.dir().join(name);
        std::fs::create_dir_all(&dir)?;
        let log = std::fs::File::create(dir.join("log"))?;
        let mut command = world.command(program);
        command.arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
        command.arg("--pidfile").arg(dir.join("pid")).arg("--host").arg(socket(&dir)).args(arguments);
        if let Some(bin) = bin {
            // Where it looks for its containerd.
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", bin.display()));
        }
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let dockerd = Self { process, dir, version: version_of(&version.out) };
        if until(name, || Ok(capture(dockerd.command(world)?.arg("version"))?.code == 0)).is_ok() {
            return Ok(Some(dockerd));
        }
        let log = std::fs::read_to_string(dockerd.dir.join("log")).unwrap_or_default();
        println!(
            "{name} does not run here, its rows are left out: {}",
            log.lines().last().unwrap_or_default()
        );
        Ok(None)
    }

    /// Two numbers: `20.10`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn command(&self, world: &World) -> Result<Command> {
        Ok(self.command_of(world, &docker_cli().context("the docker command line is there")?))
    }

    /// The same by a docker command line of one's choice.
    pub(super) fn command_of(&self, world: &World, docker: &str) -> Command {
        let mut command = world.command(docker);
        command.env("DOCKER_HOST", socket(&self.dir)).env("HOME", &self.dir);
        command
    }

    /// dockerd and its containerd.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut pids = measure::processes_named("containerd", &self.dir);
        pids.push(self.process.id());
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// KiB of both.
    pub(super) fn pss(&self) -> u64 {
        measure::pss(&self.pids())
    }
}

fn socket(dir: &Path) -> String {
    format!("unix://{}", dir.join("sock").display())
}

/// `Docker version 20.10.24+dfsg1, build 297e128`
fn version_of(text: &str) -> String {
    let number = text.split_whitespace().nth(2).unwrap_or_default();
    number.split('.').take(2).collect::<Vec<_>>().join(".")
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = self.process.id().to_string();
        let _ = capture(Command::new("kill").args(["-TERM", &pid]));
        let _ = self.process.wait();
    }
}

/// podman with roots of its own.
pub(super) struct Podman {
    dir: PathBuf,
}

impl Podman {
    pub(super) fn find(world: &World) -> Option<Self> {
        let installed = capture(Command::new("podman").arg("--version")).is_ok_and(|ran| ran.code == 0);
        let podman = Self { dir: world.dir().join("podman") };
        std::fs::create_dir_all(&podman.dir).ok()?;
        // It may not raise limits where CAP_SYS_RESOURCE is missing, and takes plain HTTP only by configuration.
        let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\ncgroup_manager = \"cgroupfs\"\nruntime = \"runc\"\n";
        std::fs::write(podman.dir.join("containers.conf"), limits).ok()?;
        std::fs::write(
            podman.dir.join("registries.conf"),
            "[[registry]]\nlocation = \"127.0.0.1:5000\"\ninsecure = true\n\n[[registry]]\nlocation = \"127.0.0.1:5001\"\ninsecure = true\n",
        )
        .ok()?;
        installed.then_some(podman)
    }

    pub(super) fn command(&self, world: &World) -> Command {
        self.of("podman", world)
    }

    /// buildah upon the same images.
    pub(super) fn buildah(&self, world: &World) -> Command {
        self.of("buildah", world)
    }

    fn of(&self, program: &str, world: &World) -> Command {
        let mut command = world.command(program);
        command.env("CONTAINERS_CONF", self.dir.join("containers.conf"));
        command.env("CONTAINERS_REGISTRIES_CONF", self.dir.join("registries.conf"));
        command.arg("--root").arg(self.dir.join("root")).arg("--runroot").arg(self.dir.join("run"));
        command
    }
}
