//! Stops and continues, kills, and waits for the end, all by events of the kernel.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Error, Result};
use crate::file;
use crate::group::{Cgroup, Dir};
use crate::inside::processes_in;

/// How long the kernel may take to stop, continue or end processes. Only a process that is stuck in the kernel takes
/// more than milliseconds; then an error is better than a caller that hangs too.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Stops or continues all processes; returns when all have stopped.
    ///
    /// Uses v2's freezer wherever there is a v2 hierarchy, on hybrid hosts too: it is no controller but part of every
    /// group, tells by an event when it is done, and lets a frozen process be killed.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        if let Some(dir) = self.unified() {
            match file::write(dir.fd.as_fd(), "cgroup.freeze", if frozen { "1" } else { "0" }) {
                Ok(()) => {
                    return wait_for_event(
                        dir,
                        "frozen",
                        u64::from(frozen),
                        if frozen { "freeze" } else { "thaw" },
                    );
                }
                // Before Linux 5.2.
                Err(Errno::NOENT) => {}
                Err(e) => return Err(Error::file("freeze", &dir.path, e)),
            }
        }
        match self.v1("freezer") {
            Some(dir) => freeze_v1(dir, frozen),
            None => Err(Error::NoController { field: "running processes", controller: "freezer" }),
        }
    }

    /// Whether [`Cgroup::freeze`] has stopped it, or is stopping it.
    pub fn is_frozen(&self) -> Result<bool> {
        let read = |dir: &Dir, name: &str| match file::read(dir.fd.as_fd(), name) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::file("read the freezer of", &dir.path, e)),
        };
        if let Some(state) = self.unified().map(|dir| read(dir, "cgroup.freeze")).transpose()?.flatten() {
            return Ok(state == "1");
        }
        let state = self.v1("freezer").map(|dir| read(dir, "freezer.state")).transpose()?.flatten();
        Ok(state.is_some_and(|state| state != "THAWED"))
    }

    /// Kills all processes, sub-groups' included; returns when they are gone (their parents may still have to reap them).
    pub fn kill(&self) -> Result<()> {
        if let Some(dir) = self.unified() {
            match kill_v2(dir) {
                // systemd takes a group away as soon as it sees that nobody is left in it.
                Err(e) if matches!(e.errno(), Some(Errno::NOENT | Errno::NODEV)) => {}
                killed => killed?,
            }
        }
        // A process that never came into the v2 group, or a kernel before 5.14.
        for dir in self.dirs.iter().filter(|d| !d.hierarchy.unified).take(1).chain(self.unified()) {
            self.kill_one_by_one(dir)?;
        }
        Ok(())
    }

    fn kill_one_by_one(&self, dir: &Dir) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let processes = processes_in(dir)?;
            if processes.is_empty() {
                return Ok(());
            }
            // A stopped group cannot fork while it is being killed; v1's freezer lets nobody die before it thaws.
            let freezer = self.v1("freezer").filter(|_| self.unified().is_none());
            let _ = freezer.map(|f| file::write(f.fd.as_fd(), "freezer.state", "FROZEN"));
            let ending: Vec<OwnedFd> = processes.iter().filter_map(|pid| kill_process(*pid)).collect();
            let _ = freezer.map(|f| file::write(f.fd.as_fd(), "freezer.state", "THAWED"));
            for pidfd in &ending {
                wait_until(deadline, pidfd, PollFlags::IN).map_err(|_| stuck(dir, "end"))?;
            }
            if Instant::now() > deadline {
                return Err(stuck(dir, "end"));
            }
        }
    }
}

/// Sends SIGKILL through a pidfd, which cannot hit another process that has got the number meanwhile… after it is open;
/// that it still is a process of the group is as sure as the list is fresh, and the next round looks again.
fn kill_process(pid: i32) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    pidfd_send_signal(&pidfd, Signal::KILL).ok()?;
    Some(pidfd)
}

fn kill_v2(dir: &Dir) -> Result<()> {
    if events(dir)?.1 == Some(0) {
        return Ok(());
    }
    match file::write(dir.fd.as_fd(), "cgroup.kill", "1") {
        Ok(()) => wait_for_event(dir, "populated", 0, "end"),
        Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(()),
        Err(e) => Err(Error::file("kill the processes of", &dir.path, e)),
    }
}

/// `cgroup.events`, open, and its `populated`.
fn events(dir: &Dir) -> Result<(OwnedFd, Option<u64>)> {
    let read = || {
        let events = file::open_read(dir.fd.as_fd(), "cgroup.events")?;
        let text = file::read_from_start(events.as_fd())?;
        Ok((events, file::keyed(&text, "populated")))
    };
    read().map_err(|e: Errno| Error::file("read the events of", &dir.path, e))
}

/// Waits until `key` of `cgroup.events` is `wanted`: the file reports a change by POLLPRI since its last reading.
fn wait_for_event(dir: &Dir, key: &str, wanted: u64, action: &'static str) -> Result<()> {
    let fail = |e: Errno| Error::file("read the events of", &dir.path, e);
    let events = file::open_read(dir.fd.as_fd(), "cgroup.events").map_err(fail)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = file::read_from_start(events.as_fd()).map_err(fail)?;
        if file::keyed(&text, key) == Some(wanted) {
            return Ok(());
        }
        wait_until(deadline, &events, PollFlags::PRI).map_err(|_| stuck(dir, action))?;
    }
}

fn wait_until(deadline: Instant, fd: &OwnedFd, flags: PollFlags) -> rustix::io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(fd, flags)], Some(&timeout)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// v1's freezer has no event. It looks at its processes whenever it is read, so it is read until it is content, and the
/// processor is given away in between.
fn freeze_v1(dir: &Dir, frozen: bool) -> Result<()> {
    let (wanted, action) = if frozen { ("FROZEN", "freeze") } else { ("THAWED", "thaw") };
    let fail = |e: Errno| Error::file(action, &dir.path, e);
    let deadline = Instant::now() + PATIENCE;
    file::write(dir.fd.as_fd(), "freezer.state", wanted).map_err(fail)?;
    while file::read(dir.fd.as_fd(), "freezer.state").map_err(fail)?.trim() != wanted {
        if Instant::now() > deadline {
            return Err(stuck(dir, action));
        }
        rustix::thread::sched_yield();
    }
    Ok(())
}

fn stuck(dir: &Dir, wanted: &'static str) -> Error {
    Error::Stuck { path: dir.path.clone(), wanted, seconds: PATIENCE.as_secs() as u32 }
}
