//! Fifty containers, eight at a time, each by a command of its own.

use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use tare_tests::{World, capture, docker_cli};

use super::measure::{Contender, race};
use super::peers::Dockerd;

const CONTAINERS: usize = 50;
const AT_ONCE: usize = 8;

pub(super) fn run(world: &World, image: &str, dockerd: Option<&Dockerd>, runs: u32) -> Result<()> {
    let mut all = vec![contender("tare", image, || world.tare_command())];
    if docker_cli().is_some() {
        all.push(contender("docker CLI on tared", image, || world.docker_command()));
    }
    if let Some(dockerd) = dockerd {
        all.push(contender("docker CLI on dockerd", image, move || dockerd.command(world)));
    }
    race("run -d, bridge network, 50 containers, 8 at a time", all, runs.div_ceil(5))
}

fn contender<'a>(name: &str, image: &'a str, command: impl Fn() -> Result<Command> + 'a) -> Contender<'a> {
    Contender::timed(name, move || once(&command, image))
}

/// Milliseconds, or what went wrong. The containers are gone afterwards.
fn once(command: &dyn Fn() -> Result<Command>, image: &str) -> Result<Result<f64, String>> {
    let names: Vec<String> = (0..CONTAINERS).map(|n| format!("tare-bench-{n}")).collect();
    let start = |name: &String| -> Result<Command> {
        let mut command = command()?;
        command.args(["run", "-d", "--name", name, image, "sleep", "600"]);
        Ok(command)
    };
    let queue = Mutex::new(names.iter().map(start).collect::<Result<Vec<_>>>()?);
    let begun = Instant::now();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| work(&queue))).collect();
        all.into_iter()
            .filter_map(|one| one.join().unwrap_or(Some("a starter panicked".to_owned())))
            .collect()
    });
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    let mut remove = command()?;
    capture(remove.args(["rm", "-f"]).args(&names))?;
    Ok(failures.into_iter().next().map_or(Ok(took), Err))
}

/// Runs what is left of the queue; answers the first failure.
fn work(queue: &Mutex<Vec<Command>>) -> Option<String> {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let ran = capture(&mut next?);
        match ran {
            Ok(ran) if ran.code == 0 => {}
            Ok(ran) => return Some(ran.err.lines().last().unwrap_or("it failed without a word").to_owned()),
            Err(error) => return Some(error.to_string()),
        }
    }
}
