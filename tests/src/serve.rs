//! Servers of files, inside a world's network.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Result;

use crate::{World, capture, until};

/// A server, ended with this value.
#[derive(Debug)]
pub struct Served(Child);

impl Served {
    /// A directory's files at `http://127.0.0.1:8000/`.
    pub fn web(world: &World, directory: &Path) -> Result<Self> {
        let mut python = world.command("python3");
        python.args(["-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory"]).arg(directory);
        let asked = ["-sf", "-o", "/dev/null", "http://127.0.0.1:8000/"];
        Self::start(python, "the web server to answer", || {
            Ok(capture(world.command("curl").args(asked))?.code == 0)
        })
    }

    /// The repositories below a directory at `git://127.0.0.1/`, of which `name` is there already.
    pub fn git(world: &World, directory: &Path, name: &str) -> Result<Self> {
        Self::git_at(world, directory, name, "127.0.0.1")
    }

    /// The same at an address that the world has.
    pub fn git_at(world: &World, directory: &Path, name: &str, at: &str) -> Result<Self> {
        let program = capture(Command::new("git").arg("--exec-path"))?.ok().to_owned() + "/git-daemon";
        let mut server = world.command(&program);
        server.arg(format!("--base-path={}", directory.display()));
        server.args(["--export-all", "--reuseaddr", "--port=9418", &format!("--listen={at}")]);
        let address = format!("git://{at}/{name}");
        Self::start(server, "the git daemon to answer", || {
            Ok(capture(world.command("git").args(["ls-remote", &address]))?.code == 0)
        })
    }

    /// What a python program serves of a directory at port 80 of an address of the world, which it is told.
    pub fn python(world: &World, directory: &Path, program: &str, at: &str) -> Result<Self> {
        let mut python = world.command("python3");
        python.args(["-c", program, at]).current_dir(directory);
        let (address, what) = (format!("http://{at}/"), "the web server to answer");
        Self::start(python, what, || {
            Ok(capture(world.command("curl").args(["-sf", "-o", "/dev/null", &address]))?.code == 0)
        })
    }

    fn start(mut server: Command, what: &str, answers: impl FnMut() -> Result<bool>) -> Result<Self> {
        let served = Self(server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        until(what, answers)?;
        Ok(served)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
