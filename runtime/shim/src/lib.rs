//! # shim: the process beside every container
//!
//! - **Owns**: init as its parent, stdio and pty, the log file, attached peers, execs, the exit record.
//! - **In**: `launch.json`, a listening socket, requests of [`protocol`].
//! - **Out**: responses, events and streams of [`protocol`], the log, `exit.json`.
//! - **Leans on**: runtime (clone, exec), cgroup, sys, oci, model.
//! - **Never**: has a second thread, sleeps, leans on the daemon being alive once the container runs.
//! - **Invariant**: whatever becomes of the daemon or of an attached peer, the container's output is read and logged, its
//!   end is recorded once, and nothing of it is left in the kernel.

mod error;
pub mod protocol;

use std::path::Path;

pub use error::{Error, Result};

/// The shim's whole life: returns after `exit.json` is written and all attached peers have drained.
pub fn run(_dir: &Path) -> Result<()> {
    panic!("stands soon")
}
