use std::fs;
use std::path::Path;

use tare_cgroup::{Cgroup, Unit};

use super::record::{noted_group, noted_unit};
use super::{Kept, Status, check_id, check_owner, hierarchies, missing_or};
use crate::create::rdt;
use crate::error::{Error, Result};
use crate::hooks::Occasions;
use crate::plan;

impl Kept {
    /// Removes what is left of a container that has ended, or was never started. `force` ends one that runs. Answers
    /// what went wrong without keeping the container from being gone.
    ///
    /// # Errors
    /// [`Error::NotNow`] when it runs.
    pub fn delete(&self, force: bool) -> Result<Vec<String>> {
        let _lock = self.lock()?;
        match self.status()? {
            Status::Stopped => {}
            Status::Created => self.end()?,
            _ if force => self.end()?,
            status => {
                let status = format!("{status:?}").to_lowercase();
                let id = &self.record.id;
                return Err(Error::NotNow(format!(
                    "cannot delete container {id} that is not stopped: {status}"
                )));
            }
        }
        let spec = self.spec();
        self.remove()?;
        if let Ok(Some(rdt)) = spec
            .as_ref()
            .map(|spec| spec.linux.as_ref().and_then(|linux| plan::class_of_service(linux).ok().flatten()))
        {
            rdt::leave(&rdt, &self.record.id);
        }
        let hooks = spec.and_then(|spec| Occasions::of(&spec, &self.record.id, &self.record.bundle));
        Ok(match hooks {
            Ok(hooks) => hooks.map(|hooks| hooks.poststop()).unwrap_or_default(),
            Err(error) => vec![error.to_string()],
        })
    }

    fn remove(&self) -> Result<()> {
        sweep(self.record.cgroup.as_deref(), self.record.unit.as_ref())?;
        fs::remove_dir_all(&self.dir).map_err(|e| Error::step("remove the container's directory", e))
    }

    /// Takes back what was made, as far as it goes: the error that is returned is another one, the first.
    pub(super) fn give_up(&self) {
        let _ = self.remove();
    }
}

/// Kills what is left in a group, and removes it.
fn sweep(group: Option<&Path>, unit: Option<&Unit>) -> Result<()> {
    match (group, unit) {
        (Some(path), Some(unit)) => Ok(Cgroup::sweep_unit(hierarchies()?, path, unit)?),
        (Some(path), None) => Ok(Cgroup::sweep(hierarchies()?, path)?),
        (None, Some(unit)) => Ok(unit.stop()?),
        (None, None) => Ok(()),
    }
}

/// What a maker that was killed has left under an id: a directory that holds no container.
///
/// # Errors
/// [`Error::NoContainer`] when there is none.
pub(super) fn remove_unfinished(root: &Path, id: &str) -> Result<()> {
    check_id(id)?;
    let dir = root.join(id);
    check_owner(root, &dir)?;
    sweep(noted_group(&dir).as_deref(), noted_unit(&dir).as_ref())?;
    fs::remove_dir_all(&dir).map_err(|e| missing_or(&dir, &e))
}

/// Deletes by id. With `force` a container that is not there is no error.
///
/// # Errors
/// As for [`Kept::delete`].
pub fn delete(root: &Path, id: &str, force: bool) -> Result<Vec<String>> {
    let deleted = match Kept::open(root, id) {
        Err(Error::NoContainer) if force => remove_unfinished(root, id).map(|()| Vec::new()),
        kept => kept.and_then(|kept| kept.delete(force)),
    };
    match deleted {
        Err(Error::NoContainer) if force => Ok(Vec::new()),
        other => other,
    }
}
