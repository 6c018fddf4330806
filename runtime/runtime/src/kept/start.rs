use std::os::fd::AsFd;

use tare_oci::runtime::Spec;

use super::{Kept, Status};
use crate::door;
use crate::error::{Error, Result};
use crate::hooks::Occasions;

impl Kept {
    /// Lets init become the user's program; returns when it has.
    ///
    /// # Errors
    /// [`Error::NotNow`] unless it waits for that; [`Error::Exec`] when the kernel does not execute the program.
    pub fn start(&self) -> Result<()> {
        let lock = self.lock()?;
        match self.status()? {
            Status::Created => {}
            Status::Stopped => {
                return Err(Error::NotNow("cannot start a container that has stopped".to_owned()));
            }
            _ => return Err(Error::NotNow("cannot start an already running container".to_owned())),
        }
        let started = door::start(lock.as_fd()).map_err(|e| Error::step("start init", e))?;
        door::remove(lock.as_fd()).map_err(|e| Error::step("remove the pipes of the start", e))?;
        match started {
            Ok(true) => {}
            // Whoever asks next finds it stopped, not on its way there.
            Ok(false) => return self.end().and(Err(Error::Died)),
            Err(failure) => return self.end().and(Err(failure.into())),
        }
        self.after_start(&self.spec()?).inspect_err(|_| drop(self.end()))
    }

    /// What comes after the program was started, whoever started it.
    pub(super) fn after_start(&self, spec: &Spec) -> Result<()> {
        let hooks = Occasions::of(spec, &self.record.id, &self.record.bundle)?;
        Ok(hooks.map_or(Ok(()), |hooks| hooks.poststart(self.record.pid))?)
    }
}
