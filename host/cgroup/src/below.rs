//! A group below a container's own, for a program that enters it.

use std::fs;
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
                if dir.hierarchy.unified {
                    self.below.push(clean);
                }
            }
            if !found {
                let name = controller.unwrap_or("any");
                return Err(Error::UnknownController { controller: name.to_owned() });
            }
        }
        Ok(self)
    }

    /// The same group, but in v2 the group below it that a process is in; none where the process is in no group below.
    ///
    /// v2 lets nobody into a group that hands controllers down. An init which divides its container's group has left it
    /// for one below, and who comes later must go there, too.
    pub fn around(&self, pid: i32) -> Result<Option<Self>> {
        let Some(own) = self.unified() else { return Ok(None) };
        let file = format!("/proc/{pid}/cgroup");
        let text = fs::read_to_string(&file).map_err(|e| Error::file("read", file, e))?;
        let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Ok(None) };
        let there = own.hierarchy.point.join(path);
        // Another one's group is not the container's to be put in, wherever its init has been moved to.
        let Ok(below) = there.strip_prefix(&own.path) else { return Ok(None) };
        if below.as_os_str().is_empty() {
            return Ok(None);
        }
        let dirs = self.dirs.iter().map(again).collect::<Result<_>>()?;
        let same = Self { version: self.version, dirs, unit: self.unit.clone(), below: self.below.clone() };
        same.below(&[(Some("unified"), below)]).map(Some)
    }
}

/// Opened another time.
fn again(dir: &Dir) -> Result<Dir> {
    let fd = rustix::io::fcntl_dupfd_cloexec(&dir.fd, 3).map_err(|e| Error::file("open", &dir.path, e))?;
    Ok(Dir { fd, path: dir.path.clone(), hierarchy: dir.hierarchy.clone() })
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
