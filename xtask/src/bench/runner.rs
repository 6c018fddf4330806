//! A process that runs commands and says what they took: a second one, because a peer needs a view of the machine of its
//! own, and because a small process starts others faster than one that has grown.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::floor;

/// One measurement: what comes before it, what is timed, what comes after it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) before: Vec<Vec<String>>,
    pub(super) timed: Vec<Vec<String>>,
    /// How many of the timed commands run at once; one after the other if 0.
    pub(super) at_once: usize,
    pub(super) after: Vec<Vec<String>>,
    /// Instead of commands: a bare container with this root.
    pub(super) floor: Option<PathBuf>,
    /// Answers the largest resident set of the timed command, in KiB, instead of its time.
    pub(super) memory: bool,
}

/// The caller's end.
pub(super) struct Runner {
    process: Child,
    tasks: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

/// crun refuses a machine on which the unified hierarchy beside v1 has controllers: it is shown one that has none.
const HIDE: &str = "mount --bind /dev/null /sys/fs/cgroup/unified/cgroup.controllers && exec \"$@\"";

impl Runner {
    /// `hide_unified` is for crun on a hybrid machine.
    pub(super) fn start(hide_unified: bool) -> Result<Self> {
        let own = std::env::current_exe()?;
        let mut command = match hide_unified {
            true => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "private", "sh", "-c", HIDE, "sh"]).arg(own);
                command
            }
            false => Command::new(own),
        };
        let mut process = command.arg("bench-runner").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let tasks = process.stdin.take().context("a piped input is there")?;
        let answers = process.stdout.take().context("a piped output is there")?;
        Ok(Self { process, tasks: Mutex::new((tasks, BufReader::new(answers))) })
    }

    /// Milliseconds, or what went wrong.
    pub(super) fn run(&self, task: &Task) -> Result<Result<f64, String>> {
        let mut both = self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (tasks, answers) = &mut *both;
        tasks.write_all(format!("{}\n", serde_json::to_string(task)?).as_bytes())?;
        let mut line = String::new();
        ensure!(answers.read_line(&mut line)? > 0, "the runner is gone");
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other end: tasks from standard input, answers to standard output.
pub(crate) fn serve() -> Result<()> {
    for line in std::io::stdin().lines() {
        let answer = answer(&serde_json::from_str(&line?)?).map_err(|error| error.to_string());
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}

fn answer(task: &Task) -> Result<f64> {
    task.before.iter().try_for_each(|words| run(words))?;
    let timed = time(task);
    let cleaned = task.after.iter().try_for_each(|words| run(words));
    let timed = timed?;
    cleaned?;
    Ok(timed)
}

fn time(task: &Task) -> Result<f64> {
    if task.memory {
        return resident(&task.timed[0]);
    }
    let begun = Instant::now();
    match &task.floor {
        Some(root) => floor::run(root)?,
        None if task.at_once == 0 => task.timed.iter().try_for_each(|words| run(words))?,
        None => side_by_side(&task.timed, task.at_once)?,
    }
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

fn run(words: &[String]) -> Result<()> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().with_context(|| format!("{} is not installed", words[0]))?;
    ensure!(status.success(), "{} fails here", words.join(" "));
    Ok(())
}

fn side_by_side(commands: &[Vec<String>], at_once: usize) -> Result<()> {
    let next = Mutex::new(commands.iter());
    let take = || next.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let work = || std::iter::from_fn(take).try_for_each(|words| run(words));
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| anyhow::bail!("a starter panicked")))
    })
}

/// Asks a starter of one page more than nothing: a process counts its parent's pages until its execve, and this one has
/// many. busybox takes the kernel's KiB for pages.
fn resident(words: &[String]) -> Result<f64> {
    let ended =
        Command::new("busybox").args(["time", "-f", "%M"]).args(words).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{}", said.lines().next().unwrap_or("it failed without a word"));
    let number = said.lines().last().and_then(|line| line.trim().parse::<f64>().ok());
    let pages = number.with_context(|| format!("{} fails here: {}", words.join(" "), said.trim()))?;
    Ok(pages / (rustix::param::page_size() as f64 / 1024.0))
}
