//! A group that systemd makes and keeps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tare_oci::runtime::Resources;

use super::Unit;
use crate::detect::{Hierarchies, relative};
use crate::error::Result;
use crate::group::{Cgroup, adopt};

impl Cgroup {
    /// Has systemd make the group, as a transient unit with these limits, and a process in it from the start: a scope
    /// cannot be without one, nor live on without any. Returns the group's path below the hierarchies' roots, too.
    ///
    /// [`Cgroup::apply`] is to follow, for the limits that systemd has no word for. `annotations` may set properties of
    /// the unit by `org.systemd.property.NAME`.
    ///
    /// # Errors
    /// [`crate::Error::NoSystemd`], [`crate::Error::Unit`]. Nothing is left of the unit then.
    pub fn create_unit(
        hierarchies: &Hierarchies,
        unit: &Unit,
        pid: i32,
        resources: &Resources,
        annotations: &BTreeMap<String, String>,
    ) -> Result<(Self, PathBuf)> {
        let version = hierarchies.version();
        let path = unit.start(pid, version, resources, annotations)?;
        // The error that is returned is the first.
        let group = Self::adopt(hierarchies, &path, unit).inspect_err(|_| drop(unit.stop()))?;
        Ok((group, path))
    }

    /// Takes over the directory that systemd has made.
    fn adopt(hierarchies: &Hierarchies, path: &Path, unit: &Unit) -> Result<Self> {
        let path = relative(path)?;
        let version = hierarchies.version();
        let mut dirs = Vec::with_capacity(hierarchies.list.len());
        for hierarchy in &hierarchies.list {
            match adopt(hierarchy, path, version) {
                Ok(dir) => dirs.push(dir),
                // A user has the groups that systemd handed over, which v1's are not.
                Err(e) if unit.user && matches!(e.errno(), Some(Errno::ACCESS | Errno::PERM)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Self { version, dirs, unit: Some(unit.clone()), below: PathBuf::new() })
    }

    /// The same group, known to be kept by systemd, which is then told of new limits and of the end.
    #[must_use]
    pub fn kept_by(mut self, unit: Option<Unit>) -> Self {
        self.unit = unit;
        self
    }

    /// Kills what is in a unit's group, and has systemd forget it. No group and no unit is no error.
    ///
    /// # Errors
    /// When a process does not end, or systemd does not answer.
    pub fn sweep_unit(hierarchies: &Hierarchies, path: &Path, unit: &Unit) -> Result<()> {
        match Self::open(hierarchies, path) {
            Ok(group) => {
                let group = group.kept_by(Some(unit.clone()));
                group.kill().and_then(|()| group.remove())
            }
            Err(e) if e.errno() == Some(Errno::NOENT) => unit.stop(),
            Err(e) => Err(e),
        }
    }
}
