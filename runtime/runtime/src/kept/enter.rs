use std::os::fd::AsFd;
use std::path::Path;

use tare_oci::runtime::{Process, Spec};

use super::create::{announce, make_filters};
use super::{Kept, Status};
use crate::error::{Error, Result};
use crate::{Running, Stdio, Target, exec};

/// How another program comes into a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry<'a> {
    /// How many of the caller's descriptors from 3 on it inherits.
    pub preserve_fds: u32,
    /// As for [`super::Request`].
    pub listen_fds: u32,
    /// Whether it may come into a container that is paused; it then waits with the others.
    pub ignore_paused: bool,
    /// Groups below the container's own: of one controller, or of all where none is named.
    pub groups: &'a [(Option<&'a str>, &'a Path)],
}

impl Kept {
    /// Runs another program inside. `spec` is the container's configuration.
    ///
    /// # Errors
    /// [`Error::NotNow`] when it has ended, or is paused unless that is to be ignored; otherwise as for [`crate::exec`].
    pub fn exec(&self, spec: &Spec, process: &Process, stdio: Stdio, entry: &Entry<'_>) -> Result<Running> {
        let Some(init) = self.init()? else {
            return Err(Error::NotNow("cannot exec in a stopped container".to_owned()));
        };
        let group = self.cgroup();
        let frozen = || group.as_ref().is_ok_and(|group| group.is_frozen().unwrap_or(false));
        match self.status_alive(frozen) {
            Status::Paused if !entry.ignore_paused => {
                return Err(Error::NotNow(
                    "cannot exec in a paused container (use --ignore-paused to override)".to_owned(),
                ));
            }
            _ => {}
        }
        let cgroup = match self.record.cgroup {
            None if entry.groups.is_empty() => None,
            _ => Some(group?.below(entry.groups)?),
        };
        let mut process = process.clone();
        announce(&mut process, entry.listen_fds);
        let filters = self.dir.parent().and_then(make_filters);
        let target = Target {
            id: &self.record.id,
            bundle: &self.record.bundle,
            pidfd: init.as_fd(),
            spec,
            cgroup: cgroup.as_ref(),
            seccomp_cache: filters.as_deref(),
        };
        exec::exec_preserving(&target, &process, stdio, entry.preserve_fds.saturating_add(entry.listen_fds))
    }
}
