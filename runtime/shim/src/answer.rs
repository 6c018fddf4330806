//! Requests and their answers.

use std::os::fd::AsFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tare_cgroup::{Cgroup, Version};
use tare_model::{HasKind, Kind};
use tare_oci::runtime::Process;
use tare_runtime::Target;

use crate::container::{Init, read_spec};
use crate::peer::Role;
use crate::protocol::{Event, ExecState, Phase, Request, Response, State};
use crate::session::{Session, Streams};
use crate::shim::Shim;

impl Shim {
    /// Answers every whole request that a peer has sent, until it becomes a stream.
    pub(crate) fn answer_all(&mut self, at: usize) {
        while self.peers[at].role == Role::Asking {
            let response = match self.peers[at].request() {
                Ok(None) => return,
                Ok(Some(request)) => self.answer(at, request),
                Err(error) => {
                    let text = format!("not a request: {error}");
                    self.peers[at].say(&refusal(Kind::InvalidInput, text), &self.dir);
                    self.peers[at].served = true;
                    return self.peers[at].close();
                }
            };
            self.peers[at].served = true;
            self.peers[at].say(&response, &self.dir);
            self.peers[at].flush();
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
        let Some(session) = self.sessions.iter().position(|s| s.serial == serial) else { return };
        if !self.sessions[session].is_running() {
            self.end_session(session);
        }
    }

    fn answer(&mut self, at: usize, request: Request) -> Response {
        match request {
            Request::Watch => {
                self.peers[at].role = Role::Watching;
                Response::State(self.state())
            }
            Request::Start => self.start(),
            Request::Attach { session, stdin, stdout, stderr } => match self.session(session.as_deref()) {
                Ok(found) => {
                    let session = &mut self.sessions[found];
                    session.waits_for_peer = false;
                    self.peers[at].role = Role::Attached { session: session.serial, stdin, stdout, stderr };
                    Response::Ok
                }
                Err(refused) => refused,
            },
            Request::Exec { id, process, stdin, attach } => self.exec(id, &process, stdin, attach),
            Request::Kill { session, signal, all } => self.kill(session.as_deref(), signal, all),
            Request::Resize { session, rows, columns } => self.resize(session.as_deref(), rows, columns),
            Request::CloseStdin { session } => match self.session(session.as_deref()) {
                Ok(found) => {
                    self.sessions[found].stdin.end();
                    Response::Ok
                }
                Err(refused) => refused,
            },
            Request::Pause => self.pause(true),
            Request::Resume => self.pause(false),
            Request::Update(resources) => {
                self.in_cgroup(|cgroup| cgroup.apply(&resources).map(|()| Response::Ok))
            }
            Request::Stats => self.in_cgroup(|cgroup| Ok(Response::Stats(Box::new(cgroup.stats()?)))),
            Request::Processes => self.in_cgroup(|cgroup| Ok(Response::Processes(cgroup.processes()?))),
            Request::ForgetExec { id } => self.forget(&id),
        }
    }

    fn state(&self) -> State {
        let execs = self.sessions.iter().filter_map(|session| {
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

    fn start(&mut self) -> Response {
        match self.container.phase {
            Phase::Ready => {}
            Phase::Creating => return refusal(Kind::Conflict, "the container is not ready yet"),
            Phase::Running => return refusal(Kind::NotModified, "the container is started already"),
            Phase::Exited => {
                return self.failure().unwrap_or_else(|| refusal(Kind::Conflict, "the container has ended"));
            }
        }
        let started = self.container.start().and_then(|console| match console {
            Some(console) => {
                self.sessions[0].take_console(console).map_err(|e| (format!("open the terminal: {e}"), 125))
            }
            None => Ok(()),
        });
        match (started, self.container.started_at) {
            (Ok(()), Some(at)) => {
                self.tell(Event::Started { at });
                self.settle();
                Response::Ok
            }
            (Err(failure), _) => {
                self.container.kill_init();
                self.fail(failure);
                self.failure().unwrap_or(Response::Ok)
            }
            (Ok(()), None) => refusal(Kind::Internal, "the container was not made"),
        }
    }

    fn failure(&self) -> Option<Response> {
        let (message, exit_code) = self.container.failed.clone()?;
        Some(Response::Error { message, kind: kind_of(exit_code), exit_code: Some(exit_code) })
    }

    fn exec(&mut self, id: String, process: &Process, stdin: bool, attach: bool) -> Response {
        if self.session(Some(&id)).is_ok() {
            return refusal(Kind::Conflict, format!("exec {id} exists already"));
        }
        if self.container.paused {
            return refusal(Kind::Conflict, "the container is paused: unpause it first");
        }
        match self.run_exec(id, process, stdin, attach) {
            Ok(session) => {
                let pid = session.pid;
                self.sessions.push(session);
                tare_sys::heap::trim();
                Response::Pid(pid)
            }
            Err(refused) => refused,
        }
    }

    fn run_exec(
        &mut self,
        id: String,
        process: &Process,
        stdin: bool,
        attach: bool,
    ) -> Result<Session, Response> {
        let Init::Running(init) = &self.container.init else { return Err(not_running()) };
        let internal = |text: String| refusal(Kind::Internal, text);
        let spec = read_spec(&self.container.bundle).map_err(|e| internal(e.to_string()))?;
        let streams =
            Streams::new(process, stdin, attach).map_err(|e| internal(format!("make pipes: {e}")))?;
        let target = Target {
            pidfd: init.as_fd(),
            spec: &spec,
            cgroup: self.container.cgroup.as_ref(),
            seccomp_cache: self.container.seccomp_cache.as_deref(),
        };
        let running = tare_runtime::exec(&target, process, streams.theirs).map_err(|e| {
            let exit_code = e.exit_code();
            Response::Error { message: e.to_string(), kind: e.kind(), exit_code: Some(exit_code) }
        })?;
        running.warnings.iter().for_each(|warning| eprintln!("tare-shim: exec: {warning}"));
        let mut session = Session::new(self.next_serial, Some(id), streams.stdin, streams.outputs);
        self.next_serial += 1;
        session.pid = running.pid;
        session.pidfd = Some(running.pidfd);
        session.waits_for_peer = attach;
        if let Some(console) = running.console {
            session.take_console(console).map_err(|e| internal(format!("open the terminal: {e}")))?;
        }
        Ok(session)
    }

    fn kill(&mut self, session: Option<&str>, signal: i32, all: bool) -> Response {
        if all {
            return self.in_cgroup(|cgroup| kill_all(cgroup, signal));
        }
        let pidfd = match session {
            None => self.container.pidfd(),
            Some(_) => match self.session(session) {
                Ok(found) => self.sessions[found].pidfd.as_ref().map(AsFd::as_fd),
                Err(refused) => return refused,
            },
        };
        match pidfd.map(|pidfd| tare_sys::signal::send(pidfd, signal)) {
            Some(Ok(())) => {
                self.let_die(signal);
                Response::Ok
            }
            Some(Err(e)) if e.raw_os_error() == Some(libc::EINVAL) => {
                refusal(Kind::InvalidInput, format!("invalid signal: {signal}"))
            }
            None => not_running(),
            Some(Err(e)) if e.raw_os_error() == Some(libc::ESRCH) => not_running(),
            Some(Err(e)) => refusal(Kind::Internal, format!("send signal {signal}: {e}")),
        }
    }

    /// v1's freezer keeps even who is killed.
    fn let_die(&mut self, signal: i32) {
        let v1 = self.container.cgroup.as_ref().is_some_and(|cgroup| cgroup.version() == Version::V1);
        if signal == libc::SIGKILL && self.container.paused && v1 {
            self.pause(false);
        }
    }

    fn resize(&mut self, session: Option<&str>, rows: u16, columns: u16) -> Response {
        let found = match self.session(session) {
            Ok(found) => found,
            Err(refused) => return refused,
        };
        match self.sessions[found].resize(rows, columns) {
            Ok(()) => Response::Ok,
            Err(rustix::io::Errno::NOTTY) => refusal(Kind::Conflict, "it has no terminal"),
            Err(e) => refusal(Kind::Internal, format!("resize the terminal: {e}")),
        }
    }

    fn pause(&mut self, frozen: bool) -> Response {
        if !self.is_started() {
            return not_running();
        }
        let response = self.in_cgroup(|cgroup| cgroup.freeze(frozen).map(|()| Response::Ok));
        if response == Response::Ok {
            self.container.paused = frozen;
        } else if frozen {
            // Half frozen is worse than not at all.
            let _ = self.in_cgroup(|cgroup| cgroup.freeze(false).map(|()| Response::Ok));
        }
        response
    }

    fn forget(&mut self, id: &str) -> Response {
        let found = match self.session(Some(id)) {
            Ok(found) => found,
            Err(refused) => return refused,
        };
        if self.sessions[found].is_running() {
            return refusal(Kind::Conflict, format!("exec {id} still runs"));
        }
        self.sessions[found].waits_for_peer = false;
        self.end_session(found);
        self.sessions[found].forgotten = true;
        Response::Ok
    }

    fn in_cgroup(&self, act: impl FnOnce(&Cgroup) -> tare_cgroup::Result<Response>) -> Response {
        match self.container.cgroup.as_ref().map(act) {
            Some(Ok(response)) => response,
            Some(Err(error)) => refusal(error.kind(), error.to_string()),
            None => not_running(),
        }
    }

    /// Where a session is: an exec's, or init's as long as there is one.
    fn session(&self, id: Option<&str>) -> Result<usize, Response> {
        let found =
            self.sessions.iter().position(|session| session.id.as_deref() == id && !session.forgotten);
        found.ok_or_else(|| match id {
            Some(id) => refusal(Kind::NotFound, format!("no such exec: {id}")),
            None => self.failure().unwrap_or_else(not_running),
        })
    }
}

fn kill_all(cgroup: &Cgroup, signal: i32) -> tare_cgroup::Result<Response> {
    if signal == libc::SIGKILL {
        return cgroup.kill().map(|()| Response::Ok);
    }
    for pid in cgroup.processes()?.into_iter().filter_map(Pid::from_raw) {
        // Who has ended meanwhile needs no signal.
        let _ = pidfd_open(pid, PidfdFlags::empty()).map(|pidfd| tare_sys::signal::send(pidfd, signal));
    }
    Ok(Response::Ok)
}

fn refusal(kind: Kind, message: impl Into<String>) -> Response {
    Response::Error { message: message.into(), kind, exit_code: None }
}

fn not_running() -> Response {
    refusal(Kind::Conflict, "the container is not running")
}

/// A program that is not there or cannot be executed is the caller's mistake.
fn kind_of(exit_code: u8) -> Kind {
    if exit_code == 125 { Kind::Internal } else { Kind::InvalidInput }
}
