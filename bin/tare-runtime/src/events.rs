//! `tare-runtime events`: a container's figures and killings, in the form that engines read.

use std::io::Write;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use tare_cgroup::{BlockIoStats, Stats};
use tare_runtime::kept::Kept;

use crate::failure::{Failure, Outcome};
use crate::flags::{Given, switch, value};
use crate::global::Global;

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse_anywhere(arguments, &[switch("stats", ""), value("interval", "")])?;
    let interval = interval(given.value("interval").unwrap_or("5s"))?;
    let id = given.id()?;
    let kept = global.open(id)?;
    if given.is("stats") {
        say(&event(id, &kept.stats()?))?;
        return Ok(0);
    }
    watch(&kept, id, interval)
}

/// Prints figures whenever the interval is over, and killings when they happen, until the container ends.
fn watch(kept: &Kept, id: &str, interval: Duration) -> Outcome {
    let failed = |e: rustix::io::Errno| Failure::new(format!("cannot wait for events: {e}"));
    let stopped = || Failure::new(format!("container with id {id} is not running"));
    let init = kept.pidfd()?.ok_or_else(stopped)?;
    let watch = kept.watch_oom()?;
    let mut kills = kept.oom_kills()?;
    let mut next = Instant::now() + interval;
    loop {
        let mut fds = vec![PollFd::new(&init, PollFlags::IN)];
        fds.extend(watch.iter().map(|watch| PollFd::from_borrowed_fd(watch.fd(), watch.flags())));
        let left = Timespec::try_from(next.saturating_duration_since(Instant::now())).ok();
        match poll(&mut fds, left.as_ref()) {
            Ok(0) => {
                next += interval;
                say(&event(id, &kept.stats()?))?;
                continue;
            }
            Err(rustix::io::Errno::INTR) => continue,
            other => drop(other.map_err(failed)?),
        }
        let ended = !fds[0].revents().is_empty();
        if let Some(watch) = watch.as_ref().filter(|_| !fds[1].revents().is_empty()) {
            watch.acknowledge();
        }
        // The group may go with the container.
        let now = kept.oom_kills().unwrap_or(kills);
        for _ in kills..now {
            say(&json!({"type": "oom", "id": id}))?;
        }
        kills = now;
        if ended {
            return Ok(0);
        }
    }
}

/// One line, at once: the reader waits for it.
fn say(event: &Value) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{event}").and_then(|()| out.flush());
    said.map_err(|e| Failure::new(format!("cannot write to standard output: {e}")))
}

/// `500ms`, `5s`, `1m30s`, `1h`: as Go writes durations.
fn interval(text: &str) -> Result<Duration, Failure> {
    let wrong = || Failure::new(format!("invalid value \"{text}\" of --interval: 5s or 1m30s are wanted"));
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let number: u32 = number.parse().map_err(|_| wrong())?;
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let one = match &after[..unit] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(wrong()),
        };
        total = one.checked_mul(number).and_then(|one| total.checked_add(one)).ok_or_else(wrong)?;
        rest = &after[unit..];
    }
    if total.is_zero() { Err(Failure::new("--interval must be longer than 0")) } else { Ok(total) }
}

fn event(id: &str, stats: &Stats) -> Value {
    let (memory, cpu) = (&stats.memory, &stats.cpu);
    let cache = memory.details.get("total_cache").or(memory.details.get("file"));
    json!({"type": "stats", "id": id, "data": {
        "cpu": {
            "usage": {"total": cpu.total, "percpu": cpu.per_cpu, "kernel": cpu.system, "user": cpu.user},
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled,
            },
        },
        "cpuset": {},
        "memory": {
            "cache": cache.copied().unwrap_or(0),
            "usage": {
                "limit": memory.limit.unwrap_or(u64::MAX),
                "usage": memory.usage,
                "max": memory.max_usage,
                "failcnt": memory.failures,
            },
            "swap": {"limit": 0, "usage": memory.swap, "failcnt": 0},
            "kernel": {"limit": 0, "failcnt": 0},
            "kernelTCP": {"limit": 0, "failcnt": 0},
            "raw": memory.details,
        },
        "pids": {"current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0)},
        "blkio": {
            "ioServiceBytesRecursive": blkio(&stats.block_io, |d| (d.read_bytes, d.write_bytes)),
            "ioServicedRecursive": blkio(&stats.block_io, |d| (d.reads, d.writes)),
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    }})
}

fn blkio(devices: &[BlockIoStats], figures: impl Fn(&BlockIoStats) -> (u64, u64)) -> Vec<Value> {
    let entry = |d: &BlockIoStats, op: &str, value: u64| json!({"major": d.major, "minor": d.minor, "op": op, "value": value});
    let both = |d: &BlockIoStats| {
        let (read, write) = figures(d);
        [entry(d, "Read", read), entry(d, "Write", write)]
    };
    devices.iter().flat_map(both).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_written_as_go_does() {
        for (text, ms) in [("5s", 5000), ("500ms", 500), ("1m30s", 90_000), ("1h", 3_600_000)] {
            assert_eq!(interval(text).unwrap(), Duration::from_millis(ms));
        }
        for wrong in ["", "5", "s", "5x", "0s", "-1s", "99999999999s", "5sé"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn figures_have_their_places() {
        let mut stats = Stats::default();
        stats.pids.current = 3;
        stats.block_io.push(BlockIoStats { major: 8, read_bytes: 5, ..BlockIoStats::default() });
        let event = event("x", &stats);
        assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!("x")));
        assert_eq!(event["data"]["pids"]["current"], 3);
        assert_eq!(event["data"]["blkio"]["ioServiceBytesRecursive"][0]["value"], 5);
    }
}
