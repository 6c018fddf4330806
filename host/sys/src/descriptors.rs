//! How many descriptors a process may have open (`RLIMIT_NOFILE`, setrlimit(2)).
//!
//! The soft limit that shells and systemd give is 1024, for programs that use select(2); who knows better is meant to raise
//! its own, and to give its children back what they expect.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// As many as this are enough; where the hard limit is higher still, tables in the kernel are not to grow without end.
const MOST: u64 = 1 << 20;

static STARTED_WITH: OnceLock<Rlimit> = OnceLock::new();

/// Raises this process's soft limit to the hard one, or to a million.
pub fn raise() -> io::Result<()> {
    let Rlimit { current, maximum } = started_with();
    let reachable = maximum.map_or(MOST, |hard| hard.min(MOST));
    if current.is_some_and(|soft| soft < reachable) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum })?;
    }
    Ok(())
}

/// The limit that this process had before it raised its own.
pub fn started_with() -> Rlimit {
    *STARTED_WITH.get_or_init(|| getrlimit(Resource::Nofile))
}

/// Gives a child the limit that this process was started with. Done from outside, as nothing of ours runs in a child before
/// its program does; no program can have opened that many so early.
pub fn give_back(child: i32) {
    // One that cannot be limited merely has more than it expects.
    let _ = Pid::from_raw(child).map(|child| prlimit(Some(child), Resource::Nofile, started_with()));
}
