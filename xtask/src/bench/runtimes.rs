//! `tare-runtime` beside crun, runc and youki, on one bundle: each work of an OCI runtime, in turn.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use tare_tests::{binaries, capture, unpacked_peers};

use super::measure::{Contender, race, race_in};
use super::runner::{Runner, Task};

/// A runtime that is measured.
struct Rival {
    name: &'static str,
    program: String,
    state: PathBuf,
    runner: Rc<Runner>,
    number: Cell<u32>,
}

/// Makes the task of one measurement.
type Work = fn(&Rival, &Bench) -> Task;

/// What the works need: a directory with two bundles.
struct Bench {
    dir: PathBuf,
    /// In memory, as `/run` is where systemd runs: a runtime keeps no state on a disk.
    states: PathBuf,
    rivals: Vec<Rival>,
    floor: Rc<Runner>,
}

/// Every work, `runs` times a figure.
pub(crate) fn run(runs: u32) -> Result<()> {
    let bench = Bench::prepare()?;
    let all: [(&str, Work); 6] = [
        ("OCI run of /bin/true, all namespaces", run_true),
        ("OCI create and start", create_and_start),
        ("OCI exec of /bin/true", exec),
        ("OCI delete -f of a running container", delete),
        ("OCI state", state),
        ("OCI run -d, 50 containers, 8 at a time", fifty),
    ];
    for (title, task) in all {
        let runs = if title.contains("50") { runs.div_ceil(10) } else { runs };
        let mut contenders: Vec<Contender<'_>> =
            bench.rivals.iter().map(|rival| rival.contender(&bench, task)).collect();
        contenders.push(bench.floor(title));
        race(title, contenders, runs)?;
    }
    let resident = |rival: &Rival, bench: &Bench| Task { memory: true, ..run_true(rival, bench) };
    let contenders = bench.rivals.iter().map(|rival| rival.contender(&bench, resident)).collect();
    race_in("KiB", "peak memory of OCI run (resident set)", contenders, runs.div_ceil(3))
}

impl Bench {
    fn prepare() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("tare-bench-{}", std::process::id()));
        let states = Path::new("/dev/shm").join(format!("tare-bench-{}", std::process::id()));
        bundle(&dir.join("true"), &["/bin/true"])?;
        bundle(&dir.join("sleep"), &["/bin/sleep", "600"])?;
        let hybrid = Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists();
        let plain = Rc::new(Runner::start(false)?);
        let hidden = if hybrid { Rc::new(Runner::start(true)?) } else { plain.clone() };
        let ours = binaries()?.join("tare-runtime").to_string_lossy().into_owned();
        let rival = |name: &'static str, program: &str, runner: &Rc<Runner>| Rival {
            name,
            program: program.to_owned(),
            state: states.join(name.replace(' ', "-")),
            runner: runner.clone(),
            number: Cell::new(0),
        };
        let newest = |name: &str| unpacked_peers().join(name).to_string_lossy().into_owned();
        let rivals = vec![
            rival("tare-runtime", &ours, &plain),
            rival("crun", "crun", &hidden),
            rival("crun of cargo xtask peers", &newest("crun"), &hidden),
            rival("runc", "runc", &plain),
            rival("runc of cargo xtask peers", &newest("runc"), &plain),
            rival("youki", "youki", &plain),
        ];
        Ok(Self { dir, states, rivals, floor: plain })
    }

    /// The least that a work can take: the kernel's part of a container, or the start of any program.
    fn floor(&self, title: &str) -> Contender<'_> {
        if title.contains("50") {
            let root = self.dir.join("true/rootfs");
            return Contender::timed("floor: 50 times bare clone3, 8 at a time", move || fifty_floors(&root));
        }
        let (name, task) = match title {
            title if title.contains("run of") => {
                let root = self.dir.join("true/rootfs");
                ("floor: bare clone3, mounts and execve", Task { floor: Some(root), ..Task::default() })
            }
            _ => (
                "floor: one busybox that does nothing",
                Task { timed: words(&[&["/bin/busybox", "true"]]), ..Task::default() },
            ),
        };
        Contender::timed(name, move || self.floor.run(&task))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_dir_all(&self.states);
    }
}

impl Rival {
    fn contender<'a>(
        &'a self,
        bench: &'a Bench,
        task: impl Fn(&Rival, &Bench) -> Task + 'a,
    ) -> Contender<'a> {
        Contender::timed(self.name, move || self.runner.run(&task(self, bench)))
    }

    fn command(&self, rest: &[&str]) -> Vec<String> {
        let state = self.state.to_string_lossy();
        [self.program.as_str(), "--root", &state].iter().chain(rest).map(|word| (*word).to_owned()).collect()
    }

    /// A new id.
    fn id(&self) -> String {
        self.number.set(self.number.get() + 1);
        format!("tare-bench-{}-{}-{}", std::process::id(), self.name.replace(' ', "-"), self.number.get())
    }
}

/// Each bare container is made by a process of one thread, so there are eight of those.
fn fifty_floors(root: &Path) -> Result<Result<f64, String>> {
    let runners = (0..8).map(|_| Runner::start(false)).collect::<Result<Vec<_>>>()?;
    let left = AtomicU32::new(50);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
    let work = |runner: &Runner| -> Result<Result<f64, String>> {
        while take() {
            if let Err(why) = runner.run(&Task { floor: Some(root.to_owned()), ..Task::default() })? {
                return Ok(Err(why));
            }
        }
        Ok(Ok(0.0))
    };
    // The first answer of each says that it is there.
    runners.iter().try_for_each(|runner| runner.run(&Task::default()).map(drop))?;
    let begun = Instant::now();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = runners.iter().map(|runner| scope.spawn(move || work(runner))).collect();
        all.into_iter()
            .map(|one| one.join().unwrap_or_else(|_| anyhow::bail!("a starter panicked")))
            .collect()
    });
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    answers.into_iter().find(|answer| !matches!(answer, Ok(Ok(_)))).unwrap_or(Ok(Ok(took)))
}

fn words(commands: &[&[&str]]) -> Vec<Vec<String>> {
    commands.iter().map(|command| command.iter().map(|word| (*word).to_owned()).collect()).collect()
}

fn sleeper(bench: &Bench) -> String {
    bench.dir.join("sleep").to_string_lossy().into_owned()
}

fn run_true(rival: &Rival, bench: &Bench) -> Task {
    let bundle = bench.dir.join("true");
    Task {
        timed: vec![rival.command(&["run", "--bundle", &bundle.to_string_lossy(), &rival.id()])],
        ..Task::default()
    }
}

fn create_and_start(rival: &Rival, bench: &Bench) -> Task {
    let id = rival.id();
    let timed =
        vec![rival.command(&["create", "--bundle", &sleeper(bench), &id]), rival.command(&["start", &id])];
    Task { timed, after: vec![rival.command(&["delete", "--force", &id])], ..Task::default() }
}

/// A container that runs around the timed command.
fn beside(rival: &Rival, bench: &Bench, timed: impl Fn(&str) -> Vec<String>) -> Task {
    let id = rival.id();
    Task {
        before: vec![rival.command(&["run", "--detach", "--bundle", &sleeper(bench), &id])],
        timed: vec![timed(&id)],
        after: vec![rival.command(&["delete", "--force", &id])],
        ..Task::default()
    }
}

fn exec(rival: &Rival, bench: &Bench) -> Task {
    beside(rival, bench, |id| rival.command(&["exec", id, "/bin/true"]))
}

fn state(rival: &Rival, bench: &Bench) -> Task {
    beside(rival, bench, |id| rival.command(&["state", id]))
}

fn delete(rival: &Rival, bench: &Bench) -> Task {
    let task = beside(rival, bench, |id| rival.command(&["delete", "--force", id]));
    Task { after: Vec::new(), ..task }
}

fn fifty(rival: &Rival, bench: &Bench) -> Task {
    let ids: Vec<String> = (0..50).map(|_| rival.id()).collect();
    let bundle = sleeper(bench);
    Task {
        timed: ids.iter().map(|id| rival.command(&["run", "--detach", "--bundle", &bundle, id])).collect(),
        at_once: 8,
        after: ids.iter().map(|id| rival.command(&["delete", "--force", id])).collect(),
        ..Task::default()
    }
}

/// A busybox root and the configuration that our own runtime proposes, which all of them take.
fn bundle(dir: &Path, args: &[&str]) -> Result<()> {
    for folder in ["bin", "proc", "sys", "dev", "tmp"] {
        std::fs::create_dir_all(dir.join("rootfs").join(folder))?;
    }
    for name in ["true", "sleep"] {
        std::fs::copy("/bin/busybox", dir.join("rootfs/bin").join(name))
            .context("busybox-static is not installed")?;
    }
    capture(Command::new(binaries()?.join("tare-runtime")).args(["spec", "--bundle"]).arg(dir))?.ok();
    let path = dir.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["ociVersion"] = json!("1.0.2");
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(args);
    Ok(std::fs::write(path, serde_json::to_vec(&config)?)?)
}
