//! # shim: the process beside every container
//!
//! - **Owns**: init as its parent, stdio and pty, the log file, attached peers, execs, the exit record.
//! - **In**: `launch.json`, a listening socket, requests of [`tare_protocol`].
//! - **Out**: responses, events and streams of [`tare_protocol`], the log, `exit.json`.
//! - **Leans on**: runtime (clone, exec), protocol, cgroup, sys, oci, model.
//! - **Never**: has a second thread, sleeps, leans on the daemon being alive once the container runs.
//! - **Invariant**: whatever becomes of the daemon or of an attached peer, the container's output is read and logged, its
//!   end is recorded once, and nothing of it is left in the kernel.
//!
//! [`run`] is one loop around one poll(2): `shim` waits and dispatches, `container` makes and cleans up, `answer` takes
//! requests, `streams` moves bytes between `session`s and `peer`s, `reap` takes the ends of processes.

/// Writes a line to the shim's own log, stderr. `eprintln!` would panic where that file's disk is full.
macro_rules! note {
    ($($text:tt)*) => {{
        let line = format!("tare-shim: {}\n", format_args!($($text)*));
        // There is nobody else to tell.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }};
}
pub(crate) use note;

mod answer;
mod container;
mod error;
mod lines;
mod log;
mod peer;
mod queue;
mod reap;
mod session;
mod shim;
mod stdin;
mod streams;

use std::path::Path;

pub use error::{Error, Result};

/// The shim's whole life, with `<dir>/launch.json` as its order and the listening socket at descriptor 3. Returns after
/// the container has ended, `<dir>/exit.json` is written and every attached peer has been sent all that is its.
///
/// # Errors
/// Only before there is a container, or when the kernel refuses to wait; what goes wrong with the container itself is
/// told to who watches and in `exit.json`.
pub fn run(dir: &Path) -> Result<()> {
    let mut shim = shim::Shim::launch(dir)?;
    while !shim.is_done() {
        if let Err(error) = shim.turn() {
            shim.container.kill_init();
            return Err(error);
        }
    }
    Ok(())
}
