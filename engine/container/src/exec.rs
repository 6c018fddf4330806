//! Further processes in a running container.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use tare_model::Id;
use tare_oci::runtime::Process;
use tare_protocol::{Request, Response};
use tokio::sync::watch;

use crate::attachment::Attachment;
use crate::container::{Container, Status};
use crate::engine::{Engine, blocking};
use crate::error::Step;
use crate::event::{Event, EventKind};
use crate::options::{AttachOptions, Exec, ExecSpec};
use crate::task::Task;
use crate::user::{self, Accounts};
use crate::{Error, Result, name, plan, run, shim};

/// How many sessions that have ended are remembered.
const KEPT: usize = 1024;
/// How many may be prepared and not begun, before the ones that were prepared first are forgotten.
const PREPARED: usize = 1024;

/// An exec session, from its creation on.
pub(crate) struct Session {
    pub id: Id,
    pub container: Id,
    pub spec: Arc<ExecSpec>,
    created: Instant,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    started: bool,
    /// A client is about to join its streams: the shim must remember it until then, however soon it ends.
    joining: bool,
    pid: Option<i32>,
    exit_code: Option<i32>,
    ended: Option<Instant>,
}

impl Progress {
    fn end(&mut self, exit_code: i32) {
        (self.exit_code, self.ended) = (Some(exit_code), Some(Instant::now()));
    }
}

impl Session {
    fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(change);
    }

    /// Marks it as started, once.
    fn begin(&self, joining: bool) -> Result<()> {
        let begun = self.progress.send_if_modified(|progress| {
            let first = !progress.started;
            if first {
                (progress.started, progress.joining) = (true, joining);
            }
            first
        });
        match self.progress().exit_code {
            _ if begun => Ok(()),
            Some(_) => Err(Error::State(format!("Error: Exec command {} has already run", self.id))),
            None => Err(Error::State(format!("Error: Exec command {} is already running", self.id))),
        }
    }

    /// Resolves once it is known how the process ended, so that a client that saw its output end can ask for the code.
    fn ended(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut progress = self.progress.subscribe();
        async move {
            let _ = progress.wait_for(|progress| progress.exit_code.is_some()).await;
        }
    }
}

impl Engine {
    /// Prepares a session in a running container.
    pub async fn exec_create(&self, id: &str, spec: ExecSpec) -> Result<Id> {
        let container = self.running(id)?;
        check_running(&container)?;
        if spec.command.first().is_none_or(String::is_empty) {
            return Err(Error::InvalidSpec("No exec command specified".to_owned()));
        }
        let session = name::new_id()?;
        let attributes = [("execID", session.to_string())];
        let action = format!("exec_create: {}", spec.command.join(" "));
        let (container_id, spec, progress) = (container.id.clone(), Arc::new(spec), watch::Sender::default());
        let created = Instant::now();
        let record = Session { id: session.clone(), container: container_id, spec, created, progress };
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        forget_some(&mut sessions);
        sessions.insert(session.clone(), Arc::new(record));
        drop(sessions);
        self.publish_exec(&container, &action, &attributes);
        Ok(session)
    }

    /// Runs a session. With any stream wanted the session's raw stream comes back, otherwise nothing does.
    pub async fn exec_start(
        self: &Arc<Self>,
        exec: &str,
        options: AttachOptions,
        console_size: Option<(u16, u16)>,
    ) -> Result<Option<Attachment>> {
        let session = self.session(exec)?;
        let container = self.running(session.container.as_str())?;
        check_running(&container)?;
        let attached = options.stdin || options.stdout || options.stderr;
        session.begin(attached)?;
        match self.run_exec(&session, &container, options, console_size).await {
            Ok(pid) => session.change(|progress| progress.pid = Some(pid)),
            Err(error) => {
                let code = if let Error::Exec { exit_code, .. } = error { exit_code } else { 126 };
                session.change(|progress| progress.end(code));
                return Err(error);
            }
        }
        let action = format!("exec_start: {}", session.spec.command.join(" "));
        self.publish_exec(&container, &action, &[("execID", session.id.to_string())]);
        if !attached {
            return Ok(None);
        }
        let joined =
            run::attach(&container.id, &self.exec_dir(&container.id), Some(&session.id), options).await;
        session.change(|progress| progress.joining = false);
        if session.progress().exit_code.is_some() {
            self.forget_in_shim(&session).await;
        }
        Ok(Some(Attachment::joined(joined?).until(session.ended())))
    }

    /// The shim need not remember a session that has ended and was joined.
    async fn forget_in_shim(&self, session: &Session) {
        let request = Request::ForgetExec { id: session.id.to_string() };
        let _ = shim::ask(&session.container, &self.exec_dir(&session.container), &request).await;
    }

    async fn run_exec(
        self: &Arc<Self>,
        session: &Arc<Session>,
        container: &Arc<Container>,
        options: AttachOptions,
        console_size: Option<(u16, u16)>,
    ) -> Result<i32> {
        let (engine, wanted, owner) = (self.clone(), session.clone(), container.clone());
        let process = blocking(move || process(&engine, &owner, &wanted.spec, console_size)).await?;
        let attach = options.stdin || options.stdout || options.stderr;
        let request = Request::Exec {
            id: session.id.to_string(),
            process: Box::new(process),
            stdin: options.stdin,
            attach,
        };
        match shim::ask(&container.id, &self.exec_dir(&container.id), &request).await {
            Ok(Response::Pid(pid)) => Ok(pid),
            Ok(other) => {
                Err(Error::ShimLost(container.id.clone(), format!("it answered {other:?} to an exec")))
            }
            Err(Error::Start { message, exit_code }) => Err(Error::Exec { message, exit_code }),
            Err(error) => Err(error),
        }
    }

    /// Changes the size of a session's terminal.
    pub async fn exec_resize(&self, exec: &str, rows: u16, columns: u16) -> Result<()> {
        let session = self.session(exec)?;
        let request = Request::Resize { session: Some(session.id.to_string()), rows, columns };
        shim::ask(&session.container, &self.exec_dir(&session.container), &request).await?;
        Ok(())
    }

    /// A session as it is now.
    pub fn exec_inspect(&self, exec: &str) -> Result<Exec> {
        let session = self.session(exec)?;
        let progress = session.progress();
        Ok(Exec {
            id: session.id.clone(),
            container: session.container.clone(),
            spec: session.spec.clone(),
            pid: progress.pid,
            running: progress.pid.is_some() && progress.exit_code.is_none(),
            exit_code: progress.exit_code,
            started: progress.started,
        })
    }

    /// The sessions of a container that have not ended.
    pub fn execs_of(&self, container: &Id) -> Vec<Id> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let own = sessions
            .values()
            .filter(|session| session.container == *container && session.progress().exit_code.is_none());
        own.map(|session| session.id.clone()).collect()
    }

    /// The session of this id or beginning of an id.
    fn session(&self, text: &str) -> Result<Arc<Session>> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut matching =
            sessions.values().filter(|session| !text.is_empty() && session.id.as_str().starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(session), None) => Ok(session.clone()),
            _ => Err(Error::NoSuchExec(text.to_owned())),
        }
    }

    pub(crate) fn forget_sessions_of(&self, container: &Id) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.container != *container);
    }

    fn publish_exec(&self, container: &Container, action: &str, attributes: &[(&str, String)]) {
        let event = Event::now(EventKind::Container, action, container.id.as_str())
            .with("image", container.spec.image.clone())
            .with("name", container.name.as_str());
        self.publish(attributes.iter().fold(event, |event, (key, value)| event.with(*key, value.clone())));
    }
}

impl Task {
    pub(crate) async fn exec_ended(&self, id: &str, exit_code: i32) {
        let Ok(session) = self.engine.session(id) else {
            // An earlier daemon's, which nobody will ask for any more.
            if let Some(run) = &self.run {
                let _ = run.ask(&Request::ForgetExec { id: id.to_owned() }).await;
            }
            return;
        };
        session.change(|progress| progress.end(exit_code));
        self.publish("exec_die", &[("execID", id.to_owned()), ("exitCode", exit_code.to_string())]);
        if !session.progress().joining {
            self.engine.forget_in_shim(&session).await;
        }
    }

    /// The container has ended, and with it whatever still ran in it.
    pub(crate) fn forget_execs(&self) {
        for id in self.engine.execs_of(&self.container().id) {
            if let Ok(session) = self.engine.session(id.as_str()) {
                session.change(|progress| progress.end(KILLED));
            }
        }
    }
}

/// Clients leave sessions behind: those that have ended, and those that they prepared and never began.
fn forget_some(sessions: &mut BTreeMap<Id, Arc<Session>>) {
    if sessions.len() < KEPT {
        return;
    }
    forget_oldest(sessions, KEPT, |session| session.progress().ended);
    forget_oldest(sessions, PREPARED, |session| (!session.progress().started).then_some(session.created));
}

/// Of those that `since` gives a time a quarter at once, so that not every new one has to look for the oldest. The others stay:
/// whoever ran one a moment ago is about to ask how it ended.
fn forget_oldest(
    sessions: &mut BTreeMap<Id, Arc<Session>>,
    most: usize,
    since: impl Fn(&Session) -> Option<Instant>,
) {
    if sessions.values().filter_map(|session| since(session)).count() < most {
        return;
    }
    let age = |session: &Arc<Session>| Some((since(session)?, session.id.clone()));
    let mut of_age: Vec<(Instant, Id)> = sessions.values().filter_map(age).collect();
    of_age.sort_unstable();
    of_age.iter().take(most / 4).for_each(|(_, id)| drop(sessions.remove(id)));
}

/// What a process ends with when the kernel kills it with its namespace.
const KILLED: i32 = 137;

fn check_running(container: &Container) -> Result<()> {
    match container.state.status {
        Status::Paused => Err(Error::State(format!(
            "Container {} is paused, unpause the container before exec",
            container.id
        ))),
        status if status.is_alive() => Ok(()),
        _ => Err(Error::NotRunning(container.id.clone())),
    }
}

/// The part of a bundle's configuration that an exec begins from.
#[derive(Deserialize)]
struct Bundle {
    process: Option<Process>,
}

fn process(
    engine: &Engine,
    container: &Container,
    spec: &ExecSpec,
    size: Option<(u16, u16)>,
) -> Result<Process> {
    let path = engine.exec_dir(&container.id).join("config.json");
    let bytes = std::fs::read(&path).step(|| format!("read {}", path.display()))?;
    let bundle: Bundle = serde_json::from_slice(&bytes)
        .map_err(std::io::Error::from)
        .step(|| format!("read {}", path.display()))?;
    let base = bundle.process.ok_or_else(|| Error::NotRunning(container.id.clone()))?;
    let user = spec.user.as_deref().filter(|user| !user.is_empty());
    let user = user.map(|user| user::resolve(user, &[], &live_accounts(container)?)).transpose()?;
    let mut process = plan::exec_process(&base, spec, user.as_ref())?;
    if let Some((height, width)) = size.filter(|_| spec.tty) {
        process.console_size = Some(tare_oci::runtime::ConsoleSize { height, width });
    }
    Ok(process)
}

/// The user lists as the container sees them now. Its root is a stranger's: nothing but regular files below it is read,
/// and no link leads out of it.
fn live_accounts(container: &Container) -> Result<Accounts> {
    let pid = container.state.pid.ok_or_else(|| Error::NotRunning(container.id.clone()))?;
    let root = rustix::fs::open(
        format!("/proc/{pid}/root"),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let root = root.step(|| format!("open the root of container {}", container.id))?;
    let read = |path: &str| read_in_root(root.as_fd(), Path::new(path));
    Ok(Accounts { passwd: read("etc/passwd")?, group: read("etc/group")? })
}

fn read_in_root(root: std::os::fd::BorrowedFd, path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let step = || format!("read {} in the container", path.display());
    // Non-blocking, as a pipe there must not hold us up; it is refused below.
    let file = match tare_sys::path::open_in_root(
        root,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
    ) {
        Ok(file) => std::fs::File::from(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).step(step),
    };
    if !file.metadata().step(step)?.is_file() {
        return Err(Error::User(format!("/{} in the container is no regular file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(user::MAX_FILE as u64 + 1).read_to_end(&mut bytes).step(step)?;
    if bytes.len() > user::MAX_FILE {
        return Err(Error::User(format!(
            "/{} in the container is larger than {} bytes",
            path.display(),
            user::MAX_FILE
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u16, change: impl FnOnce(&mut Progress)) -> (Id, Arc<Session>) {
        let mut random = [0; 32];
        random[..2].copy_from_slice(&number.to_be_bytes());
        let id = Id::from_random(random);
        let (created, progress) = (Instant::now(), watch::Sender::default());
        progress.send_modify(change);
        let spec = Arc::new(ExecSpec::default());
        let session =
            Session { id: id.clone(), container: Id::from_random([1; 32]), spec, created, progress };
        (id, Arc::new(session))
    }

    fn session_ids(numbers: std::ops::RangeInclusive<u16>) -> Vec<Id> {
        numbers.map(|number| session(number, |_| {}).0).collect()
    }

    #[test]
    fn sessions_that_nobody_begins_are_forgotten_and_running_ones_never() {
        let running = session(0, |progress| progress.started = true);
        let mut sessions = BTreeMap::from([running.clone()]);
        for number in 1..10_000 {
            forget_some(&mut sessions);
            let (id, session) = session(number, |progress| {
                if number % 2 == 0 {
                    progress.started = true;
                    progress.end(0);
                }
            });
            sessions.insert(id, session);
            if number % 97 == 0 {
                let recent = session_ids(number.saturating_sub(200).max(1)..=number);
                assert!(recent.iter().all(|id| sessions.contains_key(id)), "after {number}");
            }
        }
        assert!(sessions.len() <= KEPT + PREPARED, "{}", sessions.len());
        assert!(sessions.contains_key(&running.0), "it runs");
        let last = session(9_999, |_| {}).0;
        assert!(sessions.contains_key(&last), "it was prepared a moment ago");
    }
}
