//! What requests carry besides the container's name.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tare_model::{Id, Name, Platform, Signal, Timestamp};

/// What creation gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The new container's id.
    pub id: Id,
    /// What was accepted and will not be as asked.
    pub warnings: Vec<String>,
}

/// How a container is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// Absent = one is found.
    pub name: Option<Name>,
    /// Which of the images behind a name; absent = this machine's.
    pub platform: Option<Platform>,
    /// When it has to be on the disk.
    pub promise: Promise,
}

/// When a new container has to be on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// Before its id is told.
    #[default]
    WithId,
    /// Before its program runs: for who starts it at once, and is told of it then.
    WithStart,
}

/// How a container is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// Absent = the container's own.
    pub signal: Option<Signal>,
    /// Absent = the container's own.
    pub timeout: Option<StopTimeout>,
}

/// How long a stop waits before it kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopTimeout {
    /// So long.
    After(Duration),
    /// For ever.
    Never,
}

/// A century: who waits longer waits for ever, and a clock that is asked for such a moment overflows.
const LONGEST_STOP: u64 = 100 * 365 * 24 * 60 * 60;

impl StopTimeout {
    /// Docker's number: seconds, negative = for ever.
    pub fn from_seconds(seconds: i64) -> Self {
        match u64::try_from(seconds) {
            Ok(seconds) if seconds <= LONGEST_STOP => Self::After(Duration::from_secs(seconds)),
            _ => Self::Never,
        }
    }
}

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kills it first if it runs.
    pub force: bool,
    /// Removes its anonymous volumes too.
    pub volumes: bool,
}

/// What a wait waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run; at once when it does not.
    #[default]
    NotRunning,
    /// The next end of a run.
    NextExit,
    /// That it is removed.
    Removed,
}

/// How a wait ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitResult {
    /// The program's exit code.
    pub exit_code: i32,
    /// Why it could not be started or removed; absent when all went well.
    pub error: Option<String>,
}

/// Which streams an attach joins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Bytes go to the program.
    pub stdin: bool,
    /// Its output comes.
    pub stdout: bool,
    /// Its errors come.
    pub stderr: bool,
}

/// Which lines of the log are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what is written from now on, until the container ends.
    pub follow: bool,
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Not younger than this.
    pub until: Option<Timestamp>,
    /// Only the last lines of what was written so far.
    pub tail: Option<usize>,
}

/// One of the program's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it was written to.
    pub stream: OutputStream,
    /// When.
    pub at: Timestamp,
    /// The bytes, with the line's end if it has one.
    pub line: Bytes,
}

/// A further process in a running container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Added to the container's environment.
    pub environment: Vec<String>,
    /// Absent = the container's.
    pub working_directory: Option<String>,
    /// Absent = the container's.
    pub user: Option<String>,
    /// With a pseudo-terminal.
    pub tty: bool,
    /// Rows and columns at the start.
    pub console_size: Option<(u16, u16)>,
    /// Every capability.
    pub privileged: bool,
    /// Which streams will be attached.
    pub attach: AttachOptions,
    /// The front end's own words, given back unread.
    pub origin: String,
}

/// An exec session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The session's id.
    pub id: Id,
    /// The container it runs in.
    pub container: Id,
    /// What was asked for.
    pub spec: std::sync::Arc<ExecSpec>,
    /// On the host, once it was started.
    pub pid: Option<i32>,
    /// Whether it runs.
    pub running: bool,
    /// Once it has ended.
    pub exit_code: Option<i32>,
    /// As it will be executed: user, directory and all.
    pub started: bool,
}

/// The processes of a container, as ps(1) shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// The columns' names.
    pub titles: Vec<String>,
    /// A row each.
    pub processes: Vec<Vec<String>>,
}

/// How many containers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub total: usize,
    /// With a running program.
    pub running: usize,
    /// Frozen.
    pub paused: usize,
    /// The others.
    pub stopped: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_that_no_clock_sees_waits_for_ever() {
        assert_eq!(StopTimeout::from_seconds(10), StopTimeout::After(Duration::from_secs(10)));
        for never in [-1, i64::MIN, i64::MAX] {
            assert_eq!(StopTimeout::from_seconds(never), StopTimeout::Never, "{never}");
        }
        let longest = Duration::from_secs(LONGEST_STOP);
        assert!(tokio::time::Instant::now().checked_add(longest).is_some());
    }
}
