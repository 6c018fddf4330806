use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tare_tests::{World, capture, docker_cli, until};

use super::measure;

/// A dockerd on roots of its own, in the world's network namespace.
pub(super) struct Dockerd {
    process: Child,
    dir: PathBuf,
}

impl Dockerd {
    /// None where it is not installed or does not start; says which.
    pub(super) fn start(world: &World, image: &str) -> Result<Option<Self>> {
        let dir = world.dir().join("dockerd");
        std::fs::create_dir_all(&dir)?;
        let log = std::fs::File::create(dir.join("log"))?;
        let mut command = world.command("dockerd");
        command.arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
        command
            .arg("--pidfile")
            .arg(dir.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", dir.join("sock").display()));
        let installed = capture(world.command("dockerd").arg("--version")).is_ok_and(|ran| ran.code == 0);
        if !installed || docker_cli().is_none() {
            println!("dockerd is not installed: its rows are left out");
            return Ok(None);
        }
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let dockerd = Self { process, dir };
        let answers = until("dockerd", || Ok(capture(dockerd.command(world)?.arg("version"))?.code == 0));
        let pulled =
            answers.is_ok() && capture(dockerd.command(world)?.args(["pull", "-q", image]))?.code == 0;
        if !pulled {
            println!("dockerd does not run here: its rows are left out (see its log while this runs)");
            return Ok(None);
        }
        Ok(Some(dockerd))
    }

    pub(super) fn command(&self, world: &World) -> Result<Command> {
        Ok(self.command_of(world, &docker_cli().context("the docker command line is there")?))
    }

    /// The same by a docker command line of one's choice.
    pub(super) fn command_of(&self, world: &World, docker: &str) -> Command {
        let mut command = world.command(docker);
        let host = format!("unix://{}", self.dir.join("sock").display());
        command.env("DOCKER_HOST", host).env("HOME", &self.dir);
        command
    }

    /// KiB, dockerd and its containerd.
    pub(super) fn pss(&self) -> u64 {
        let mut pids = measure::processes_named("containerd", &self.dir);
        pids.push(self.process.id());
        pids.sort_unstable();
        pids.dedup();
        measure::pss(&pids)
    }
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
            "[[registry]]\nlocation = \"127.0.0.1:5000\"\ninsecure = true\n",
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
