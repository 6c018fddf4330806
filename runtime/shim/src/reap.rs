//! Signals, and the ends of processes.

use rustix::process::{WaitOptions, WaitStatus, wait};

use crate::container::{Init, now};
use crate::error::{Error, Result};
use crate::shim::Shim;
use tare_protocol::{Event, Exit, Phase};

impl Shim {
    pub(crate) fn take_signals(&mut self) -> Result<()> {
        while let Some(signal) =
            tare_sys::signal::next_signal(&self.signals).map_err(|e| Error::system("read a signal", e))?
        {
            match signal.number {
                libc::SIGCHLD => {}
                // Terminals and sessions are none of ours.
                libc::SIGHUP => continue,
                _ => {
                    self.container.kill_init();
                    continue;
                }
            }
            if let Some(exit) = self.reap() {
                self.init_ended(exit);
            }
        }
        Ok(())
    }

    /// Reaps every child that has ended, and returns how init ended if it is among them.
    pub(crate) fn reap(&mut self) -> Option<Exit> {
        let mut ended = None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if self.container.pid == Some(pid) {
                ended = Some(exit_of(status));
            } else {
                self.exec_ended(pid, status);
            }
        }
        ended
    }

    fn init_ended(&mut self, exit: Exit) {
        if self.container.phase == Phase::Creating {
            // It has said why, if it could.
            if let Err(failure) = self.container.ready() {
                return self.fail(failure);
            }
        }
        if let Some(init) = self.sessions.first_mut().filter(|session| session.id.is_none()) {
            init.exit_code = Some(exit.exit_code);
        }
        self.container.init = Init::Absent;
        self.finish(exit);
    }

    fn exec_ended(&mut self, pid: i32, status: WaitStatus) {
        // Numbers are used again: only one that still runs is meant. Others are orphans that came to us.
        let Some(at) = self.sessions.iter().position(|s| s.id.is_some() && s.pid == pid && s.is_running())
        else {
            return;
        };
        let exit_code = exit_of(status).exit_code;
        self.sessions[at].exit_code = Some(exit_code);
        self.sessions[at].pidfd = None;
        self.end_session(at);
        if let Some(id) = self.sessions[at].id.clone() {
            self.tell(Event::ExecExited { id, exit_code });
        }
    }
}

fn exit_of(status: WaitStatus) -> Exit {
    let signal = status.terminating_signal();
    let exit_code = status.exit_status().unwrap_or_else(|| 128 + signal.unwrap_or(0));
    Exit { exit_code, signal, at: now(), oom_killed: false, error: None }
}
