//! Opens the doors.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use tare_http::Listener;

use crate::place;
use crate::settings::{Host, Settings};

/// The first descriptor that systemd passes (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// Listens everywhere it was told to. Clients that come before anything else is ready wait in the kernel's queue.
pub(crate) fn open(settings: &Settings) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for host in &settings.hosts {
        match host {
            Host::Unix(path) => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)
                        .with_context(|| format!("cannot create {}", parent.display()))?;
                }
                listeners.push(Listener::unix(path, place::group(settings))?);
            }
            Host::Tcp(address) => listeners.push(Listener::tcp(*address)?),
            Host::Inherited => {
                for socket in inherited()? {
                    listeners.push(Listener::inherited(socket)?);
                }
            }
        }
    }
    listeners.iter().for_each(|listener| tracing::info!("listening on {}", listener.address()));
    Ok(listeners)
}

fn inherited() -> Result<Vec<OwnedFd>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let own = number("LISTEN_PID").and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id());
    let count = number("LISTEN_FDS").filter(|_| own).unwrap_or(0);
    ensure!(count > 0, "fd:// was given, but systemd passed no socket: is tared started by its socket unit?");
    let sockets = (FIRST..FIRST + count).map(tare_sys::fd::duplicate);
    sockets.collect::<std::io::Result<_>>().context("cannot take the sockets that systemd passed")
}
