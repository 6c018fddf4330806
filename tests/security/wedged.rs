//! Shims that do not answer: a container's own doing, or the machine's. They hold up nobody but themselves.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tare_tests::{World, until};

/// Whoever is slower is held up by something that does not end by itself.
const LONG: Duration = Duration::from_secs(45);

fn shim_of(id: &str) -> Option<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find_map(|pid: i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        (line.starts_with("tare-runtime\0shim\0") && line.contains(id)).then(|| Pid::from_raw(pid))?
    })
}

fn stop_shim_of(id: &str) -> Result<Pid> {
    let shim = shim_of(id).context("the container has a shim")?;
    kill_process(shim, Signal::STOP)?;
    Ok(shim)
}

fn is_gone(shim: Pid) -> Result<bool> {
    Ok(!std::fs::exists(format!("/proc/{shim}"))?)
}

/// init stops every program that is started beside it before it runs, and somebody starts some.
#[test]
fn a_container_that_stops_its_execs_can_be_removed() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let run = ["run", "-d", "--name", "bad", &image, "sh", "-c", "while true; do kill -STOP -1; done"];
    let id = world.tare(&run)?.ok().to_owned();
    let mut execs = Vec::new();
    for _ in 0..10 {
        let mut exec = world.tare_command()?;
        let exec = exec.args(["exec", "bad", "true"]).stdin(Stdio::null()).stdout(Stdio::null());
        execs.push(exec.stderr(Stdio::null()).spawn()?);
    }
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    world.tare(&["rm", "-f", "bad"])?.ok();
    ensure!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    for mut exec in execs {
        let _ = exec.kill();
        exec.wait()?;
    }
    world.assert_clean(&[&id])
}

#[test]
fn a_container_whose_shim_does_not_answer_can_be_removed() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let id = world.tare(&["run", "-d", "--name", "box", &image, "sleep", "1000"])?.ok().to_owned();
    let shim = stop_shim_of(&id)?;
    let begun = Instant::now();
    world.tare(&["rm", "-f", "box"])?.ok();
    ensure!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    until("the shim to be gone", || is_gone(shim))?;
    world.assert_clean(&[&id])
}

#[test]
fn a_shim_that_does_not_answer_does_not_keep_the_daemon_from_its_start() -> Result<()> {
    let mut world = World::new()?;
    let image = world.push_busybox()?;
    let run = |name: &str| -> Result<String> {
        Ok(world.tare(&["run", "-d", "--name", name, &image, "sleep", "1000"])?.ok().to_owned())
    };
    let (stopped, other) = (run("stopped")?, run("other")?);
    let shim = stop_shim_of(&stopped)?;
    world.kill_daemon();
    let begun = Instant::now();
    world.start_daemon(&[])?;
    ensure!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    ensure!(!is_gone(shim)?, "it has more time than that");
    world.tare(&["run", "--rm", &image, "true"])?.ok();
    let status = |name: &str| {
        let ran = world.tare(&["inspect", "--format", "{{.State.Status}}", name])?;
        Ok::<_, anyhow::Error>(ran.ok().to_owned())
    };
    ensure!(status("other")? == "running");
    until("the container to be given up", || Ok(status("stopped")? == "exited"))?;
    until("its shim to be gone", || is_gone(shim))?;
    world.tare(&["start", "stopped"])?.ok();
    world.tare(&["rm", "-f", "stopped", "other"])?.ok();
    world.assert_clean(&[&stopped, &other])
}
