//! Ends a process in the middle of its work, at a chosen step.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tare_tests::{Ran, until};

/// What makes the disk another one: something gets a name or loses it, or is written out.
const STEPS: &str = "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat,symlink,symlinkat,\
    fsync,fdatasync,syncfs,ftruncate";

/// A tracer that kills a process with SIGKILL as soon as one of its threads is about to make its n-th step.
pub(crate) struct Trap {
    pid: u32,
    tracer: Child,
}

impl Trap {
    /// Returns when the process is held. Threads that it makes later are watched too.
    pub(crate) fn set(pid: u32, nth: u32) -> Result<Self> {
        Self::set_at(pid, STEPS, nth)
    }

    /// [`Trap::set`] where only these calls are steps. Each thread counts each call for itself.
    pub(crate) fn set_at(pid: u32, steps: &str, nth: u32) -> Result<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-q", "-o", "/dev/null", "-p", &pid.to_string(), "-e", &format!("trace={steps}")]);
        strace.args(["-e", &format!("inject={steps}:signal=KILL:when={nth}")]);
        let strace = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let tracer = strace.spawn().context("strace is not installed")?;
        let trap = Self { pid, tracer };
        until("the tracer to hold the process", || Ok(threads(pid)? > 0 && held(pid)? == threads(pid)?))?;
        Ok(trap)
    }

    /// Takes the trap away, after something has come to its end; whether it had sprung.
    pub(crate) fn release(self, ran: &Ran) -> Result<bool> {
        let pid = self.pid;
        if ran.code != 0 {
            until("the process to be gone", || Ok(is_dead(pid))).with_context(|| format!("{ran:?}"))?;
        }
        drop(self);
        Ok(is_dead(pid))
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        // The kernel lets go what it held. Asked politely, it would wait for threads that have died at this moment.
        let _ = self.tracer.kill();
        let _ = self.tracer.wait();
    }
}

/// Every step of the beginning, then ever fewer: a layer of many files has as many steps that are alike.
pub(crate) fn next(nth: u32) -> u32 {
    nth + 1 + nth / 6
}

fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['Z', 'X']))
}

fn threads(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

fn held(pid: u32) -> Result<usize> {
    let mut held = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let status = std::fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        ensure!(!status.contains("State:\tZ"), "the process has ended");
        held += usize::from(status.lines().any(|l| l.starts_with("TracerPid:") && !l.ends_with("\t0")));
    }
    Ok(held)
}
