use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use tare_tests::capture;

/// One way to do a piece of work.
pub(super) struct Contender<'a> {
    pub(super) name: String,
    /// Milliseconds of wall time, or what went wrong.
    once: Box<dyn Fn() -> Result<Result<f64, String>> + 'a>,
}

impl<'a> Contender<'a> {
    /// A command, from its start to its end.
    pub(super) fn new(name: &str, make: impl Fn() -> Result<Command> + 'a) -> Self {
        Self::timed(name, move || {
            let mut command = make()?;
            let begun = Instant::now();
            match capture(&mut command) {
                Ok(ran) if ran.code == 0 => Ok(Ok(begun.elapsed().as_secs_f64() * 1000.0)),
                Ok(ran) => Ok(Err(ran.err.lines().last().unwrap_or("it failed without a word").to_owned())),
                Err(_) => Ok(Err("not installed".to_owned())),
            }
        })
    }

    /// The same with something to be done before it, which is not timed.
    pub(super) fn prepared(
        name: &str,
        before: impl Fn() -> Result<()> + 'a,
        make: impl Fn() -> Result<Command> + 'a,
    ) -> Self {
        let timed = Self::new(name, make);
        Self::timed(name, move || match before() {
            Ok(()) => (timed.once)(),
            Err(error) => Ok(Err(format!("{error:#}"))),
        })
    }

    /// Anything that knows what it took.
    pub(super) fn timed(name: &str, once: impl Fn() -> Result<Result<f64, String>> + 'a) -> Self {
        Self { name: name.to_owned(), once: Box::new(once) }
    }
}

/// Warms each contender up once, leaves out those that do not run here and says why, then lets the others run in turn.
pub(super) fn race(title: &str, all: Vec<Contender<'_>>, runs: u32) -> Result<()> {
    race_in("ms", title, all, runs)
}

/// The same with figures of another unit.
pub(super) fn race_in(unit: &str, title: &str, all: Vec<Contender<'_>>, runs: u32) -> Result<()> {
    let running = warm(title, all)?.into_iter().map(|(contender, _)| (contender, Vec::new())).collect();
    turns(unit, running, runs)
}

/// The same for what takes seconds: the first run counts too.
pub(super) fn race_cold(title: &str, all: Vec<Contender<'_>>, runs: u32) -> Result<()> {
    let running = warm(title, all)?.into_iter().map(|(contender, time)| (contender, vec![time])).collect();
    turns("ms", running, runs.saturating_sub(1))
}

/// Those that run here, with what each took.
fn warm<'a>(title: &str, all: Vec<Contender<'a>>) -> Result<Vec<(Contender<'a>, f64)>> {
    println!("{title}");
    let mut running = Vec::new();
    for contender in all {
        match (contender.once)()? {
            Ok(time) => running.push((contender, time)),
            Err(why) => println!("  {:<34}absent: {why}", contender.name),
        }
    }
    Ok(running)
}

fn turns(unit: &str, mut running: Vec<(Contender<'_>, Vec<f64>)>, runs: u32) -> Result<()> {
    for _ in 0..runs {
        for (contender, times) in &mut running {
            if let Ok(time) = (contender.once)()? {
                times.push(time);
            }
        }
    }
    let first = running.first_mut().map(|(_, times)| median(times));
    for (contender, times) in &mut running {
        let (low, middle, high) = (least(times), median(times), most(times));
        let ratio = first.map_or(1.0, |first| middle / first);
        println!("  {:<34}{middle:>8.2} {unit}   ({low:.2} to {high:.2})   × {ratio:.2}", contender.name);
    }
    println!();
    Ok(())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::NAN, f64::min)
}

fn most(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::NAN, f64::max)
}

/// KiB of proportional set size, all these processes together.
pub(super) fn pss(pids: &[u32]) -> u64 {
    let of = |pid: &u32| -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    pids.iter().map(of).sum()
}

/// Forgets the largest resident set that these processes had, so that the next one is told (proc(5), `clear_refs`).
pub(super) fn reset_peak(pids: &[u32]) -> Result<()> {
    Ok(pids.iter().try_for_each(|pid| std::fs::write(format!("/proc/{pid}/clear_refs"), "5"))?)
}

/// KiB: the largest resident sets of these processes, added up.
pub(super) fn peak(pids: &[u32]) -> u64 {
    let of = |pid: &u32| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    pids.iter().map(of).sum()
}

/// Processes whose command line has this word and names something below `dir`.
pub(super) fn processes_named(word: &str, dir: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let dir = dir.to_string_lossy().into_owned();
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(word) && line.contains(&dir)
    })
    .collect()
}
