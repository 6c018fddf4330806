//! The end of a run: recorded, given back, told, and followed by what somebody asked for or the policy says.

use std::time::Duration;

use tare_model::Kind;
use tare_protocol::{self as protocol, Exit, Request};
use tokio::time::Instant;

use crate::container::Status;
use crate::options::WaitResult;
use crate::restart::{self, Ended};
use crate::spec::RestartPolicy;
use crate::start::now;
use crate::task::{Recorded, Task, next_event};
use crate::{Error, RemoveOptions, Result, run};

/// What is recorded when nobody can say how a program ended: its shim was killed, or the machine went down.
const UNKNOWN: i32 = 255;
/// A program whose shim is killed is killed by the kernel with it.
const KILLED: i32 = 137;

/// How long the word of an end may be on its way from a shim that answers no more.
const AT_HAND: Duration = Duration::from_secs(1);

impl Task {
    /// Asks the shim for something. A program that has ended a moment ago is not the shim's fault: its end is taken in
    /// first, and what is left to say is [`Error::NotRunning`].
    pub(crate) async fn ask_shim(&mut self, request: &Request) -> Result<()> {
        let id = self.container().id.clone();
        let Some(run) = &self.run else { return Err(Error::NotRunning(id)) };
        let asked = run.ask(request).await;
        let refused = matches!(asked, Err(Error::NotRunning(_) | Error::Shim { kind: Kind::Conflict, .. }));
        if refused && self.hear_the_end().await {
            return Err(Error::NotRunning(id));
        }
        asked.map(drop)
    }

    /// Takes in what the shim has said, up to the end of the run; false when that is not at hand.
    async fn hear_the_end(&mut self) -> bool {
        loop {
            let Ok(event) = tokio::time::timeout(AT_HAND, next_event(&mut self.run)).await else {
                return false;
            };
            let goes_on = matches!(&event, Ok(Some(event)) if !matches!(event, protocol::Event::Exited(_)));
            self.hear(event).await;
            if !goes_on {
                return true;
            }
        }
    }

    /// The shim says that the program has ended, or left word of it.
    pub(crate) async fn ended(&mut self, exit: Exit) {
        let before = self.container();
        if let Some(run) = self.run.take() {
            run.let_go();
        }
        if let Err(error) = self.engine.rooms.networks.release(&before.id).await {
            tracing::warn!(container = %before.id, "cannot give back the network: {error}");
        }
        let ending = std::mem::take(&mut self.ending);
        let ran_for = exit.at.since(before.state.started_at);
        let wait = self.next_start(&ending, exit.exit_code, ran_for);
        let again = !ending.restarts.is_empty() || wait.is_some();
        let goes = !ending.removes.is_empty() || (!again && before.spec.lifecycle.auto_remove);
        self.record_exit(&exit, again);
        self.forget_execs();
        let attributes =
            [("exitCode", exit.exit_code.to_string()), ("execDuration", ran_for.as_secs().to_string())];
        self.publish("die", &attributes);
        self.notify_stopped(&WaitResult { exit_code: exit.exit_code, error: exit.error });
        if !goes && !before.of_build {
            self.clean_exec_dir();
        }
        if ending.is_wanted() || !ending.restarts.is_empty() {
            self.publish("stop", &[]);
        }
        if !ending.stops.is_empty() && before.spec.lifecycle.restart != RestartPolicy::No {
            // Who is told that it has stopped finds it stopped after the machine's next boot.
            let _ = self.engine.rooms.store.flush().await;
        }
        ending.stops.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
        if !ending.removes.is_empty() {
            let options = ending.removes.iter().fold(RemoveOptions::default(), |sum, (one, _)| {
                RemoveOptions { force: sum.force || one.force, volumes: sum.volumes || one.volumes }
            });
            let mut result = Some(self.remove_now(options).await);
            for (_, reply) in ending.removes {
                let _ = reply.send(result.take().unwrap_or(Ok(())));
            }
        } else if !ending.restarts.is_empty() {
            let mut result = Some(self.start(0).await);
            self.publish("restart", &[]);
            for reply in ending.restarts {
                let _ = reply.send(result.take().unwrap_or(Ok(())));
            }
        } else if let Some(wait) = wait {
            self.restart_wait = Some(wait);
            self.restart_at = Some(Instant::now() + wait);
        } else if before.spec.lifecycle.auto_remove {
            self.auto_remove().await;
        }
    }

    /// The shim is gone without a word over its connection: it may have left one on disk.
    pub(crate) async fn shim_lost(&mut self) {
        let Some(run) = &self.run else { return };
        let exit = match run::read_exit(&run.dir) {
            Some(exit) => exit,
            None => {
                self.sweep().await;
                unknown_exit(KILLED, "the container's shim was killed")
            }
        };
        self.ended(exit).await;
    }

    /// Does what the shim can do no more.
    pub(crate) async fn sweep(&self) {
        let container = self.container();
        let cgroup = crate::plan::cgroup_path(&container.id, &container.spec);
        let _ = tokio::task::spawn_blocking(move || run::sweep(&cgroup)).await;
    }

    /// Ends a container whose shim cannot.
    pub(crate) async fn end_by_force(&self) {
        if let Some(run) = &self.run {
            run.end_by_force().await;
        }
    }

    /// How the program ended, for a container whose shim is not there any more when the daemon comes up.
    pub(crate) async fn exit_left_behind(&self) -> Exit {
        match run::read_exit(&self.engine.exec_dir(&self.container().id)) {
            Some(exit) => exit,
            None => {
                self.sweep().await;
                unknown_exit(UNKNOWN, "the container ended with the machine or its shim")
            }
        }
    }

    fn next_start(
        &self,
        ending: &crate::task::Ending,
        exit_code: i32,
        ran_for: Duration,
    ) -> Option<Duration> {
        let container = self.container();
        let by_user = container.stopped_by_user || ending.is_wanted();
        let ended = Ended { exit_code, ran_for, by_user, restarts: container.restart_count };
        restart::after_exit(container.spec.lifecycle.restart, ended, self.restart_wait)
            .filter(|_| ending.restarts.is_empty())
    }

    fn record_exit(&self, exit: &Exit, again: bool) {
        self.change(|container| {
            let state = &mut container.state;
            state.status = if again { Status::Restarting } else { Status::Exited };
            state.pid = None;
            state.exit_code = exit.exit_code;
            state.oom_killed |= exit.oom_killed;
            state.finished_at = exit.at;
            state.error = exit.error.clone().unwrap_or_default();
        });
    }

    /// Removes the run's directory once the disk knows how it ended, so that a daemon killed in between finds one or the other.
    /// That of a container which is removed at once goes with it, and the disk is waited for once.
    fn clean_exec_dir(&mut self) {
        let (engine, id) = (self.engine.clone(), self.container().id.clone());
        self.cleaning = Some(tokio::spawn(async move {
            if engine.rooms.store.flush().await.is_ok() {
                let _ =
                    tokio::task::spawn_blocking(move || std::fs::remove_dir_all(engine.exec_dir(&id))).await;
            }
        }));
    }

    /// The policy's moment has come.
    pub(crate) async fn start_by_policy(&mut self) {
        let restarts = self.container().restart_count + 1;
        if let Err(error) = self.start(restarts).await {
            let container = self.container();
            tracing::warn!(container = %container.id, "cannot start again: {error}");
            let ended = Ended {
                exit_code: container.state.exit_code,
                ran_for: Duration::ZERO,
                by_user: false,
                restarts,
            };
            if let Some(wait) =
                restart::after_exit(container.spec.lifecycle.restart, ended, self.restart_wait)
            {
                self.change(|container| {
                    container.restart_count = restarts;
                    container.state.status = Status::Restarting;
                });
                self.restart_wait = Some(wait);
                self.restart_at = Some(Instant::now() + wait);
            } else {
                self.notify_stopped(&WaitResult {
                    exit_code: container.state.exit_code,
                    error: Some(error.to_string()),
                });
            }
        }
    }

    /// A container that is to be removed when it ends is removed also when it could not begin.
    pub(crate) async fn remove_after_failed_start(&mut self) {
        let container = self.container();
        let down = !container.state.status.is_alive() && !container.state.error.is_empty();
        let goes = container.spec.lifecycle.auto_remove || matches!(self.recorded, Recorded::Lost);
        if goes && down {
            self.auto_remove().await;
        }
    }

    pub(crate) async fn auto_remove(&mut self) {
        if let Err(error) = self.remove_now(RemoveOptions { force: true, volumes: true }).await {
            tracing::warn!(container = %self.container().id, "cannot remove after its end: {error}");
        }
    }
}

fn unknown_exit(exit_code: i32, why: &str) -> Exit {
    Exit {
        exit_code,
        signal: None,
        at: now(),
        oom_killed: false,
        error: Some(Error::State(why.to_owned()).to_string()),
    }
}
