//! Removes a container: from the records first, so that a daemon killed in between finishes the work when it comes back.

use tare_model::{Name, Timestamp};
use tare_protocol::Request;
use tare_snapshot::Dying;
use tare_store::Batch;

use crate::container::Status;
use crate::engine::{Engine, TABLE, UNFINISHED, blocking, holder};
use crate::options::{RemoveOptions, WaitResult};
use crate::task::{Reply, Task};
use crate::{Error, Result};

impl Task {
    /// A removal that a client asked for. A running container's end is awaited without blocking other requests.
    pub(crate) async fn remove(&mut self, options: RemoveOptions, reply: Reply<()>) {
        let container = self.container();
        if self.run.is_none() {
            let _ = reply.send(self.remove_now(options).await);
            return;
        }
        if !options.force {
            let (state, advice) = match container.state.status {
                Status::Paused => {
                    ("paused", "unpause and stop the container before removing or force remove")
                }
                _ => ("running", "stop the container before removing or force remove"),
            };
            let message =
                format!("cannot remove container \"/{}\": container is {state}: {advice}", container.name);
            let _ = reply.send(Err(Error::State(message)));
            return;
        }
        self.change(|container| container.stopped_by_user = true);
        self.ending.removes.push((options, reply));
        let kill = Request::Kill { session: None, signal: tare_model::Signal::KILL.number(), all: true };
        let killed = match &self.run {
            Some(run) => run.ask(&kill).await.map(drop),
            None => Ok(()),
        };
        if matches!(killed, Err(Error::ShimLost(..))) {
            self.end_by_force().await;
        } else if let Err(error) = killed {
            tracing::debug!(container = %container.id, "cannot kill before a removal, its end is awaited: {error}");
        }
    }

    /// Removes a container that does not run.
    pub(crate) async fn remove_now(&mut self, options: RemoveOptions) -> Result<()> {
        let container = self.container();
        self.restart_at = None;
        self.change(|container| container.state.status = Status::Removing);
        if let Some(cleaning) = self.cleaning.take() {
            let _ = cleaning.await;
        }
        if container.of_build {
            self.remove_step().await;
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.delete(TABLE, container.id.as_str()).unlease_all(&holder(&container.id));
        let with_volumes = options.volumes || container.spec.lifecycle.auto_remove;
        let volumes: Vec<Name> = container.anonymous_volumes().filter(|_| with_volumes).collect();
        for name in &volumes {
            batch.lease(UNFINISHED, &format!("volume/{name}"));
        }
        // One that goes with its end does so at the next start of the daemon, too: nobody needs to wait for the disk.
        let ended = container.spec.lifecycle.auto_remove && container.state.started_at != Timestamp::ZERO;
        let committed = if ended {
            self.engine.rooms.store.commit_later(batch);
            Ok(())
        } else {
            self.engine.rooms.store.commit(batch).await
        };
        if let Err(error) = committed {
            self.change(|container| {
                container.state.status = Status::Dead;
                container.state.error = error.to_string();
            });
            return Err(error.into());
        }
        let buried = self.bury().await;
        if !ended {
            self.clear(buried).await;
            self.removed(volumes).await;
            return Ok(());
        }
        // Who waits for a program to end and its container to go does not wait for the disk to have its room back.
        self.removed(volumes).await;
        self.clear(buried).await;
        Ok(())
    }

    /// Takes what the container wrote out of the way of whatever stands on the same layers.
    async fn bury(&self) -> Result<Option<Dying>> {
        let (engine, id) = (self.engine.clone(), self.container().id.clone());
        blocking(move || match engine.rooms.snapshots.bury(id.as_str()) {
            // An earlier daemon got as far as this.
            Err(tare_snapshot::Error::NoWritable(_)) => Ok(None),
            buried => Ok(Some(buried?)),
        })
        .await
    }

    /// Removes what the container wrote, its log, and what its runs left.
    async fn clear(&self, buried: Result<Option<Dying>>) {
        let (engine, id) = (self.engine.clone(), self.container().id.clone());
        let cleared = blocking(move || {
            let _ = std::fs::remove_dir_all(engine.data_dir(&id));
            let _ = std::fs::remove_dir_all(engine.exec_dir(&id));
            Ok(buried?.map_or(Ok(()), Dying::clear)?)
        });
        if let Err(error) = cleared.await {
            tracing::warn!(container = %self.container().id, "what is left of it is removed at the next start of the daemon: {error}");
        }
    }

    /// The container is not there any more, for everybody.
    async fn removed(&mut self, volumes: Vec<Name>) {
        let container = self.container();
        self.engine.remove_volumes(volumes).await;
        self.engine.forget(&container.id, &container.name);
        self.publish("destroy", &[]);
        for (_, waiter) in std::mem::take(&mut self.waiters) {
            let _ = waiter.send(WaitResult { exit_code: container.state.exit_code, error: None });
        }
    }

    /// Removes what a step of a build ran in. That its writable layer has become a read-only one is as good.
    async fn remove_step(&mut self) {
        let container = self.container();
        let (engine, id) = (self.engine.clone(), container.id.clone());
        let _ = tokio::task::spawn_blocking(move || {
            let removed = engine.rooms.snapshots.remove(id.as_str());
            if let Err(error) = removed.or_else(|error| match error {
                tare_snapshot::Error::NoWritable(_) => Ok(()),
                other => Err(other),
            }) {
                tracing::warn!(container = %id, "what is left of it is removed at the next start of the daemon: {error}");
            }
            let _ = std::fs::remove_dir_all(engine.data_dir(&id));
            let _ = std::fs::remove_dir_all(engine.exec_dir(&id));
        })
        .await;
        self.engine.forget(&container.id, &container.name);
    }
}

impl Engine {
    /// Removes anonymous volumes that no container has any more, or that none ever got.
    pub(crate) async fn remove_volumes(&self, names: Vec<Name>) {
        for name in names {
            let mut batch = Batch::default();
            batch.unlease(UNFINISHED, &format!("volume/{name}"));
            self.rooms.store.commit_later(batch);
            if let Err(error) = self.rooms.volumes.remove(name.as_str(), true).await {
                tracing::warn!(volume = %name, "cannot remove an anonymous volume: {error}");
            }
        }
    }
}
