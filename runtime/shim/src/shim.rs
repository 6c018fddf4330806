//! The shim's state, and one turn of its loop: wait for anything, then do what it asks for.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{Pid, PidfdFlags, getppid, getuid, pidfd_open};

use crate::container::{Container, Failure, Init, now};
use crate::error::{Error, Result};
use crate::log::Log;
use crate::peer::{Peer, Role};
use crate::session::{Serial, Session};
use tare_protocol::{Event, Exit, LISTENER_FD, Launch, Phase, Response};

/// Everything that is alive in the shim.
pub(crate) struct Shim {
    pub(crate) dir: PathBuf,
    pub(crate) container: Container,
    pub(crate) log: Option<Log>,
    /// Init's first, as long as there is one.
    pub(crate) sessions: Vec<Session>,
    pub(crate) next_serial: Serial,
    pub(crate) peers: Vec<Peer>,
    pub(crate) buffer: Vec<u8>,
    /// Much was done since the last rest.
    pub(crate) unsettled: bool,
    /// Until the end: who comes later is refused at once, and finds `exit.json`.
    listener: Option<Listener>,
    /// The sockets that keep the published ports for this container.
    reserved: Vec<OwnedFd>,
    pub(crate) signals: OwnedFd,
    /// The daemon, until the program is started: a container that nobody will start must not stay.
    pub(crate) parent: Option<OwnedFd>,
}

/// Where the daemon connects.
struct Listener {
    fd: OwnedFd,
    /// No descriptor was left for who came last: it stays ready for as long as that is so.
    crowded: bool,
}

/// How long the next ones wait when descriptors have run out, unless something else happens first.
const ACCEPT_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Peers that have gone while their last input had no place yet, at most: a process that never reads must not keep one for
/// each client that ever came.
const LEFT_BEHIND: usize = 8;

/// Bytes that are read at once, at most: four times what a pipe holds. So large that malloc(3) maps it, and pages that
/// are never read into cost nothing.
const BUFFER: usize = 256 << 10;

/// How many connections may wait to be accepted; the kernel's own limit is below.
const BACKLOG: i32 = i32::MAX;

/// What a polled descriptor is.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Parent,
    Sync,
    Oom,
    Output(usize, usize),
    Stdin(usize),
    Peer(usize),
}

impl Shim {
    /// Takes over the inherited descriptors, reads `launch.json` and makes the container.
    pub(crate) fn launch(dir: &Path) -> Result<Self> {
        let launch = read_launch(dir)?;
        let (listener, reserved) = inherited(launch.reserved_fds)?;
        let signals = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
        let signals = tare_sys::signal::signal_fd(&signals).map_err(|e| Error::system("signalfd", e))?;
        // Orphans of an exec, and of containers in the host's pid namespace, come to us and are reaped.
        rustix::process::set_child_subreaper(Some(Pid::INIT))
            .map_err(|e| Error::system("become a subreaper", e))?;
        let parent = getppid().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let mut shim = Self {
            dir: dir.to_owned(),
            container: Container::new(&launch),
            log: None,
            sessions: Vec::new(),
            next_serial: 1,
            peers: Vec::new(),
            buffer: vec![0; BUFFER],
            unsettled: false,
            listener: Some(Listener { fd: listener, crowded: false }),
            reserved,
            signals,
            parent,
        };
        shim.create(&launch);
        Ok(shim)
    }

    fn create(&mut self, launch: &Launch) {
        match launch.log.clone().map(Log::open).transpose() {
            Ok(log) => self.log = log,
            Err(error) => return self.fail((error.to_string(), 125)),
        }
        match self.container.create(launch) {
            Ok(session) => {
                let pid = session.pid;
                self.sessions.push(session);
                self.tell(Event::Pid { pid });
            }
            Err(failure) => self.fail(failure),
        }
    }

    /// Whether all is over and told.
    pub(crate) fn is_done(&self) -> bool {
        self.container.exit.is_some() && self.peers.is_empty()
    }

    /// Waits for anything to happen, and does what follows from it.
    pub(crate) fn turn(&mut self) -> Result<()> {
        // Input of peers comes before the end of processes: what happens together is told in its natural order.
        let ready = self.wait()?;
        if let Some(listener) = &mut self.listener {
            listener.crowded = false;
        }
        for (source, flags) in ready {
            match source {
                Source::Signals => self.take_signals()?,
                Source::Listener => self.accept(),
                Source::Parent => self.abandon("the daemon ended"),
                Source::Sync => self.take_ready(),
                Source::Oom => self.take_oom(),
                Source::Output(session, output) => self.read_output(session, output),
                Source::Stdin(session) => {
                    self.sessions.get_mut(session).into_iter().for_each(|s| s.stdin.write())
                }
                Source::Peer(peer) => self.serve(peer, flags),
            }
        }
        self.sweep();
        Ok(())
    }

    fn wait(&mut self) -> Result<Vec<(Source, PollFlags)>> {
        let held: Vec<bool> = (0..self.sessions.len()).map(|at| self.is_held_up(at)).collect();
        let (mut sources, mut fds) = (Vec::new(), Vec::new());
        let mut watch = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Some(fd) = self.container.sync_fd() {
            watch(Source::Sync, fd, PollFlags::IN);
        }
        for (at, session) in self.sessions.iter().enumerate() {
            for (which, output) in session.outputs.iter().enumerate() {
                if let Some(fd) = output.fd.as_ref().filter(|_| !held[at] && !session.waits_for_peer) {
                    watch(Source::Output(at, which), fd.as_fd(), PollFlags::IN);
                }
            }
            if let Some(fd) = session.stdin.waits_on() {
                watch(Source::Stdin(at), fd.as_fd(), PollFlags::OUT);
            }
        }
        for (at, peer) in self.peers.iter().enumerate() {
            let interest = peer.interest(self.takes_input(peer));
            if peer.is_polled(interest) {
                watch(Source::Peer(at), peer.fd.as_fd(), interest);
            }
        }
        if let Some(oom) = &self.container.oom {
            watch(Source::Oom, oom.fd(), oom.flags());
        }
        if let Some(parent) = &self.parent {
            watch(Source::Parent, parent.as_fd(), PollFlags::IN);
        }
        let crowded = self.listener.as_ref().is_some_and(|listener| listener.crowded);
        if let Some(listener) = self.listener.as_ref().filter(|_| !crowded) {
            watch(Source::Listener, listener.fd.as_fd(), PollFlags::IN);
        }
        watch(Source::Signals, self.signals.as_fd(), PollFlags::IN);
        if self.unsettled && poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready == 0) {
            // Nothing to do for now: gives back what the start or an exec needed.
            self.unsettled = false;
            tare_sys::heap::trim();
            tare_sys::heap::drop_code();
        }
        match poll(&mut fds, crowded.then_some(&ACCEPT_PAUSE)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(Error::system("poll", e)),
        }
        let ready = fds.iter().map(PollFd::revents);
        Ok(sources.into_iter().zip(ready).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn accept(&mut self) {
        let Some(listener) = &mut self.listener else { return };
        loop {
            let fd = match accept_with(&listener.fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(fd) => fd,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => {
                    listener.crowded = error != Errno::AGAIN;
                    return;
                }
            };
            // The directory is ours alone already; this holds where somebody passes the socket on (CVE-2020-15257).
            let trusted = rustix::net::sockopt::socket_peercred(&fd)
                .is_ok_and(|peer| peer.uid.is_root() || peer.uid == getuid());
            if trusted {
                self.peers.push(Peer::new(fd));
            }
        }
    }

    fn take_ready(&mut self) {
        match self.container.ready() {
            Ok(()) => self.tell(Event::Ready),
            Err(failure) => self.fail(failure),
        }
    }

    fn take_oom(&mut self) {
        if let Some(oom) = &self.container.oom {
            oom.acknowledge();
        }
        if self.container.new_oom_kills() {
            self.tell(Event::Oom);
        }
    }

    /// The container cannot be; the runtime has ended and reaped init already.
    pub(crate) fn fail(&mut self, failure: Failure) {
        let (message, exit_code) = failure.clone();
        self.container.failed = Some(failure);
        self.tell(Event::Failed { message: message.clone(), exit_code });
        self.finish(Exit {
            exit_code: exit_code.into(),
            signal: None,
            at: now(),
            oom_killed: false,
            error: Some(message),
        });
    }

    /// Nobody will start the container any more.
    pub(crate) fn abandon(&mut self, why: &str) {
        self.parent = None;
        if matches!(self.container.phase, Phase::Creating | Phase::Ready) {
            crate::note!("{why} before the container was started: it is removed");
            self.container.kill_init();
        }
    }

    /// The end of everything: nothing of the container is left when `Exited` is told.
    pub(crate) fn finish(&mut self, mut exit: Exit) {
        if self.container.exit.is_some() {
            return;
        }
        self.container.kill_rest();
        self.reap();
        (0..self.sessions.len()).for_each(|at| self.end_session(at));
        self.sessions.clear();
        if self.container.new_oom_kills() {
            self.tell(Event::Oom);
        }
        exit.oom_killed = self.container.oom_kills > 0;
        self.container.clean_up();
        self.container.phase = Phase::Exited;
        self.container.paused = false;
        self.container.exit = Some(exit.clone());
        self.parent = None;
        if let Err(error) = self.container.record(&self.dir, &exit) {
            crate::note!("{error}");
        }
        self.log = None;
        // Who starts the container again at once finds its ports free.
        self.reserved.clear();
        self.tell(Event::Exited(exit));
        // Who connected before the end is still answered.
        self.accept();
        self.listener = None;
    }

    /// Tells all who watch.
    pub(crate) fn tell(&mut self, event: Event) {
        let message = Response::Event(event);
        for peer in self.peers.iter_mut().filter(|peer| peer.role == Role::Watching) {
            peer.say(&message, &self.dir);
            peer.flush();
        }
    }

    /// Drops who is gone. Without a watcher a container that is not started has no future.
    fn sweep(&mut self) {
        let watched = self.peers.iter().any(|peer| peer.role == Role::Watching);
        if self.container.exit.is_some() {
            // Nothing more will be said; one that was not served yet gets its answer first.
            let over = |peer: &&mut Peer| peer.served && (peer.role != Role::Asking || peer.input.is_empty());
            self.peers.iter_mut().filter(over).for_each(Peer::close);
        }
        let left_behind = |at: &usize| self.peers[*at].hung_up && !self.takes_input(&self.peers[*at]);
        let too_many: Vec<usize> = (0..self.peers.len()).filter(left_behind).skip(LEFT_BEHIND).collect();
        too_many.into_iter().for_each(|at| self.peers[at].gone = true);
        self.peers.retain(|peer| !peer.gone);
        let still_watched = self.peers.iter().any(|peer| peer.role == Role::Watching);
        if watched && !still_watched {
            self.abandon("the daemon hung up");
        }
        self.sessions.retain(|session| !session.is_over());
    }

    pub(crate) fn is_started(&self) -> bool {
        matches!(self.container.init, Init::Running(_))
    }
}

/// The listener at descriptor 3 and the reserving sockets behind it. Whatever else was inherited is closed.
fn inherited(reserved: u32) -> Result<(OwnedFd, Vec<OwnedFd>)> {
    let fail = |e: std::io::Error| Error::system("take the inherited descriptors", e);
    let listener = tare_sys::fd::duplicate(LISTENER_FD).map_err(fail)?;
    // It was bound by the daemon. From here on those who connect are told that this process is their peer.
    rustix::net::listen(&listener, BACKLOG).map_err(|e| fail(e.into()))?;
    rustix::io::ioctl_fionbio(&listener, true).map_err(|e| fail(e.into()))?;
    let reserved = (1..=reserved as i32).map(|n| tare_sys::fd::duplicate(LISTENER_FD + n));
    let reserved: Vec<OwnedFd> = reserved.collect::<std::io::Result<_>>().map_err(fail)?;
    let keep = reserved.iter().chain([&listener]).map(AsRawFd::as_raw_fd).collect();
    tare_sys::fd::close_all_except(keep).map_err(fail)?;
    Ok((listener, reserved))
}

fn read_launch(dir: &Path) -> Result<Launch> {
    let path = dir.join("launch.json");
    let bytes = fs::read(&path).map_err(|e| Error::file("read", &path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::file("read", &path, std::io::Error::from(e)))
}
