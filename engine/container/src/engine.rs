use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tare_image::Images;
use tare_model::{Id, Name, Signal, Timestamp};
use tare_network::{Endpoint, Networks};
use tare_snapshot::Snapshots;
use tare_store::Store;
use tare_volume::Volumes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::accounts::KnownAccounts;
use crate::attachment::Attachment;
use crate::container::{Container, Status};
use crate::error::Step;
use crate::event::{Event, EventStream, Events};
use crate::exec::Session;
use crate::index::{Handle, Index};
use crate::logs::Notices;
use crate::options::{AttachOptions, Counts, RemoveOptions, StopOptions, WaitCondition, WaitResult};
use crate::spec::{LogSpec, Ulimit};
use crate::task::{Ending, Input, Recorded, Reply, Task};
use crate::{Error, Result};

/// Where container records are kept.
pub(crate) const TABLE: &str = "container";

/// Holds the anonymous volumes of containers that are being made or removed: those that a killed daemon leaves to it are
/// removed by the next one.
pub(crate) const UNFINISHED: &str = "unfinished";

/// What the daemon was configured with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything that lasts.
    pub data_root: PathBuf,
    /// What lasts as long as the machine is up.
    pub exec_root: PathBuf,
    /// The program `tare-runtime`.
    pub runtime: PathBuf,
    /// The program `tare-init`, statically linked.
    pub init: PathBuf,
    /// What containers get that do not say otherwise.
    pub defaults: Defaults,
}

/// What containers get that do not say otherwise.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The small init.
    pub init: bool,
    /// Limits of setrlimit(2).
    pub ulimits: Vec<Ulimit>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// resolv.conf(5) options.
    pub dns_options: Vec<String>,
    /// Where output goes; front ends begin their [`LogSpec`] with it.
    pub log: LogSpec,
}

/// The rooms below.
#[derive(Clone)]
pub struct Rooms {
    /// Records and leases.
    pub store: Arc<Store>,
    /// Layers and writable trees.
    pub snapshots: Arc<Snapshots>,
    /// Images.
    pub images: Arc<Images>,
    /// Networks.
    pub networks: Arc<Networks>,
    /// Volumes.
    pub volumes: Arc<Volumes>,
}

/// All containers of one daemon.
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) rooms: Rooms,
    pub(crate) sessions: Mutex<BTreeMap<Id, Arc<Session>>>,
    pub(crate) known_accounts: KnownAccounts,
    pub(crate) log_notices: Notices,
    events: Events,
    pub(crate) index: Index,
    /// The runtime's program, opened once through a mount that nobody can write to.
    runtime: OwnedFd,
}

impl Engine {
    /// Opens the engine of `config`, whose directories must exist. Containers of an earlier daemon are not known before
    /// [`Engine::reconcile`].
    pub async fn open(config: Config, rooms: Rooms) -> Result<Arc<Self>> {
        use std::os::unix::fs::DirBuilderExt;
        for dir in [
            config.exec_root.join("containers"),
            config.exec_root.join("seccomp"),
            config.data_root.join("containers"),
        ] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.step(|| format!("create {}", dir.display()))?;
        }
        let runtime = tare_sys::protect::protected_exe(&config.runtime)
            .step(|| format!("open {}", config.runtime.display()))?;
        let (sessions, known_accounts) = (Mutex::default(), KnownAccounts::default());
        let (events, index, log_notices) = (Events::new(), Index::default(), Notices::default());
        Ok(Arc::new(Self { config, rooms, sessions, known_accounts, log_notices, events, index, runtime }))
    }

    /// Starts a container.
    pub async fn start(&self, id: &str) -> Result<()> {
        self.ask(id, Input::Start).await
    }

    /// Sends the stop signal, waits, kills. [`Error::Already`] when it does not run.
    pub async fn stop(&self, id: &str, options: StopOptions) -> Result<()> {
        self.ask(id, |reply| Input::Stop(options, reply)).await
    }

    /// Stops if it runs, and starts.
    pub async fn restart(&self, id: &str, options: StopOptions) -> Result<()> {
        self.ask(id, |reply| Input::Restart(options, reply)).await
    }

    /// Sends a signal to the container's program.
    pub async fn kill(&self, id: &str, signal: Signal) -> Result<()> {
        self.ask(id, |reply| Input::Kill(signal, reply)).await
    }

    /// Freezes every process of the container.
    pub async fn pause(&self, id: &str) -> Result<()> {
        self.ask(id, Input::Pause).await
    }

    /// Lets them go on.
    pub async fn unpause(&self, id: &str) -> Result<()> {
        self.ask(id, Input::Resume).await
    }

    /// Gives another name.
    pub async fn rename(&self, id: &str, name: Name) -> Result<()> {
        self.ask(id, |reply| Input::Rename(name, reply)).await
    }

    /// Removes a container and what it wrote.
    pub async fn remove(&self, id: &str, options: RemoveOptions) -> Result<()> {
        self.ask(id, |reply| Input::Remove(options, reply)).await
    }

    /// Registers a wait; it is in force when this returns, and the future it gives ends with the condition.
    pub async fn wait(
        &self,
        id: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = WaitResult> + Send + 'static + use<>> {
        let handle = self.index.find(id)?;
        let (send, receive) = oneshot::channel();
        handle.send(Input::Wait(condition, send), id)?;
        let gone = || WaitResult {
            exit_code: 0,
            error: Some("the container was removed or the daemon ends".to_owned()),
        };
        Ok(async move { receive.await.unwrap_or_else(|_| gone()) })
    }

    /// Joins the streams of the container's program. Asked before the start, the stream waits for it and loses nothing.
    pub async fn attach(&self, id: &str, options: AttachOptions) -> Result<Attachment> {
        let handle = self.index.find(id)?;
        let (send, receive) = oneshot::channel();
        handle.send(Input::Attach(options, send), id)?;
        receive.await.map_err(|_| Error::NoSuchContainer(id.to_owned()))
    }

    /// Changes the size of the container's terminal.
    pub async fn resize(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let container = self.running(id)?;
        let request = tare_protocol::Request::Resize { session: None, rows, columns };
        crate::shim::ask(&container.id, &self.exec_dir(&container.id), &request).await?;
        Ok(())
    }

    /// The container of this id, beginning of an id, or name.
    pub fn inspect(&self, id: &str) -> Result<Arc<Container>> {
        Ok(self.index.find(id)?.container())
    }

    /// Every container but those that builds run their steps in, the newest first.
    pub fn list(&self) -> Vec<Arc<Container>> {
        let mut all = self.index.all();
        all.retain(|container| !container.of_build);
        all.sort_by_key(|container| std::cmp::Reverse(container.created));
        all
    }

    /// The container's place on its network, as long as it runs.
    pub fn endpoint(&self, id: &Id) -> Option<Endpoint> {
        self.rooms.networks.endpoint(id)
    }

    /// How many containers there are.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for container in self.list() {
            counts.total += 1;
            match container.state.status {
                Status::Running | Status::Restarting => counts.running += 1,
                Status::Paused => counts.paused += 1,
                _ => counts.stopped += 1,
            }
        }
        counts
    }

    /// Everything that happens from now on, after what is remembered since then.
    pub fn events(&self, since: Option<Timestamp>) -> EventStream {
        self.events.subscribe(since)
    }

    /// How many read events at the moment.
    pub fn event_listeners(&self) -> usize {
        self.events.listeners()
    }

    /// Tells those who read events; for what front ends do with images, networks and volumes.
    pub fn publish(&self, event: Event) {
        self.events.publish(event);
    }

    /// What the daemon was configured with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many processors the host has online.
    pub fn cpus(&self) -> usize {
        crate::host::cpus()
    }

    /// The images.
    pub fn images(&self) -> &Arc<Images> {
        &self.rooms.images
    }

    /// The networks.
    pub fn networks(&self) -> &Arc<Networks> {
        &self.rooms.networks
    }

    /// The volumes.
    pub fn volumes(&self) -> &Arc<Volumes> {
        &self.rooms.volumes
    }

    /// The snapshots.
    pub fn snapshots(&self) -> &Arc<Snapshots> {
        &self.rooms.snapshots
    }

    /// Where the runs of a container lie.
    pub(crate) fn exec_dir(&self, id: &Id) -> PathBuf {
        self.config.exec_root.join("containers").join(id.as_str())
    }

    /// Where a container's log and network files lie.
    pub(crate) fn data_dir(&self, id: &Id) -> PathBuf {
        self.config.data_root.join("containers").join(id.as_str())
    }

    pub(crate) fn runtime_fd(&self) -> BorrowedFd<'_> {
        self.runtime.as_fd()
    }

    /// The container, if its program runs.
    pub(crate) fn running(&self, id: &str) -> Result<Arc<Container>> {
        let container = self.inspect(id)?;
        if container.state.status.is_alive() {
            Ok(container)
        } else {
            Err(Error::NotRunning(container.id.clone()))
        }
    }

    /// Takes a removed container out of the index; its id and name are free again.
    pub(crate) fn forget(&self, id: &Id, name: &Name) {
        self.index.remove(id, name);
        self.forget_sessions_of(id);
    }

    /// Gives a container its task and makes it known.
    pub(crate) fn adopt_record(self: &Arc<Self>, container: Container, recorded: Recorded) {
        let (id, name) = (container.id.clone(), container.name.clone());
        let (inbox, received) = mpsc::unbounded_channel();
        let (publisher, view) = watch::channel(Arc::new(container));
        let task = Task {
            engine: self.clone(),
            view: publisher,
            recorded,
            inbox: received,
            run: None,
            waiters: Vec::new(),
            attaches: Vec::new(),
            ending: Ending::default(),
            restart_at: None,
            restart_wait: None,
            cleaning: None,
        };
        self.index.insert(id, name, Handle { inbox, view });
        tokio::spawn(task.run());
    }

    async fn ask<T>(&self, id: &str, input: impl FnOnce(Reply<T>) -> Input) -> Result<T> {
        let handle = self.index.find(id)?;
        let (send, receive) = oneshot::channel();
        handle.send(input(send), id)?;
        receive.await.unwrap_or_else(|_| Err(Error::NoSuchContainer(id.to_owned())))
    }
}

/// Under which name the store knows a container as the user of resources.
pub(crate) fn holder(id: &Id) -> String {
    format!("container/{id}")
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::ShuttingDown))
}
