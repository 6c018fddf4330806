use std::os::fd::AsFd;

use tare_oci::runtime::Process;

use super::create::make_filters;
use super::{Kept, Status};
use crate::error::{Error, Result};
use crate::{Running, Stdio, Target, exec};

impl Kept {
    /// Runs another program inside.
    ///
    /// # Errors
    /// [`Error::NotNow`] when it has ended, or is paused unless that is to be ignored; otherwise as for [`crate::exec`].
    pub fn exec(
        &self,
        process: &Process,
        stdio: Stdio,
        preserve_fds: u32,
        ignore_paused: bool,
    ) -> Result<Running> {
        match self.status()? {
            Status::Stopped => {
                return Err(Error::NotNow("cannot exec in a stopped container".to_owned()));
            }
            Status::Paused if !ignore_paused => {
                return Err(Error::NotNow(
                    "cannot exec in a paused container (use --ignore-paused to override)".to_owned(),
                ));
            }
            _ => {}
        }
        let init = self.init()?.ok_or(Error::Died)?;
        let (spec, cgroup) = (self.spec()?, self.cgroup()?);
        let filters = self.dir.parent().and_then(make_filters);
        let target = Target {
            pidfd: init.as_fd(),
            spec: &spec,
            cgroup: Some(&cgroup),
            seccomp_cache: filters.as_deref(),
        };
        exec::exec_preserving(&target, process, stdio, preserve_fds)
    }
}
