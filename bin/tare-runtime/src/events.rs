//! `tare-runtime events`: a container's figures and killings, in the form that engines read.

use std::io::Write;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use tare_runtime::kept::Kept;

use crate::failure::{Failure, Outcome};
use crate::figures::event;
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
        let due = match poll(&mut fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            happened => happened.map_err(failed)? == 0,
        };
        let ended = !fds[0].revents().is_empty();
        if let Some(watch) = watch.as_ref().filter(|_| !fds[1].revents().is_empty()) {
            watch.acknowledge();
        }
        // The group may go with the container. A killing is counted a moment after it is announced: it is told next time.
        let now = kept.oom_kills().unwrap_or(kills);
        for _ in kills..now {
            say(&json!({"type": "oom", "id": id}))?;
        }
        kills = now;
        if ended {
            return Ok(0);
        }
        if due {
            next += interval;
            match kept.stats() {
                Ok(stats) => say(&event(id, &stats))?,
                // It has ended since it was waited for.
                Err(_) if kept.pidfd()?.is_none() => {}
                Err(error) => return Err(error.into()),
            }
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
}
