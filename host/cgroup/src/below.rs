//! A group below a container's own, for a program that enters it.

use std::path::{Component, Path};

use crate::error::{Error, Result};
use crate::file;
use crate::group::{Cgroup, Dir};

impl Cgroup {
    /// The same group, but in the hierarchies of the controllers named a group below it, which must exist; without a
    /// controller in all of them. No wish is the group itself.
    ///
    /// # Errors
    /// A path that climbs, a controller that no hierarchy of the group has, a group that is not there.
    pub fn below(mut self, wanted: &[(Option<&str>, &Path)]) -> Result<Self> {
        for (controller, path) in wanted {
            let clean = path.strip_prefix("/").unwrap_or(path);
            if clean.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(Error::InvalidPath { path: path.to_path_buf() });
            }
            let mut found = false;
            for dir in self.dirs.iter_mut().filter(|dir| carries(dir, *controller)) {
                descend(dir, clean)?;
                found = true;
            }
            if !found {
                let name = controller.unwrap_or("any");
                return Err(Error::UnknownController { controller: name.to_owned() });
            }
        }
        Ok(self)
    }
}

fn carries(dir: &Dir, controller: Option<&str>) -> bool {
    controller.is_none_or(|wanted| match wanted {
        "unified" | "" => dir.hierarchy.unified,
        wanted => dir.hierarchy.controllers.iter().any(|known| known == wanted),
    })
}

fn descend(dir: &mut Dir, path: &Path) -> Result<()> {
    let below = dir.path.join(path);
    dir.fd = file::open_dir(rustix::fs::CWD, &below).map_err(|e| Error::file("open cgroup", &below, e))?;
    dir.path = below;
    Ok(())
}
