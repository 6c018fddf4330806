//! After a start of the daemon: finds what went on without it, finishes what it could not, removes what nobody owns.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tare_model::{Id, Timestamp};
use tare_protocol::{Phase, Request, State};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::Result;
use crate::container::{Container, Status};
use crate::engine::{Engine, TABLE, UNFINISHED, blocking};
use crate::restart::{self, Ended};
use crate::run::{self, Run, read_exit};
use crate::shim::{self, Watch};
use crate::task::{Input, Recorded, Task};

/// How long the start of the daemon waits for shims, all together. One that does not answer is left to its container's
/// task, which gives it more time, and nobody else waits for it.
pub(crate) const AT_START: Duration = Duration::from_secs(3);

impl Engine {
    /// Takes every container of an earlier daemon back, then lets the rooms below drop what none of them uses, then
    /// starts what the policies say. Once, before requests are served.
    pub async fn reconcile(self: &Arc<Self>) -> Result<()> {
        let records = self.rooms.store.list::<Container>(TABLE)?;
        let ids: BTreeSet<Id> = records.iter().map(|(_, container)| container.id.clone()).collect();
        self.end_strangers(&ids).await;
        let mut adopted = Vec::new();
        for (_, container) in records {
            let id = container.id.clone();
            self.adopt_record(container, Recorded::OnDisk);
            adopted.push((id.clone(), self.adoption(&id)));
        }
        let (mut alive, mut late) = (BTreeSet::new(), BTreeSet::new());
        let patience = Instant::now() + AT_START;
        for (id, answer) in adopted {
            let Some(answer) = answer else { continue };
            match timeout_at(patience, answer).await {
                Ok(Ok(true)) => drop(alive.insert(id)),
                Ok(_) => {}
                Err(_) => {
                    late.insert(id.clone());
                    // Until it is known, what it has is its own.
                    alive.insert(id);
                }
            }
        }
        self.reconcile_rooms(&ids, &alive).await?;
        self.let_all_go_on().await?;
        for id in ids.difference(&alive).chain(&late) {
            if let Some(handle) = self.index.get(id) {
                handle.send(Input::Boot, id.as_str())?;
            }
        }
        Ok(())
    }

    fn adoption(&self, id: &Id) -> Option<oneshot::Receiver<bool>> {
        let (send, receive) = oneshot::channel();
        self.index.get(id)?.send(Input::Adopt(send), id.as_str()).ok()?;
        Some(receive)
    }

    async fn reconcile_rooms(self: &Arc<Self>, ids: &BTreeSet<Id>, alive: &BTreeSet<Id>) -> Result<()> {
        let networks = self.rooms.networks.reconcile(alive);
        let (engine, keys) = (self.clone(), ids.iter().map(ToString::to_string).collect());
        let snapshots = blocking(move || Ok(engine.rooms.snapshots.reconcile(&keys)?));
        let (networks, snapshots) = tokio::join!(networks, snapshots);
        networks?;
        snapshots?;
        let unfinished = self.rooms.store.leases_of(UNFINISHED)?;
        let volumes = unfinished.iter().filter_map(|resource| resource.strip_prefix("volume/")?.parse().ok());
        self.remove_volumes(volumes.collect()).await;
        self.rooms.volumes.reconcile().await?;
        self.rooms.images.reconcile().await?;
        Ok(())
    }

    /// Directories of containers that are in no record: their creation or removal was cut in the middle.
    async fn end_strangers(self: &Arc<Self>, known: &BTreeSet<Id>) {
        for (root, running) in [
            (self.config.exec_root.join("containers"), true),
            (self.config.data_root.join("containers"), false),
        ] {
            for id in ids_below(&root).into_iter().filter(|id| !known.contains(id)) {
                if running {
                    end_stranger(&id, &self.exec_dir(&id)).await;
                }
                let _ = std::fs::remove_dir_all(root.join(id.as_str()));
            }
        }
    }
}

fn ids_below(root: &Path) -> Vec<Id> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Ends a container that nobody knows, if it still runs.
async fn end_stranger(id: &Id, dir: &Path) {
    let connection = shim::connect(id, dir).await;
    let shim = connection.as_ref().ok().and_then(|connection| connection.shim(dir));
    let watched = match connection {
        Ok(connection) => timeout(AT_START, connection.watch()).await.ok().and_then(Result::ok),
        Err(_) => None,
    };
    if let Some((watch, _)) = watched {
        Run { container: id.clone(), dir: dir.to_owned(), watch, shim: None }.abort().await;
    } else if shim.is_some() {
        run::kill(shim, dir).await;
    } else if read_exit(dir).is_none()
        && let Some(cgroup) = run::cgroup_of(dir)
    {
        let _ = tokio::task::spawn_blocking(move || run::sweep(&cgroup)).await;
    }
}

impl Task {
    /// Finds out whether the container that the record tells of still runs.
    pub(crate) async fn adopt(&mut self) -> bool {
        let container = self.container();
        let dir = self.engine.exec_dir(&container.id);
        match self.find(&dir).await {
            Some((watch, state)) if state.phase == Phase::Running => {
                self.run = Some(Run { container: container.id.clone(), dir, watch, shim: None });
                self.take_state(&state);
                self.forget_ended_execs(&state).await;
                true
            }
            Some((watch, state)) => {
                // Cut before its program ran: its shim ends it, or has done so.
                Run { container: container.id.clone(), dir: dir.clone(), watch, shim: None }.abort().await;
                if let Some(exit) = state.exit.filter(|_| container.state.status.is_alive()) {
                    self.ended(exit).await;
                }
                self.settle(&dir);
                false
            }
            None => {
                self.adopt_ended(&container, &dir).await;
                false
            }
        }
    }

    /// The shim, if it is there. One that does not answer is no shim, and neither has its container a future.
    async fn find(&self, dir: &Path) -> Option<(Watch, State)> {
        let id = self.container().id.clone();
        let connection = shim::connect(&id, dir).await.ok()?;
        let shim = connection.shim(dir);
        match connection.watch().await {
            Ok(found) => Some(found),
            Err(error) => {
                if shim.is_some() && read_exit(dir).is_none() {
                    tracing::warn!(container = %id, "its shim is killed: {error}");
                    run::kill(shim, dir).await;
                }
                None
            }
        }
    }

    async fn adopt_ended(&mut self, container: &Container, dir: &Path) {
        let unrecorded = read_exit(dir).is_some_and(|exit| exit.at > container.state.finished_at);
        if container.state.status.is_alive() || (unrecorded && container.state.started_at != Timestamp::ZERO)
        {
            let exit = self.exit_left_behind().await;
            self.ended(exit).await;
            return;
        }
        if dir.exists() && read_exit(dir).is_none() {
            // Shim and daemon were both killed while it was being started.
            self.sweep().await;
        }
        self.settle(dir);
        let was_to_go = container.spec.lifecycle.auto_remove && container.state.started_at != Timestamp::ZERO;
        if container.state.status == Status::Removing || was_to_go {
            self.auto_remove().await;
        }
    }

    /// A container between two lives has one of the resting states.
    fn settle(&mut self, dir: &Path) {
        let _ = std::fs::remove_dir_all(dir);
        if self.container().state.status.is_alive() {
            self.change(|container| {
                container.state.status = Status::Exited;
                container.state.pid = None;
            });
        }
    }

    fn take_state(&self, state: &State) {
        self.change(|container| {
            let own = &mut container.state;
            own.status = if state.paused { Status::Paused } else { Status::Running };
            own.pid = state.pid;
            own.started_at = state.started_at.unwrap_or(own.started_at);
        });
    }

    async fn forget_ended_execs(&self, state: &State) {
        let Some(run) = &self.run else { return };
        for exec in state.execs.iter().filter(|exec| !exec.running) {
            let _ = run.ask(&Request::ForgetExec { id: exec.id.clone() }).await;
        }
    }

    /// The daemon is up: what its policy says shall run, runs.
    pub(crate) async fn boot(&mut self) {
        let container = self.container();
        let state = &container.state;
        if state.started_at == Timestamp::ZERO || self.run.is_some() || self.restart_at.is_some() {
            return;
        }
        let ended = Ended {
            exit_code: state.exit_code,
            ran_for: state.finished_at.since(state.started_at),
            by_user: container.stopped_by_user,
            restarts: container.restart_count,
        };
        if restart::at_boot(container.spec.lifecycle.restart, ended) {
            self.start_by_policy().await;
        } else if state.status == Status::Restarting {
            self.change(|container| container.state.status = Status::Exited);
        }
    }
}
