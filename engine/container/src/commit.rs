//! A container seen as a difference to its image: told, exported, made an image of.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tare_image::{CommitRequest, Image, LayerRequest};
use tare_model::Reference;
use tare_oci::image::{ExecutionConfig, History};
use tare_snapshot::{Change, PackOptions};
use tare_store::Batch;

use crate::container::{Container, Status};
use crate::engine::{Engine, blocking};
use crate::error::Step;
use crate::reconcile::AT_START;
use crate::start::now;
use crate::written::written;
use crate::{Error, Result};

/// What the runtime makes in every container's tree so that there is something to mount upon.
const MOUNT_POINTS: [&str; 12] = [
    "/dev",
    "/dev/console",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sbin/docker-init",
    "/sys",
    "/sys/fs/cgroup",
];
/// Holds the containers that are paused for a commit.
const STANDING_STILL: &str = "standing-still";

/// How a container becomes an image.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// How the image is run.
    pub config: ExecutionConfig,
    /// Who made it.
    pub author: String,
    /// A remark.
    pub comment: String,
    /// Whether a running container stands still meanwhile, so that its files are of one moment.
    pub pause: bool,
    /// The image's names.
    pub names: Vec<Reference>,
}

impl Engine {
    /// What the container's tree has otherwise than its image, by path.
    pub async fn changes(self: &Arc<Self>, id: &str) -> Result<Vec<Change>> {
        let (engine, container) = (self.clone(), self.inspect(id)?);
        blocking(move || {
            Ok(engine.rooms.snapshots.changes(container.id.as_str(), &mount_points(&container))?)
        })
        .await
    }

    /// Makes an image of what the container has written upon its own. A container that was paused for it goes on also
    /// when the asker goes away.
    pub async fn commit(self: &Arc<Self>, id: &str, options: CommitOptions) -> Result<Image> {
        let (engine, container) = (self.clone(), self.inspect(id)?);
        let work = async move {
            let id = container.id.to_string();
            let paused = options.pause && container.state.status == Status::Running;
            let paused = paused && engine.stand_still(&id).await?;
            let image = commit(&engine, &container, options).await;
            if paused {
                engine.go_on(&id).await;
            }
            image
        };
        tokio::spawn(work).await.unwrap_or(Err(Error::ShuttingDown))
    }

    /// Pauses a container for as long as it is looked at, and notes that: a daemon that is killed meanwhile is followed by
    /// one that lets it go on. False where it does not run.
    async fn stand_still(self: &Arc<Self>, id: &str) -> Result<bool> {
        let mut batch = Batch::default();
        batch.lease(STANDING_STILL, &format!("container/{id}"));
        self.rooms.store.commit(batch).await?;
        let paused = self.pause(id).await.is_ok();
        if !paused {
            self.forget_standing(id).await;
        }
        Ok(paused)
    }

    async fn go_on(self: &Arc<Self>, id: &str) {
        if let Err(error) = self.unpause(id).await {
            tracing::warn!(container = %id, "cannot go on after a commit: {error}");
        }
        self.forget_standing(id).await;
    }

    async fn forget_standing(self: &Arc<Self>, id: &str) {
        let mut batch = Batch::default();
        batch.unlease(STANDING_STILL, &format!("container/{id}"));
        if let Err(error) = self.rooms.store.commit(batch).await {
            tracing::warn!(container = %id, "cannot note that it goes on: {error}");
        }
    }

    /// Lets those go on that an earlier daemon had paused for a commit. The start of the daemon does not wait for one whose
    /// shim does not answer.
    pub(crate) async fn let_all_go_on(self: &Arc<Self>) -> Result<()> {
        for resource in self.rooms.store.leases_of(STANDING_STILL)? {
            let id = resource.strip_prefix("container/").unwrap_or(&resource);
            if self.inspect(id).is_ok_and(|container| container.state.status == Status::Paused) {
                let (engine, id) = (self.clone(), id.to_owned());
                let going_on = tokio::spawn(async move { engine.go_on(&id).await });
                let _ = tokio::time::timeout(AT_START, going_on).await;
            } else {
                self.forget_standing(id).await;
            }
        }
        Ok(())
    }

    /// The container's whole tree as a tar, without what is mounted in it. Dropping the stream ends the work.
    pub async fn export(self: &Arc<Self>, id: &str) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        let (engine, container) = (self.clone(), self.inspect(id)?);
        let root =
            blocking(move || Ok(engine.rooms.snapshots.open_writable_root(container.id.as_str())?)).await?;
        written(move |to| root.export(to).map_err(io::Error::other)).step(|| "start a thread".to_owned())
    }
}

async fn commit(engine: &Engine, container: &Container, options: CommitOptions) -> Result<Image> {
    let images = &engine.rooms.images;
    let base = images.resolve(&container.image.id.to_string())?;
    let mut layers = images.layers_of(&base).await?;
    let pack = PackOptions { latest: None, mounted: mount_points(container) };
    let parent = container.image.top;
    let request = LayerRequest { key: container.id.to_string(), parent, take: false, pack };
    layers.push(images.commit_layer(request).await?);
    let mut config = (*base.config).clone();
    let created = Some(now());
    config.history.push(History {
        created,
        created_by: container.command_line().join(" "),
        author: options.author.clone(),
        comment: options.comment,
        empty_layer: false,
    });
    config.created = created;
    config.author = options.author;
    config.config = options.config;
    let request = CommitRequest { layers, config, parent: Some(base.id), names: options.names };
    Ok(images.commit(request).await?)
}

fn mount_points(container: &Container) -> Vec<PathBuf> {
    let own = container.mounts.iter().map(|mount| mount.target.clone());
    own.chain(MOUNT_POINTS.map(PathBuf::from)).collect()
}
