use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{Daemon, Leftovers, Netns, Ran, Registry, binaries, busybox_image, capture, debian_image};

/// A daemon, a registry and a network namespace, all of them this test's own.
#[derive(Debug)]
pub struct World {
    daemon: Option<Daemon>,
    registry: Option<Registry>,
    netns: Netns,
    dir: PathBuf,
}

/// How long what must come is waited for, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

static COUNT: AtomicU32 = AtomicU32::new(0);
const REGISTRY_PORT: u16 = 5000;

impl World {
    /// A registry and a daemon, both running.
    pub fn new() -> Result<Self> {
        Self::with_daemon_arguments(&[])
    }

    /// The same with more arguments for tared.
    pub fn with_daemon_arguments(arguments: &[&str]) -> Result<Self> {
        let unique = format!("tare-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&dir)?;
        let mut world = Self { daemon: None, registry: None, netns: Netns::new()?, dir };
        world.registry = Some(Registry::start(&world.dir, REGISTRY_PORT, &|p| world.netns.command(p))?);
        world.start_daemon(arguments)?;
        Ok(world)
    }

    /// The directory of everything.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command inside the namespace.
    pub fn command(&self, program: &str) -> Command {
        self.netns.command(program)
    }

    /// The daemon that runs now.
    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("a daemon runs unless the test has stopped it")
    }

    /// Ends the daemon politely.
    pub fn stop_daemon(&mut self) {
        self.daemon = None;
    }

    /// Kills the daemon with SIGKILL.
    pub fn kill_daemon(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// Starts a daemon on the same roots.
    pub fn start_daemon(&mut self, arguments: &[&str]) -> Result<()> {
        self.daemon = Some(Daemon::start(&self.dir, arguments, &|p| self.netns.command(p))?);
        Ok(())
    }

    /// Pushes the Debian image and returns its reference.
    pub fn push_debian(&self) -> Result<String> {
        self.push(&debian_image()?, "web:v1")
    }

    /// Pushes the busybox image and returns its reference.
    pub fn push_busybox(&self) -> Result<String> {
        self.push(&busybox_image()?, "bb:v1")
    }

    /// Pushes any image that skopeo reads.
    pub fn push(&self, source: &str, name: &str) -> Result<String> {
        let registry = self.registry.as_ref().context("the registry runs")?;
        registry.push(source, name, &|p| self.netns.command(p))
    }

    /// Stops the registry.
    pub fn stop_registry(&mut self) {
        self.registry = None;
    }

    /// The command line `tare`, pointed at this world's daemon, words to be added.
    pub fn tare_command(&self) -> Result<Command> {
        let tare = binaries()?.join("tare");
        let mut command = self.command(tare.to_str().context("a path that is text")?);
        command.env("TARE_HOST", self.host()).env("HOME", &self.dir).env_remove("DOCKER_CONFIG");
        Ok(command)
    }

    /// The unmodified docker command line, pointed at this world's daemon, words to be added.
    pub fn docker_command(&self) -> Result<Command> {
        let docker =
            docker_cli().context("the docker command line is not here: cargo xtask setup unpacks it")?;
        let mut command = self.command(&docker);
        command.env("DOCKER_HOST", self.host()).env("HOME", &self.dir).env_remove("DOCKER_CONFIG");
        Ok(command)
    }

    /// Runs `tare` to its end.
    pub fn tare(&self, words: &[&str]) -> Result<Ran> {
        capture(self.tare_command()?.args(words))
    }

    /// Runs `docker` to its end.
    pub fn docker(&self, words: &[&str]) -> Result<Ran> {
        capture(self.docker_command()?.args(words))
    }

    /// Waits until a shell command succeeds inside a container.
    pub fn until_inside(&self, container: &str, command: &str) -> Result<()> {
        crate::until(command, || Ok(self.tare(&["exec", container, "sh", "-c", command])?.code == 0))
    }

    /// Both command lines, by name.
    pub fn clients(&self) -> [(&'static str, Client<'_>); 2] {
        [("tare", Box::new(|words| self.tare(words))), ("docker", Box::new(|words| self.docker(words)))]
    }

    /// One HTTP request to the daemon: status and body.
    pub fn api(&self, method: &str, path: &str, body: Option<&str>) -> Result<(u16, String)> {
        let socket = self.daemon().socket();
        let mut curl = self.command("curl");
        curl.args(["-s", "-X", method, "-w", "\n%{http_code}", "--unix-socket"]).arg(socket);
        if let Some(body) = body {
            curl.args(["-H", "Content-Type: application/json", "--data-binary", body]);
        }
        let ran = capture(curl.arg(format!("http://tare{path}")))?;
        let (text, status) = ran.out.rsplit_once('\n').with_context(|| format!("{ran:?}"))?;
        Ok((status.parse()?, text.to_owned()))
    }

    /// What is left of these containers now.
    pub fn leftovers(&self, ids: &[&str]) -> Result<Leftovers> {
        Leftovers::see(&self.dir, ids, &|p| self.netns.command(p))
    }

    /// Nothing is left of these containers, at the latest a moment after the client was told that they are gone.
    pub fn assert_clean(&self, ids: &[&str]) -> Result<()> {
        let mut left = self.leftovers(ids)?;
        let clean = until("everything to be cleaned up", || {
            left = self.leftovers(ids)?;
            Ok(left.0.is_empty())
        });
        clean.with_context(|| format!("left behind: {:#?}", left.0))
    }

    fn host(&self) -> String {
        format!("unix://{}", self.dir.join("tare.sock").display())
    }
}

/// Runs one command line with these words.
pub type Client<'a> = Box<dyn Fn(&[&str]) -> Result<Ran> + 'a>;

impl Drop for World {
    fn drop(&mut self) {
        if let Some(daemon) = &self.daemon {
            if let Ok(listed) = self.tare(&["ps", "-aq"]) {
                let ids: Vec<&str> = listed.out.split_whitespace().collect();
                if !ids.is_empty() {
                    let _ = self.tare(&[&["rm", "-f", "-v"], &ids[..]].concat());
                }
            }
            if std::thread::panicking() {
                eprintln!("--- what tared logged\n{}", daemon.log());
            }
        }
        self.daemon = None;
        self.registry = None;
        let _ = std::fs::remove_dir_all(&self.dir);
        // What a killed daemon that nobody started again has in shared memory.
        let shared = self.dir.join("exec").to_string_lossy().replace('/', "_");
        let _ = std::fs::remove_dir_all(format!("/dev/shm/tare-build{shared}"));
    }
}

/// The docker command line of this machine, else the one that `cargo xtask setup` has unpacked.
pub fn docker_cli() -> Option<String> {
    let paths = std::env::var_os("PATH")?;
    let unpacked = unpacked_docker().join("usr/bin/docker");
    let candidates = std::env::split_paths(&paths).map(|dir| dir.join("docker")).chain([unpacked]);
    candidates.into_iter().find(|file| file.exists())?.to_str().map(str::to_owned)
}

/// Where the docker command line is unpacked on a machine that has none.
pub fn unpacked_docker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/docker-cli")
}

/// Where `cargo xtask peers` puts the newest runtimes of others.
pub fn unpacked_peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/bin")
}

/// Asks again until it is so, at most a minute. For tests only: the product waits for events.
pub fn until(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !so()? {
        if Instant::now() > deadline {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
