//! Containers for steps of a build: as isolated as any other, and nobody's but the build's. They are listed nowhere and
//! recorded nowhere, so that a daemon that is killed leaves what the next one takes for a creation that was cut short.

use std::sync::Arc;

use tare_model::{Id, Name};

use crate::container::{Container, ImageUse, State};
use crate::create::make_data_dir;
use crate::engine::{Engine, blocking};
use crate::options::RemoveOptions;
use crate::spec::{ContainerSpec, MountSource};
use crate::start::now;
use crate::task::Recorded;
use crate::{Error, Result, name};

impl Engine {
    /// Makes a container upon the layers of `base`, which need not be an image's. Volumes that `base` declares are plain
    /// directories in it, and of `spec.mounts` only those without a volume are taken. Its writable layer has the
    /// container's id as key; [`Engine::remove`] takes it away again, unless it was made a layer.
    ///
    /// # Errors
    /// As [`Engine::create`]; [`Error::InvalidSpec`] for a volume.
    pub async fn create_step(self: &Arc<Self>, base: ImageUse, spec: ContainerSpec) -> Result<Id> {
        spec.check(crate::host::cpus())?;
        let id = name::new_id()?;
        let name: Name = id.as_str().parse().map_err(|_| Error::ShuttingDown)?;
        let mut mounts = Vec::new();
        for mount in spec.mounts.clone() {
            if let MountSource::Volume { .. } = mount.source {
                return Err(Error::InvalidSpec("a step of a build mounts no volumes".to_owned()));
            }
            mounts.push(self.mount_point(mount, None, &mut Vec::new()).await?);
        }
        let (engine, key, top) = (self.clone(), id.clone(), base.top);
        blocking(move || {
            engine.rooms.snapshots.prepare(key.as_str(), top.as_ref())?;
            let made = make_data_dir(&engine.data_dir(&key));
            if made.is_err() {
                let _ = engine.rooms.snapshots.remove(key.as_str());
            }
            made
        })
        .await?;
        let container = Container {
            id: id.clone(),
            name,
            created: now(),
            spec: Arc::new(spec),
            image: Arc::new(base),
            mounts,
            state: State::default(),
            restart_count: 0,
            stopped_by_user: false,
            log_path: None,
            of_build: true,
        };
        self.adopt_record(container, Recorded::OnDisk);
        Ok(id)
    }

    /// Ends what steps of builds still run: unlike other containers they do not outlive the daemon.
    pub async fn end_steps(&self) {
        for container in self.index.all().into_iter().filter(|container| container.of_build) {
            let options = RemoveOptions { force: true, volumes: false };
            if let Err(error) = self.remove(container.id.as_str(), options).await {
                tracing::debug!(container = %container.id, "it is gone already: {error}");
            }
        }
    }
}
