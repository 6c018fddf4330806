use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tare_model::Signal;
use tare_sys::{clone, signal};

use super::{Kept, Status};
use crate::error::{Error, Result};
use crate::plan;

impl Kept {
    /// Sends a signal to init, or to all processes. Without a process id namespace of its own, SIGKILL goes to all: the
    /// kernel would not end the others with init.
    ///
    /// # Errors
    /// [`Error::NotNow`] when it has ended.
    pub fn kill(&self, wanted: Signal, all: bool) -> Result<()> {
        // Without a group nobody knows the others: they end with init.
        let all =
            self.record.cgroup.is_some() && (all || (wanted == Signal::KILL && !self.has_own_processes()?));
        let Some(init) = self.init()? else {
            return if all {
                self.kill_all(wanted)
            } else {
                Err(Error::NotNow("container not running".to_owned()))
            };
        };
        if all {
            self.kill_all(wanted)?;
        } else {
            signal::send(&init, wanted.number()).map_err(|e| Error::step("send the signal", e))?;
        }
        // What v1's freezer holds does not even die.
        if wanted == Signal::KILL && self.status()? == Status::Paused {
            self.cgroup()?.freeze(false)?;
        }
        Ok(())
    }

    /// Kills init and waits for its end.
    pub(super) fn end(&self) -> Result<()> {
        let Some(init) = self.init()? else { return Ok(()) };
        match self.kill(Signal::KILL, false) {
            // It has ended meanwhile.
            Ok(()) | Err(Error::NotNow(_)) => {}
            Err(e) => return Err(e),
        }
        let mut fds = [PollFd::new(&init, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))
            .map(drop)
            .map_err(|e| Error::step("wait for the container's end", e))
    }

    fn has_own_processes(&self) -> Result<bool> {
        Ok(plan::own_namespaces(&self.spec()?) & clone::NEW_PID != 0)
    }

    fn kill_all(&self, wanted: Signal) -> Result<()> {
        let cgroup = self.cgroup()?;
        if wanted == Signal::KILL {
            return Ok(cgroup.kill()?);
        }
        for pid in cgroup.processes()? {
            let process = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            // Who has ended meanwhile needs no signal.
            let _ = process.map(|process| signal::send(&process, wanted.number()));
        }
        Ok(())
    }
}
