//! From a description to a container on disk. Whatever fails leaves nothing behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tare_image::Image;
use tare_model::{Digest, Id, Name};
use tare_store::{Batch, Submitted};
use tare_volume::Volume;

use crate::container::{Container, ImageUse, MountKind, MountPoint, State};
use crate::engine::{Engine, TABLE, UNFINISHED, blocking, holder};
use crate::error::Step;
use crate::event::{Event, EventKind};
use crate::options::{CreateOptions, Created, Promise};
use crate::spec::{ContainerSpec, MountSource, MountSpec, TmpfsOptions, check_target};
use crate::start::now;
use crate::task::Recorded;
use crate::{Error, Result, name};

/// How often a random name is tried before one with a number is enough.
const ATTEMPTS: u32 = 6;

/// More volumes than any image means to have; each is two directories and a record.
const MOST_VOLUMES: usize = 1000;

/// What a creation has made that its failure must take away.
struct Undo {
    id: Id,
    /// Anonymous volumes; a named one that somebody asked for stays, as in Docker.
    volumes: Vec<Name>,
}

impl Engine {
    /// Makes a container, on the disk as soon as is promised. Without a name it gets one. Of an image's platforms the wanted one
    /// is taken, where one is named.
    pub async fn create(self: &Arc<Self>, options: CreateOptions, spec: ContainerSpec) -> Result<Created> {
        let CreateOptions { name, platform, promise } = options;
        let warnings = spec.check(crate::host::cpus())?;
        let image = self.rooms.images.resolve_for(&spec.image, platform.as_ref())?;
        self.rooms.images.permit(&spec.image, &image)?;
        if crate::plan::command_line(&spec.command, &image.config.config).first().is_none_or(String::is_empty)
        {
            return Err(Error::InvalidSpec("no command specified".to_owned()));
        }
        let id = name::new_id()?;
        let name = self.take_name(name, &id)?;
        let mut undo = Undo { id: id.clone(), volumes: Vec::new() };
        match self.make(&mut undo, name.clone(), spec, &image, promise).await {
            Ok((container, recorded)) => {
                let event = Event::now(EventKind::Container, "create", id.as_str());
                let event = event.with("image", container.spec.image.clone()).with("name", name.as_str());
                let labels = container.spec.labels.clone();
                self.adopt_record(container, recorded);
                self.publish(labels.into_iter().fold(event, |event, (key, value)| event.with(key, value)));
                Ok(Created { id, warnings })
            }
            Err(error) => {
                self.index.release(&name);
                self.unmake(undo).await;
                Err(error)
            }
        }
    }

    fn take_name(&self, wanted: Option<Name>, id: &Id) -> Result<Name> {
        if let Some(name) = wanted {
            self.index.reserve(&name, id)?;
            return Ok(name);
        }
        let mut last = Err(Error::ShuttingDown);
        for attempt in 0..ATTEMPTS {
            let name = name::invent(attempt)?;
            last = self.index.reserve(&name, id).map(|()| name);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    async fn make(
        self: &Arc<Self>,
        undo: &mut Undo,
        name: Name,
        spec: ContainerSpec,
        image: &Image,
        promise: Promise,
    ) -> Result<(Container, Recorded)> {
        let id = undo.id.clone();
        let (engine, key, top) = (self.clone(), id.clone(), image.top_layer().copied());
        let prepared = tokio::task::spawn_blocking(move || -> Result<()> {
            engine.rooms.snapshots.prepare(key.as_str(), top.as_ref())?;
            make_data_dir(&engine.data_dir(&key))
        });
        let mounts = self.mount_points(&spec, image, &mut undo.volumes).await;
        prepared.await.unwrap_or(Err(Error::ShuttingDown))?;
        let mounts = mounts?;
        let log = self.data_dir(&id).join(format!("{id}-json.log"));
        let container = Container {
            id,
            name,
            created: now(),
            log_path: spec.lifecycle.log.enabled.then_some(log),
            image: Arc::new(ImageUse { id: image.id, top, config: image.config.config.clone() }),
            spec: Arc::new(spec),
            mounts,
            state: State::default(),
            restart_count: 0,
            stopped_by_user: false,
            of_build: false,
        };
        let submitted = self.record(&container, image)?;
        let recorded = match promise {
            Promise::WithId => {
                submitted.durable().await?;
                Recorded::OnDisk
            }
            Promise::WithStart => Recorded::OnItsWay(submitted),
        };
        Ok((container, recorded))
    }

    fn record(&self, container: &Container, image: &Image) -> Result<Submitted> {
        let mut batch = Batch::default();
        let holder = holder(&container.id);
        batch.put(TABLE, container.id.as_str(), container);
        self.rooms.images.keep(&mut batch, &holder, image);
        for mount in &container.mounts {
            if let MountKind::Volume { name, .. } = &mount.kind {
                let volume = format!("volume/{name}");
                // Removed or pruned since it was made: then the commit fails instead of leaving a lease on nothing.
                batch.only_if("volume", name.as_str()).lease(&holder, &volume).unlease(UNFINISHED, &volume);
            }
        }
        Ok(self.rooms.store.submit(batch)?)
    }

    /// Takes back what a failed creation left.
    async fn unmake(self: &Arc<Self>, Undo { id, volumes }: Undo) {
        self.remove_volumes(volumes).await;
        let engine = self.clone();
        let undone = blocking(move || {
            let _ = std::fs::remove_dir_all(engine.data_dir(&id));
            Ok(engine.rooms.snapshots.remove(id.as_str())?)
        });
        if let Err(error) = undone.await {
            tracing::debug!(
                "what a failed creation left is removed at the next start of the daemon: {error}"
            );
        }
    }

    /// Decides what is mounted where and makes the volumes that are missing.
    /// Anonymous ones go to `made` as soon as they are there.
    async fn mount_points(
        self: &Arc<Self>,
        spec: &ContainerSpec,
        image: &Image,
        made: &mut Vec<Name>,
    ) -> Result<Vec<MountPoint>> {
        let mut points = Vec::new();
        for mount in all_mounts(spec, image)? {
            points.push(self.mount_point(mount, image.top_layer().copied(), made).await?);
        }
        Ok(points)
    }

    /// `top` is the highest layer of what the container is made from.
    pub(crate) async fn mount_point(
        self: &Arc<Self>,
        mount: MountSpec,
        top: Option<Digest>,
        made: &mut Vec<Name>,
    ) -> Result<MountPoint> {
        let MountSpec { target, source, read_only } = mount;
        let mut propagation = String::new();
        let kind = match source {
            MountSource::Tmpfs(tmpfs) => MountKind::Tmpfs { options: tmpfs_words(&tmpfs) },
            MountSource::Overlay { options } => MountKind::Overlay { options },
            MountSource::Bind { path, create, propagation: wanted, non_recursive } => {
                if !create && std::fs::symlink_metadata(&path).is_err() {
                    let message = format!(
                        "invalid mount config for type \"bind\": bind source path does not exist: {}",
                        path.display()
                    );
                    return Err(Error::InvalidSpec(message));
                }
                propagation = wanted.word().to_owned();
                MountKind::Bind { source: path, non_recursive }
            }
            MountSource::Volume { name, driver, options, labels, no_copy } => {
                let anonymous = name.is_none();
                let (volumes, driver) = (&self.rooms.volumes, driver.as_deref().unwrap_or("local"));
                let volume = match name {
                    Some(name) => volumes.create(Some(name), driver, options, labels).await?,
                    None => volumes.create_held(UNFINISHED, driver, options, labels).await?,
                };
                if anonymous {
                    made.push(volume.name.clone());
                }
                if !no_copy && let Some(top) = top {
                    self.populate(&volume, top, &target).await?;
                }
                MountKind::Volume { source: self.rooms.volumes.path(&volume), name: volume.name, anonymous }
            }
        };
        Ok(MountPoint { target, kind, writable: !read_only, propagation })
    }
}

impl Engine {
    /// An empty volume begins with what the image has at the place where it is mounted.
    async fn populate(self: &Arc<Self>, volume: &Volume, top: Digest, target: &Path) -> Result<()> {
        let (engine, target) = (self.clone(), target.to_owned());
        let directory =
            blocking(move || Ok(engine.rooms.snapshots.open_root(Some(&top))?.open_directory(&target)?))
                .await?;
        if let Some(directory) = directory {
            self.rooms.volumes.populate(volume, directory).await?;
        }
        Ok(())
    }
}

pub(crate) fn make_data_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o710).create(dir).step(|| format!("create {}", dir.display()))
}

/// What the user asked for, and an anonymous volume for every place that the image declares one for and nothing else is
/// mounted at. The image's paths are nobody's to trust (CVE-2022-23648): they are cleaned like the user's.
fn all_mounts(spec: &ContainerSpec, image: &Image) -> Result<Vec<MountSpec>> {
    let declared = image.config.config.volumes.iter().flatten().count();
    if declared > MOST_VOLUMES {
        let why = format!("the image {} declares {declared} volumes, more than {MOST_VOLUMES}", spec.image);
        return Err(Error::InvalidSpec(why));
    }
    let mut mounts: BTreeMap<PathBuf, MountSpec> = BTreeMap::new();
    for target in image.config.config.volumes.iter().flatten().map(|(target, _)| target) {
        let target = check_target(target)?;
        let source = MountSource::Volume {
            name: None,
            driver: None,
            options: BTreeMap::new(),
            labels: BTreeMap::from([("com.docker.volume.anonymous".to_owned(), String::new())]),
            no_copy: false,
        };
        mounts.insert(target.clone(), MountSpec { target, source, read_only: false });
    }
    for mount in &spec.mounts {
        let target = check_target(&mount.target.to_string_lossy())?;
        mounts.insert(target.clone(), MountSpec { target, ..mount.clone() });
    }
    Ok(mounts.into_values().collect())
}

fn tmpfs_words(tmpfs: &TmpfsOptions) -> Vec<String> {
    let size = tmpfs.size.map(|size| format!("size={size}"));
    let mode = tmpfs.mode.map(|mode| format!("mode={mode:o}"));
    tmpfs.options.iter().cloned().chain(size).chain(mode).collect()
}
