//! Builds on the small disk.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tare_tests::{Ran, capture};

use super::small::{Disk, Kind, Small};

/// A small disk with the busybox image on it, and a directory elsewhere to build from.
pub(super) struct Site {
    pub(super) small: Small,
    image: String,
}

impl Site {
    pub(super) fn new() -> Result<Self> {
        let small = Small::new(Kind::usual())?;
        let image = small.world.push_busybox()?;
        small.world.tare(&["pull", "-q", &image])?.ok();
        let site = Self { small, image };
        std::fs::create_dir_all(site.directory())?;
        Ok(site)
    }

    /// Where a name is beside the small disk.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.small.world.dir().join(name)
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.beside("context")
    }

    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.directory().join(name);
        std::fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        Ok(std::fs::write(path, content)?)
    }

    /// A Dockerfile's text, where `IMAGE` stands for the busybox image.
    pub(super) fn text(&self, text: &str) -> String {
        text.replace("IMAGE", &self.image)
    }

    pub(super) fn dockerfile(&self, text: &str) -> Result<()> {
        self.file("Dockerfile", self.text(text))
    }

    /// `tare build`, words to be added.
    pub(super) fn build_command(&self) -> Result<Command> {
        let mut command = self.small.world.tare_command()?;
        command.args(["build", "-t", "built"]);
        Ok(command)
    }

    /// Builds the directory.
    pub(super) fn build(&self, words: &[&str]) -> Result<Ran> {
        capture(self.build_command()?.args(words).arg(self.directory()))
    }

    /// Builds the directory by the other command line.
    pub(super) fn docker_build(&self, words: &[&str]) -> Result<Ran> {
        let mut docker = self.small.world.docker_command()?;
        docker.env("DOCKER_BUILDKIT", "0").args(["build", "-t", "built"]).args(words);
        capture(docker.arg(self.directory()))
    }

    /// What a shell says in what was built last.
    pub(super) fn shell(&self, command: &str) -> Result<String> {
        let words = ["run", "--rm", "--network", "none", "built", "sh", "-c", command];
        Ok(self.small.world.tare(&words)?.ok().to_owned())
    }

    /// As if nothing had been built.
    pub(super) fn forget(&self) -> Result<()> {
        if !self.small.world.tare(&["images", "-q", "built"])?.ok().is_empty() {
            self.small.world.tare(&["rmi", "-f", "built"])?.ok();
        }
        self.small.world.tare(&["builder", "prune", "-a", "-f"])?.ok();
        Ok(())
    }

    /// Builds with ever more room, in the end with all of it. No failure leaves an image; one at least shows the `place` in the
    /// Dockerfile.
    pub(super) fn build_with(
        &self,
        free: &[u64],
        place: Option<&str>,
        build: impl Fn() -> Result<Ran>,
    ) -> Result<()> {
        let said = self.small.try_with((&self.small.disk, free), &build, |ran| {
            let made = self.small.world.tare(&["images", "-q", "built"])?.ok().to_owned();
            ensure!(made.is_empty() || ran.code == 0, "half an image: {ran:?}");
            self.forget()
        })?;
        if let Some(place) = place {
            ensure!(said.iter().any(|said| said.contains(place)), "nobody hears of {place}: {said:#?}");
        }
        build()?.ok();
        Ok(())
    }

    /// Writes what is built onto another disk, with ever more room there.
    pub(super) fn build_onto(&self, out: &Disk, free: &[u64], build: impl Fn() -> Result<Ran>) -> Result<()> {
        build()?.ok();
        self.small.try_with((out, free), &build, |_| Ok(()))?;
        Ok(())
    }
}
