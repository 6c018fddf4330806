//! From a created container to a running program: every step that leaves something behind has its inverse beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tare_model::{Id, Timestamp};
use tare_network::EndpointRequest;
use tare_protocol::{Event, Phase, Request, State};
use tokio::net::UnixStream;

use crate::attachment::Joined;
use crate::container::{Container, Status};
use crate::engine::Engine;
use crate::error::Step;
use crate::plan::Joined as Namespaces;
use crate::prepare::Preparation;
use crate::run::{Run, attach, reap, spawn_shim};
use crate::shim::Connection;
use crate::spec::{NamespaceMode, NetworkMode};
use crate::task::{Recorded, Task};
use crate::{Error, Result};

/// How long init may prepare itself. Others can stop it in a pid namespace that is theirs, too, and its mounts can hang.
const PREPARATION: Duration = Duration::from_secs(120);

/// What has been done of a start, so that a failing one can be undone backwards.
#[derive(Default)]
struct Undo {
    network: bool,
    dir: Option<PathBuf>,
    /// The shim's process, as long as nobody watches it.
    shim: Option<i32>,
    run: Option<Run>,
}

impl Undo {
    async fn undo(self, engine: &Engine, id: &Id) {
        if let Some(run) = self.run {
            run.abort().await;
        }
        // A shim that nobody ever watched ends by itself when its parent does not come.
        if let Some(pid) = self.shim.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            reap(self.shim).await;
        }
        if self.network
            && let Err(error) = engine.rooms.networks.release(id).await
        {
            tracing::warn!(container = %id, "cannot give back what a failed start had of the network: {error}");
        }
        if let Some(dir) = self.dir {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

impl Task {
    /// A start that a client asked for.
    pub(crate) async fn start_by_hand(&mut self) -> Result<()> {
        let container = self.container();
        match container.state.status {
            Status::Running => return Err(Error::Already(container.id.clone(), "running")),
            Status::Paused => {
                return Err(Error::State("cannot start a paused container, try unpause instead".to_owned()));
            }
            Status::Removing | Status::Dead => {
                return Err(Error::State("container is marked for removal and cannot be started".to_owned()));
            }
            Status::Created | Status::Restarting | Status::Exited => {}
        }
        self.restart_at = None;
        self.restart_wait = None;
        self.start(0).await
    }

    /// Starts the program and records how that went. `restarts` = how many of its starts came from the policy.
    pub(crate) async fn start(&mut self, restarts: u32) -> Result<()> {
        if let Some(cleaning) = self.cleaning.take() {
            let _ = cleaning.await;
        }
        let container = self.container();
        let mut undo = Undo::default();
        let begun = Begun { undo: &mut undo, attaches: &mut self.attaches, recorded: &mut self.recorded };
        match launch(&self.engine, &container, begun).await {
            Ok((pid, started_at)) => {
                self.run = undo.run.take();
                self.change(|container| {
                    container.restart_count = restarts;
                    container.stopped_by_user = false;
                    let state = &mut container.state;
                    (state.status, state.pid, state.started_at) = (Status::Running, Some(pid), started_at);
                    (state.exit_code, state.oom_killed) = (0, false);
                    state.error.clear();
                });
                self.publish("start", &[]);
                Ok(())
            }
            Err(error) => {
                undo.undo(&self.engine, &container.id).await;
                self.record_failed_start(&error);
                Err(error)
            }
        }
    }

    fn record_failed_start(&self, error: &Error) {
        let exit_code = match error {
            Error::Start { exit_code, .. } => *exit_code,
            _ => 128,
        };
        self.change(|container| {
            let state = &mut container.state;
            (state.exit_code, state.error, state.pid) = (exit_code, error.to_string(), None);
            if state.status != Status::Created {
                state.status = Status::Exited;
            }
        });
    }
}

type Attaches = Vec<(crate::AttachOptions, tokio::sync::oneshot::Sender<Joined>)>;

/// What a start takes along.
struct Begun<'a> {
    undo: &'a mut Undo,
    attaches: &'a mut Attaches,
    recorded: &'a mut Recorded,
}

async fn launch(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    begun: Begun<'_>,
) -> Result<(i32, Timestamp)> {
    let Begun { undo, attaches, recorded } = begun;
    let networks = &engine.rooms.networks;
    let joined = join(engine, container)?;
    let dir = engine.exec_dir(&container.id);
    let mut endpoint = None;
    if let Some(request) = endpoint_request(container) {
        undo.network = true;
        endpoint = Some(networks.allocate(&container.id, request).await?);
    }
    let reserved = networks.take_reserved(&container.id);
    undo.dir = Some(dir.clone());
    let (pid, stream) = {
        let (engine, container, dir) = (engine.clone(), container.clone(), dir.clone());
        let prepared = move || {
            Preparation { engine: &engine, container: &container, dir: &dir, reserved: reserved.len() }
                .write(&joined, endpoint.as_ref())?;
            spawn_shim(engine.runtime_fd(), &dir, &reserved)
        };
        crate::engine::blocking(prepared).await?
    };
    undo.shim = Some(pid);
    let stream = UnixStream::from_std(stream).step(|| "wait for the shim".to_owned())?;
    let (watch, state) = Connection::over(&container.id, stream).watch().await?;
    undo.shim = None;
    let run = undo.run.insert(Run { container: container.id.clone(), dir, watch, shim: Some(pid) });
    let ready = bring_up(engine, run, &state, undo.network, attaches);
    let (pid, recorded) = tokio::join!(ready, recorded.settle());
    let pid = pid?;
    recorded?;
    run.ask(&Request::Start).await?;
    let at = expect(run, |event| if let Event::Started { at } = event { Some(at) } else { None }).await?;
    Ok((pid, at))
}

/// Follows the shim until the program can run: the network is connected while init mounts its root. `state` is how far it was
/// when we connected, and events tell what came after.
async fn bring_up(
    engine: &Engine,
    run: &mut Run,
    state: &State,
    network: bool,
    attaches: &mut Attaches,
) -> Result<i32> {
    let (id, dir) = (run.container.clone(), run.dir.clone());
    if let Some((message, exit_code)) = state.failed.clone() {
        return Err(Error::Start { message, exit_code: exit_code.into() });
    }
    let pid = match state.pid {
        Some(pid) => pid,
        None => expect(run, |event| if let Event::Pid { pid } = event { Some(pid) } else { None }).await?,
    };
    let connect = async {
        if network { engine.rooms.networks.connect(&id, pid).await.map_err(Error::from) } else { Ok(()) }
    };
    let ready = async {
        match state.phase {
            Phase::Creating => {
                let ready = expect(run, |event| matches!(event, Event::Ready).then_some(()));
                match tokio::time::timeout(PREPARATION, ready).await {
                    Ok(ready) => ready,
                    Err(_) => Err(Error::State(format!(
                        "it was not ready to run within {} s",
                        PREPARATION.as_secs()
                    ))),
                }
            }
            Phase::Ready | Phase::Running | Phase::Exited => Ok(()),
        }
    };
    // Streams are joined meanwhile, and told of when the start cannot fail any more but by the program itself.
    let (connected, ready, joined) = tokio::join!(connect, ready, join_streams(&id, &dir, attaches));
    ready?;
    connected?;
    for ((_, waiting), joined) in std::mem::take(attaches).into_iter().zip(joined) {
        if let Some(joined) = joined {
            let _ = waiting.send(joined?);
        }
    }
    Ok(pid)
}

/// The streams that were asked for before the start, but those that nobody waits for any more.
async fn join_streams(id: &Id, dir: &Path, attaches: &Attaches) -> Vec<Option<Result<Joined>>> {
    let mut all = Vec::with_capacity(attaches.len());
    for (options, waiting) in attaches {
        let wanted = !waiting.is_closed();
        all.push(if wanted { Some(attach(id, dir, None, *options).await) } else { None });
    }
    all
}

/// Reads events up to the wanted one; an error when the shim says that it cannot come any more.
async fn expect<T>(run: &mut Run, wanted: impl Fn(Event) -> Option<T>) -> Result<T> {
    loop {
        match run.next_event().await? {
            Some(Event::Failed { message, exit_code }) => {
                return Err(Error::Start { message, exit_code: exit_code.into() });
            }
            Some(Event::Exited(exit)) => {
                let message =
                    exit.error.unwrap_or_else(|| "the container ended before its program ran".to_owned());
                return Err(Error::Start { message, exit_code: exit.exit_code });
            }
            Some(event) => {
                if let Some(found) = wanted(event) {
                    return Ok(found);
                }
            }
            None => return Err(Error::ShimLost(run.container.clone(), last_words(&run.dir))),
        }
    }
}

/// The end of what the shim wrote to its standard error.
fn last_words(dir: &Path) -> String {
    let log = std::fs::read_to_string(dir.join("shim.log")).unwrap_or_default();
    let words = log.trim().lines().last().unwrap_or_default().to_owned();
    if words.is_empty() { "it ended without a word".to_owned() } else { words }
}

/// What the container asks of its network; nothing when it shares another's.
fn endpoint_request(container: &Container) -> Option<EndpointRequest> {
    let spec = &container.spec.network;
    let network = match &spec.mode {
        NetworkMode::Container(_) => return None,
        mode => mode.to_string(),
    };
    Some(EndpointRequest {
        network,
        name: container.name.to_string(),
        ip: spec.address,
        mac: spec.mac.clone(),
        ports: spec.published.clone(),
        exposed: exposed(container),
        publish_all: spec.publish_all,
    })
}

fn exposed(container: &Container) -> Vec<(u16, tare_network::Protocol)> {
    let of_image = container.image.config.exposed_ports.iter().flatten().filter_map(|(text, _)| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Some((port.parse().ok()?, protocol.parse().ok()?))
    });
    let mut ports: Vec<_> = container.spec.network.exposed.iter().copied().chain(of_image).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Finds the namespaces that the container shares with others, which must be running.
fn join(engine: &Engine, container: &Container) -> Result<Namespaces> {
    let mut joined = Namespaces::default();
    let running = |name: &str| -> Result<Arc<Container>> {
        let other = engine.inspect(name)?;
        if other.state.pid.is_some() {
            Ok(other)
        } else {
            Err(Error::State(format!("cannot join namespaces of a non running container: {}", other.id)))
        }
    };
    let namespace =
        |other: &Container, kind| other.state.pid.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/{kind}")));
    if let NetworkMode::Container(name) = &container.spec.network.mode {
        let other = running(name)?;
        joined.network = namespace(&other, "net");
        joined.hostname =
            Some(other.spec.identity.hostname.clone().unwrap_or_else(|| other.id.short().to_owned()));
        joined.network_files = Some(engine.data_dir(&other.id));
    }
    if let NamespaceMode::Container(name) = &container.spec.namespaces.pid {
        joined.pid = namespace(&*running(name)?, "pid");
    }
    Ok(joined)
}

/// This moment.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}
