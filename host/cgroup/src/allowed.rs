//! A group for who is not root: in the hierarchies where somebody has given this user a place.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::detect::{Hierarchies, Version, relative};
use crate::error::{Error, Result};
use crate::group::{Cgroup, make};
use crate::inside::remove_dir;

impl Hierarchies {
    /// The v2 group that this process is in, from the hierarchy's root: where systemd's `Delegate=` gives a user a place.
    pub fn own_group(&self) -> Result<PathBuf> {
        const FILE: &str = "/proc/self/cgroup";
        let text = fs::read_to_string(FILE).map_err(|e| Error::file("read", FILE, e))?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        Ok(PathBuf::from(own))
    }

    /// Where this user's new groups belong. Beside the v2 group that this process is in, where the one above is the user's:
    /// v2 hands controllers down only from groups that hold no processes. Otherwise, and beside v1, below it.
    pub fn own_place(&self) -> Result<PathBuf> {
        let own = self.own_group()?;
        let Some(point) = self.list.iter().find(|one| one.unified).map(|one| one.point.as_path()) else {
            return Ok(own);
        };
        let is_ours = |path: &Path| {
            let dir = point.join(path.strip_prefix("/").unwrap_or(path));
            ["", "cgroup.procs", "cgroup.subtree_control"]
                .iter()
                .all(|file| access(dir.join(file), Access::WRITE_OK).is_ok())
        };
        let above = own.parent().filter(|above| above.parent().is_some() && is_ours(above));
        Ok(above.filter(|_| self.version() == Version::V2).map_or(own.clone(), Path::to_path_buf))
    }
}

impl Cgroup {
    /// As [`Cgroup::create`], below `above`, but without the hierarchies in which this user may not make the group or
    /// not move a process into it; none where that is all of them.
    ///
    /// # Errors
    /// What else the kernel says.
    pub fn create_where_allowed(
        hierarchies: &Hierarchies,
        above: &Path,
        name: &Path,
    ) -> Result<Option<Self>> {
        let path = above.join(name);
        let path = relative(&path)?;
        let version = hierarchies.version();
        let mut dirs = Vec::new();
        for hierarchy in &hierarchies.list {
            // A process of v2 moves only where both ends have a common ancestor that its mover may write to.
            let door = hierarchy.point.join(above.strip_prefix("/").unwrap_or(above)).join("cgroup.procs");
            if hierarchy.unified && access(&door, Access::WRITE_OK).is_err() {
                continue;
            }
            match make(hierarchy, path, version) {
                Ok(dir) => dirs.push(dir),
                Err(e)
                    if matches!(
                        e.errno(),
                        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOENT)
                    ) => {}
                Err(first) => {
                    dirs.iter().for_each(|dir| drop(remove_dir(dir)));
                    return Err(first);
                }
            }
        }
        Ok((!dirs.is_empty()).then_some(Self { version, dirs, unit: None, below: PathBuf::new() }))
    }
}
