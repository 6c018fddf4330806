//! One task owns one container. It alone changes the record, persists it and tells who waits.
//!
//! ```text
//!              start ok                 pause
//!   created ──────────────► running ◄────────► paused
//!      ▲  start failed │       │ exited           │ exited
//!      └───────────────┘       ▼                  ▼
//!   removed ◄──────────── exited ◄──────────── (the shim's word)
//!              remove         │ ▲
//!                policy: wait ▼ │ stop
//!                         restarting ──► running
//! ```

use std::sync::Arc;
use std::time::Duration;

use tare_model::{Name, Signal};
use tare_protocol::{self as protocol, Request};
use tare_store::{Batch, Submitted};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::attachment::{Attachment, Joined};
use crate::container::{Container, Status};
use crate::engine::Engine;
use crate::event::{Event, EventKind};
use crate::options::{AttachOptions, RemoveOptions, StopOptions, StopTimeout, WaitCondition, WaitResult};
use crate::run::Run;
use crate::{Error, Result};

/// Who asked, and gets an answer. Dropped without an answer, the asker learns that the container is gone.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// Everything that can be asked of a container's task.
pub(crate) enum Input {
    Start(Reply<()>),
    Stop(StopOptions, Reply<()>),
    Restart(StopOptions, Reply<()>),
    Kill(Signal, Reply<()>),
    Pause(Reply<()>),
    Resume(Reply<()>),
    Rename(Name, Reply<()>),
    Remove(RemoveOptions, Reply<()>),
    Wait(WaitCondition, oneshot::Sender<WaitResult>),
    Attach(AttachOptions, oneshot::Sender<Attachment>),
    /// After a restart of the daemon: finds the shim, if it lives, and says whether the container does.
    Adopt(oneshot::Sender<bool>),
    /// After a restart of the daemon: starts the container if its policy says so.
    Boot,
}

/// The state of a container's task.
pub(crate) struct Task {
    pub engine: Arc<Engine>,
    pub view: watch::Sender<Arc<Container>>,
    pub recorded: Recorded,
    pub inbox: mpsc::UnboundedReceiver<Input>,
    /// The shim, while there is one.
    pub run: Option<Run>,
    pub waiters: Vec<(WaitCondition, oneshot::Sender<WaitResult>)>,
    /// Attached before the start.
    pub attaches: Vec<(AttachOptions, oneshot::Sender<Joined>)>,
    /// What was asked for and comes true when the run has ended.
    pub ending: Ending,
    /// Between an exit and the next start by the policy.
    pub restart_at: Option<Instant>,
    /// The last wait of that kind.
    pub restart_wait: Option<Duration>,
    /// The removal of the last run's directory.
    pub cleaning: Option<tokio::task::JoinHandle<()>>,
}

/// Whether the container's first record is on the disk.
pub(crate) enum Recorded {
    OnDisk,
    OnItsWay(Submitted),
    /// It never came there: the container is nobody's and cannot stay.
    Lost,
}

impl Recorded {
    /// Waits for it.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        if let Self::OnItsWay(submitted) = std::mem::replace(self, Self::Lost) {
            submitted.durable().await?;
        }
        *self = Self::OnDisk;
        Ok(())
    }
}

/// What follows the end of the run.
#[derive(Default)]
pub(crate) struct Ending {
    /// When patience ends and the program is killed.
    pub kill_at: Option<Instant>,
    pub stops: Vec<Reply<()>>,
    pub restarts: Vec<Reply<()>>,
    pub removes: Vec<(RemoveOptions, Reply<()>)>,
}

impl Ending {
    /// Whether somebody wanted the program to end and stay down.
    pub(crate) fn is_wanted(&self) -> bool {
        !(self.stops.is_empty() && self.removes.is_empty())
    }
}

enum Next {
    Input(Input),
    Shim(Result<Option<protocol::Event>>),
    Deadline,
}

impl Task {
    /// Works until the container is removed.
    pub(crate) async fn run(mut self) {
        loop {
            let deadline = self.ending.kill_at.into_iter().chain(self.restart_at).min();
            let next = tokio::select! {
                biased;
                event = next_event(&mut self.run) => Next::Shim(event),
                input = self.inbox.recv() => match input {
                    Some(input) => Next::Input(input),
                    None => return,
                },
                () = at(deadline) => Next::Deadline,
            };
            match next {
                Next::Input(input) => self.take(input).await,
                Next::Shim(event) => self.hear(event).await,
                Next::Deadline => self.late().await,
            }
            if self.is_removed() {
                return;
            }
        }
    }

    /// The container as it is now.
    pub(crate) fn container(&self) -> Arc<Container> {
        self.view.borrow().clone()
    }

    /// Changes the record: readers see it at once, the disk soon.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Container)) {
        let mut container = (*self.container()).clone();
        change(&mut container);
        if !container.of_build {
            let mut batch = Batch::default();
            batch.put(crate::engine::TABLE, container.id.as_str(), &container);
            self.engine.rooms.store.commit_later(batch);
        }
        self.view.send_replace(Arc::new(container));
    }

    /// Tells the world.
    pub(crate) fn publish(&self, action: &str, attributes: &[(&str, String)]) {
        let container = self.container();
        if container.of_build {
            return;
        }
        let mut event = Event::now(EventKind::Container, action, container.id.as_str())
            .with("image", container.spec.image.clone())
            .with("name", container.name.as_str());
        event.attributes.extend(container.spec.labels.clone());
        event.attributes.extend(attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.engine.publish(event);
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Start(reply) => {
                let result = self.start_by_hand().await;
                let failed = result.is_err();
                let _ = reply.send(result);
                if failed {
                    self.remove_after_failed_start().await;
                }
            }
            Input::Stop(options, reply) => self.stop(options, reply).await,
            Input::Restart(options, reply) => self.restart(options, reply).await,
            Input::Kill(signal, reply) => drop(reply.send(self.kill(signal).await)),
            Input::Pause(reply) => drop(reply.send(self.pause(true).await)),
            Input::Resume(reply) => drop(reply.send(self.pause(false).await)),
            Input::Rename(name, reply) => drop(reply.send(self.rename(name).await)),
            Input::Remove(options, reply) => self.remove(options, reply).await,
            Input::Wait(condition, reply) => self.wait(condition, reply),
            Input::Attach(options, reply) => self.attach(options, reply).await,
            Input::Adopt(reply) => drop(reply.send(self.adopt().await)),
            Input::Boot => self.boot().await,
        }
    }

    pub(crate) async fn hear(&mut self, event: Result<Option<protocol::Event>>) {
        match event {
            Ok(Some(protocol::Event::Oom)) => {
                self.change(|container| container.state.oom_killed = true);
                self.publish("oom", &[]);
            }
            Ok(Some(protocol::Event::ExecExited { id, exit_code })) => self.exec_ended(&id, exit_code).await,
            Ok(Some(protocol::Event::Exited(exit))) => self.ended(exit).await,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => self.shim_lost().await,
        }
    }

    async fn late(&mut self) {
        let now = Instant::now();
        if self.ending.kill_at.is_some_and(|at| at <= now) {
            self.ending.kill_at = None;
            if let Err(error) = self.signal(Signal::KILL).await
                && !matches!(error, Error::NotRunning(_))
            {
                tracing::warn!(container = %self.container().id, "cannot kill a program that did not stop: {error}");
            }
        }
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_at = None;
            self.start_by_policy().await;
        }
    }

    fn wait(&mut self, condition: WaitCondition, reply: oneshot::Sender<WaitResult>) {
        let container = self.container();
        let runs = container.state.status.is_alive() || container.state.status == Status::Restarting;
        if condition == WaitCondition::NotRunning && !runs {
            let _ = reply.send(WaitResult { exit_code: container.state.exit_code, error: None });
            return;
        }
        self.waiters.retain(|(_, waiter)| !waiter.is_closed());
        self.waiters.push((condition, reply));
    }

    async fn attach(&mut self, options: AttachOptions, reply: oneshot::Sender<Attachment>) {
        let attachment = match &self.run {
            Some(run) if self.container().state.status.is_alive() => {
                run.attach(options).await.ok().map(Attachment::joined)
            }
            _ => None,
        };
        self.publish("attach", &[]);
        if let Some(attachment) = attachment {
            let _ = reply.send(attachment);
            return;
        }
        let (send, receive) = oneshot::channel();
        self.attaches.retain(|(_, waiting)| !waiting.is_closed());
        self.attaches.push((options, send));
        let _ = reply.send(Attachment::waiting(receive));
    }

    async fn stop(&mut self, options: StopOptions, reply: Reply<()>) {
        match self.begin_stop(options).await {
            Ok(()) => self.ending.stops.push(reply),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Sends the stop signal and sets the deadline; an error when there is nothing to wait for.
    async fn begin_stop(&mut self, options: StopOptions) -> Result<()> {
        let container = self.container();
        if container.state.status == Status::Restarting {
            self.restart_at = None;
            self.change(|container| {
                container.state.status = Status::Exited;
                container.stopped_by_user = true;
            });
            self.notify_stopped(&WaitResult { exit_code: container.state.exit_code, error: None });
            return Err(Error::Already(container.id.clone(), "stopped"));
        }
        if self.run.is_none() || !container.state.status.is_alive() {
            return Err(Error::Already(container.id.clone(), "stopped"));
        }
        let lifecycle = &container.spec.lifecycle;
        let of_image = container.image.config.stop_signal.as_deref().and_then(|text| text.parse().ok());
        let signal = options.signal.or(lifecycle.stop_signal).or(of_image).unwrap_or(Signal::TERM);
        let seconds = lifecycle.stop_timeout.unwrap_or(DEFAULT_STOP_SECONDS);
        let timeout = options.timeout.unwrap_or(StopTimeout::from_seconds(seconds));
        self.change(|container| container.stopped_by_user = true);
        match self.signal(signal).await {
            Err(Error::NotRunning(id)) => return Err(Error::Already(id, "stopped")),
            // It cannot be asked politely: what follows at the end of patience does not need the shim.
            Err(Error::ShimLost(..)) => {}
            sent => sent?,
        }
        if let StopTimeout::After(patience) = timeout {
            let at = Instant::now() + patience;
            self.ending.kill_at = Some(self.ending.kill_at.map_or(at, |earlier| earlier.min(at)));
        }
        Ok(())
    }

    async fn restart(&mut self, options: StopOptions, reply: Reply<()>) {
        if self.begin_stop(options).await.is_ok() {
            self.ending.restarts.push(reply);
            return;
        }
        let result = self.start_by_hand().await;
        self.publish("restart", &[]);
        let _ = reply.send(result);
    }

    async fn kill(&mut self, signal: Signal) -> Result<()> {
        let container = self.container();
        if container.state.status == Status::Restarting && signal == Signal::KILL {
            return match self.begin_stop(StopOptions::default()).await {
                Ok(()) | Err(Error::Already(..)) => Ok(()),
                Err(error) => Err(error),
            };
        }
        let not_running = || {
            let (name, id) = (&container.name, &container.id);
            Error::State(format!("cannot kill container: {name}: container {id} is not running"))
        };
        if self.run.is_none() || !container.state.status.is_alive() {
            return Err(not_running());
        }
        self.publish("kill", &[("signal", signal.number().to_string())]);
        let stop_signal = container.spec.lifecycle.stop_signal.unwrap_or(Signal::TERM);
        if signal == Signal::KILL || signal == stop_signal {
            self.change(|container| container.stopped_by_user = true);
        }
        self.signal(signal).await.map_err(|error| match error {
            Error::NotRunning(_) => not_running(),
            other => other,
        })
    }

    /// A frozen program gets the signal, too: it is let go on after it.
    pub(crate) async fn signal(&mut self, signal: Signal) -> Result<()> {
        let paused = self.container().state.status == Status::Paused;
        match self.ask_shim(&Request::Kill { session: None, signal: signal.number(), all: false }).await {
            Err(Error::ShimLost(..)) if signal == Signal::KILL => {
                self.end_by_force().await;
                return Ok(());
            }
            sent => sent?,
        }
        if !paused {
            return Ok(());
        }
        match self.ask_shim(&Request::Resume).await {
            Ok(()) => self.change(|container| container.state.status = Status::Running),
            // It got the signal, and that was its end.
            Err(Error::NotRunning(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn pause(&mut self, paused: bool) -> Result<()> {
        let container = self.container();
        if self.run.is_none() || !container.state.status.is_alive() {
            return Err(Error::NotRunning(container.id.clone()));
        }
        let (request, status, action) = match (paused, container.state.status) {
            (true, Status::Paused) => {
                return Err(Error::State(format!("container {} is already paused", container.id)));
            }
            (false, Status::Running) => {
                return Err(Error::State(format!("Container {} is not paused", container.id)));
            }
            (true, _) => (Request::Pause, Status::Paused, "pause"),
            (false, _) => (Request::Resume, Status::Running, "unpause"),
        };
        self.ask_shim(&request).await?;
        self.change(|container| container.state.status = status);
        self.publish(action, &[]);
        Ok(())
    }

    async fn rename(&mut self, name: Name) -> Result<()> {
        let container = self.container();
        self.engine.index.rename(&container.id, &container.name, &name)?;
        self.change(|container| container.name = name.clone());
        self.publish("rename", &[("oldName", format!("/{}", container.name))]);
        Ok(self.engine.rooms.store.flush().await?)
    }

    /// Tells those who wait for the end of a run.
    pub(crate) fn notify_stopped(&mut self, result: &WaitResult) {
        let (stopped, rest) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|(condition, _): &(WaitCondition, _)| *condition != WaitCondition::Removed);
        self.waiters = rest;
        let stopped: Vec<(WaitCondition, oneshot::Sender<WaitResult>)> = stopped;
        stopped.into_iter().for_each(|(_, waiter)| drop(waiter.send(result.clone())));
    }

    fn is_removed(&self) -> bool {
        self.engine.index.get(&self.view.borrow().id).is_none()
    }
}

/// Docker's.
const DEFAULT_STOP_SECONDS: i64 = 10;

pub(crate) async fn next_event(run: &mut Option<Run>) -> Result<Option<protocol::Event>> {
    match run {
        Some(run) => run.next_event().await,
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
