//! Requests and their answers.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tare_cgroup::{Cgroup, Version};
use tare_model::{HasKind, Kind};
use tare_oci::runtime::Process;
use tare_runtime::Target;

use crate::container::{Init, read_spec};
use crate::peer::Role;
use crate::session::{Session, Streams};
use crate::shim::Shim;
use tare_protocol::{Event, ExecState, Phase, Request, Response, State};

/// Why a request is not done.
pub(crate) struct Refusal {
    kind: Kind,
    message: String,
    exit_code: Option<u8>,
}

impl Refusal {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), exit_code: None }
    }

    fn not_running() -> Self {
        Self::new(Kind::Conflict, "the container is not running")
    }
}

impl From<Refusal> for Response {
    fn from(Refusal { kind, message, exit_code }: Refusal) -> Self {
        Self::Error { message, kind, exit_code }
    }
}

impl From<tare_cgroup::Error> for Refusal {
    fn from(error: tare_cgroup::Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<crate::Error> for Refusal {
    fn from(error: crate::Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<tare_runtime::Error> for Refusal {
    fn from(error: tare_runtime::Error) -> Self {
        Self { kind: error.kind(), message: error.to_string(), exit_code: Some(error.exit_code()) }
    }
}

type Answer = Result<Response, Refusal>;

impl Shim {
    /// Answers every whole request that a peer has sent, until it becomes a stream.
    pub(crate) fn answer_all(&mut self, at: usize) {
        while self.peers[at].role == Role::Asking {
            let (response, last) = match self.peers[at].request() {
                Ok(None) => return,
                Ok(Some(request)) => (self.answer(at, request).unwrap_or_else(Response::from), false),
                // What follows cannot be told from what is wrong.
                Err(error) => {
                    (Refusal::new(Kind::InvalidInput, format!("not a request: {error}")).into(), true)
                }
            };
            let peer = &mut self.peers[at];
            peer.served = true;
            peer.say(&response, &self.dir);
            peer.flush();
            if last {
                return peer.close();
            }
        }
        // What came behind the request belongs to the stream.
        if !self.peers[at].input.is_empty() {
            self.take_input(at);
        }
        self.catch_up(at);
    }

    /// A session that has ended while it waited for this peer.
    fn catch_up(&mut self, at: usize) {
        let Role::Attached { session: serial, .. } = self.peers[at].role else { return };
        let ended = self.sessions.iter().position(|s| s.serial == serial && !s.is_running());
        ended.into_iter().for_each(|session| self.end_session(session));
    }

    fn answer(&mut self, at: usize, request: Request) -> Answer {
        match request {
            Request::Watch => {
                self.peers[at].role = Role::Watching;
                return Ok(Response::State(self.state()));
            }
            Request::Start => self.start()?,
            Request::Attach { session, stdin, stdout, stderr } => {
                let session = self.session(session.as_deref())?;
                session.waits_for_peer = false;
                let session = session.serial;
                self.peers[at].role = Role::Attached { session, stdin, stdout, stderr };
            }
            Request::Exec { id, process, stdin, attach } => return self.exec(id, &process, stdin, attach),
            Request::Kill { session, signal, all: false } => self.kill(session.as_deref(), signal)?,
            Request::Kill { signal, all: true, .. } => kill_all(self.cgroup()?, signal)?,
            Request::Resize { session, rows, columns } => self.resize(session.as_deref(), rows, columns)?,
            Request::CloseStdin { session } => self.session(session.as_deref())?.stdin.end(),
            Request::Pause => self.pause()?,
            Request::Resume => self.resume()?,
            Request::Update(resources) => self.cgroup()?.apply(&resources)?,
            Request::Stats => return Ok(Response::Stats(Box::new(self.cgroup()?.stats()?))),
            Request::Processes => return Ok(Response::Processes(self.cgroup()?.processes()?)),
            Request::ForgetExec { id } => self.forget(&id)?,
        }
        Ok(Response::Ok)
    }

    fn state(&self) -> State {
        let execs = self.sessions.iter().filter(|session| !session.forgotten).filter_map(|session| {
            let id = session.id.clone()?;
            Some(ExecState {
                id,
                pid: session.pid,
                running: session.is_running(),
                exit_code: session.exit_code,
            })
        });
        let container = &self.container;
        State {
            phase: container.phase,
            pid: container.pid,
            started_at: container.started_at,
            paused: container.paused,
            execs: execs.collect(),
            exit: container.exit.clone(),
            failed: container.failed.clone(),
        }
    }

    fn start(&mut self) -> Result<(), Refusal> {
        match self.container.phase {
            Phase::Ready => {}
            Phase::Creating => return Err(Refusal::new(Kind::Conflict, "the container is not ready yet")),
            Phase::Running => {
                return Err(Refusal::new(Kind::NotModified, "the container is started already"));
            }
            Phase::Exited => return Err(self.ended()),
        }
        let started = self.container.start().and_then(|console| match console {
            Some(console) => {
                self.sessions[0].take_console(console).map_err(|e| (format!("open the terminal: {e}"), 125))
            }
            None => Ok(()),
        });
        if let Err(failure) = started {
            self.container.kill_init();
            self.fail(failure);
            return Err(self.ended());
        }
        if let Some(at) = self.container.started_at {
            self.tell(Event::Started { at });
        }
        self.parent = None;
        self.unsettled = true;
        Ok(())
    }

    /// Why there is no container: it has failed or ended.
    fn ended(&self) -> Refusal {
        let Some((message, exit_code)) = self.container.failed.clone() else { return Refusal::not_running() };
        // A program that is not there or cannot be executed is the caller's mistake.
        let kind = if exit_code == 125 { Kind::Internal } else { Kind::InvalidInput };
        Refusal { kind, message, exit_code: Some(exit_code) }
    }

    fn exec(&mut self, id: String, process: &Process, stdin: bool, attach: bool) -> Answer {
        if self.session(Some(&id)).is_ok() {
            return Err(Refusal::new(Kind::Conflict, format!("exec {id} exists already")));
        }
        if self.container.paused {
            return Err(Refusal::new(Kind::Conflict, "the container is paused: unpause it first"));
        }
        let session = self.run_exec(id, process, stdin, attach)?;
        let pid = session.pid;
        self.sessions.push(session);
        Ok(Response::Pid(pid))
    }

    fn run_exec(
        &mut self,
        id: String,
        process: &Process,
        stdin: bool,
        attach: bool,
    ) -> Result<Session, Refusal> {
        let internal = |what: &str, e: Errno| Refusal::new(Kind::Internal, format!("{what}: {e}"));
        let Init::Running(init) = &self.container.init else { return Err(Refusal::not_running()) };
        let spec = read_spec(&self.container.bundle)?;
        let streams = Streams::new(process, stdin, attach).map_err(|e| internal("make pipes", e))?;
        // Its directory has its name.
        let container =
            self.container.bundle.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let target = Target {
            id: &container,
            bundle: &self.container.bundle,
            pidfd: init.as_fd(),
            spec: &spec,
            cgroup: self.container.cgroup.as_ref(),
            seccomp_cache: self.container.seccomp_cache.as_deref(),
        };
        let running = tare_runtime::exec(&target, process, streams.theirs)?;
        running.warnings.iter().for_each(|warning| crate::note!("exec: {warning}"));
        let mut session = Session::new(self.next_serial, Some(id), streams.stdin, streams.outputs);
        self.next_serial += 1;
        session.pid = running.pid;
        session.pidfd = Some(running.pidfd);
        session.waits_for_peer = attach;
        if let Some(console) = running.console {
            session.take_console(console).map_err(|e| internal("open the terminal", e))?;
        }
        Ok(session)
    }

    fn kill(&mut self, session: Option<&str>, signal: i32) -> Result<(), Refusal> {
        let pidfd = match session {
            None => self.container.pidfd(),
            Some(_) => self.session(session)?.pidfd.as_ref().map(AsFd::as_fd),
        };
        let sent =
            pidfd.map(|pidfd| tare_sys::signal::send(pidfd, signal)).ok_or_else(Refusal::not_running)?;
        sent.map_err(|e| match e.raw_os_error() {
            Some(libc::EINVAL) => Refusal::new(Kind::InvalidInput, format!("invalid signal: {signal}")),
            Some(libc::ESRCH) => Refusal::not_running(),
            _ => Refusal::new(Kind::Internal, format!("send signal {signal}: {e}")),
        })?;
        // v1's freezer keeps even who is killed.
        let v1 = self.container.cgroup.as_ref().is_some_and(|cgroup| cgroup.version() == Version::V1);
        if signal == libc::SIGKILL && self.container.paused && v1 { self.resume() } else { Ok(()) }
    }

    fn resize(&mut self, session: Option<&str>, rows: u16, columns: u16) -> Result<(), Refusal> {
        self.session(session)?.resize(rows, columns).map_err(|e| match e {
            Errno::NOTTY => Refusal::new(Kind::Conflict, "it has no terminal"),
            e => Refusal::new(Kind::Internal, format!("resize the terminal: {e}")),
        })
    }

    fn pause(&mut self) -> Result<(), Refusal> {
        if !self.is_started() {
            return Err(Refusal::not_running());
        }
        let cgroup = self.cgroup()?;
        if let Err(error) = cgroup.freeze(true) {
            // Half frozen is worse than not at all; the first error is the one to tell.
            let _ = cgroup.freeze(false);
            return Err(error.into());
        }
        self.container.paused = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Refusal> {
        self.cgroup()?.freeze(false)?;
        self.container.paused = false;
        Ok(())
    }

    fn forget(&mut self, id: &str) -> Result<(), Refusal> {
        let session = self.session(Some(id))?;
        if session.is_running() {
            return Err(Refusal::new(Kind::Conflict, format!("exec {id} still runs")));
        }
        session.waits_for_peer = false;
        session.forgotten = true;
        let serial = session.serial;
        self.unsettled = true;
        let at = self.sessions.iter().position(|session| session.serial == serial);
        at.into_iter().for_each(|at| self.end_session(at));
        Ok(())
    }

    fn cgroup(&self) -> Result<&Cgroup, Refusal> {
        self.container.cgroup.as_ref().ok_or_else(|| self.ended())
    }

    /// An exec's session, or init's as long as there is one.
    fn session(&mut self, id: Option<&str>) -> Result<&mut Session, Refusal> {
        let found =
            self.sessions.iter().position(|session| session.id.as_deref() == id && !session.forgotten);
        match (found, id) {
            (Some(at), _) => Ok(&mut self.sessions[at]),
            (None, Some(id)) => Err(Refusal::new(Kind::NotFound, format!("no such exec: {id}"))),
            (None, None) => Err(self.ended()),
        }
    }
}

fn kill_all(cgroup: &Cgroup, signal: i32) -> tare_cgroup::Result<()> {
    if signal == libc::SIGKILL {
        return cgroup.kill();
    }
    for pid in cgroup.processes()?.into_iter().filter_map(Pid::from_raw) {
        // Who has ended meanwhile needs no signal.
        let _ = pidfd_open(pid, PidfdFlags::empty()).map(|pidfd| tare_sys::signal::send(pidfd, signal));
    }
    Ok(())
}
