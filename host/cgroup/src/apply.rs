//! Puts limits and device rules in force.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;
use tare_oci::runtime::Resources;

use crate::detect::Version;
use crate::device;
use crate::error::{Error, Result};
use crate::file;
use crate::group::{Cgroup, Dir, delegate};
use crate::plan::{self, Missing, Write};

impl Cgroup {
    /// Sets limits and device rules; what `resources` does not name stays as it is. Works on a running container too.
    ///
    /// # Errors
    /// The first limit that does not hold; those before it stay set.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        self.check_before_update(resources)?;
        self.check_unified(resources)?;
        if let Some(unit) = &self.unit {
            unit.set(self.version, resources)?;
        }
        let mut later = Vec::new();
        let mut open = None;
        for write in self.writes(resources)? {
            match self.write(&write, &mut open) {
                Err(e) if matches!(e.errno(), Some(Errno::INVAL | Errno::BUSY)) => later.push(write),
                other => other?,
            }
        }
        for write in &later {
            self.write(write, &mut open)?;
        }
        self.filter_devices(resources)
    }

    /// Each controller's writes come from the plan of the hierarchy that carries it. Without a v2 hierarchy all come from
    /// v1's, and fail by naming the controller that is not mounted.
    fn writes(&self, resources: &Resources) -> Result<Vec<Write>> {
        if self.unified().is_none() {
            return plan::v1(resources, &|_| true);
        }
        let v1_has =
            |controller: &str| self.v1(if controller == "io" { "blkio" } else { controller }).is_some();
        let mut writes = plan::v1(resources, &|controller| v1_has(controller) || is_v1_only(controller))?;
        writes.extend(plan::v2(resources, &|controller| !v1_has(controller))?);
        Ok(writes)
    }

    fn write(&self, write: &Write, open: &mut Option<OpenFile>) -> Result<()> {
        let Some(dir) =
            self.v1(write.controller).or_else(|| self.unified().filter(|_| !is_v1_only(write.controller)))
        else {
            return Err(Error::NoController { field: write.field, controller: write.controller });
        };
        match write_file(dir, &write.file, &write.value, open) {
            Err(e) if e.errno() == Some(Errno::NOENT) => self.write_missing(write, dir, open),
            other => other,
        }
    }

    /// The file is not there: the controller is not enabled yet, or this kernel has no such knob.
    fn write_missing(&self, write: &Write, dir: &Dir, open: &mut Option<OpenFile>) -> Result<()> {
        if dir.hierarchy.unified && self.version == Version::Hybrid {
            // On a hybrid host a controller is taken from whoever may want to mount it as v1 only when it is needed.
            self.enable(dir, write.controller)?;
            if let Ok(()) = write_file(dir, &write.file, &write.value, open) {
                return Ok(());
            }
        }
        match &write.missing {
            Missing::Skip => Ok(()),
            Missing::Instead(file, value) => match write_file(dir, file, value, open) {
                Err(e) if e.errno() == Some(Errno::NOENT) => Err(missing(write, dir)),
                other => other,
            },
            Missing::Fail => Err(missing(write, dir)),
        }
    }

    /// What names a file of v2 cannot hold where v1 has its controller.
    fn check_unified(&self, resources: &Resources) -> Result<()> {
        let of_v1 = |name: &&String| {
            let controller = name.split('.').next().unwrap_or_default();
            self.unified().is_none()
                || self.v1(if controller == "io" { "blkio" } else { controller }).is_some()
        };
        match resources.unified.keys().find(of_v1) {
            Some(name) => Err(Error::InvalidLimit {
                field: "unified",
                reason: format!("{name} is a file of cgroup v2, and this host has its controller in v1"),
            }),
            None => Ok(()),
        }
    }

    fn enable(&self, dir: &Dir, controller: &str) -> Result<()> {
        let fail = |e: Errno| Error::file(format!("enable {controller} for"), &dir.path, e);
        let path = dir.path.strip_prefix(&dir.hierarchy.point).unwrap_or(Path::new("."));
        let root = file::open_dir(rustix::fs::CWD, &dir.hierarchy.point).map_err(fail)?;
        delegate(root.as_fd(), path, dir.fd.as_fd(), &[controller]).map_err(fail)
    }

    fn check_before_update(&self, resources: &Resources) -> Result<()> {
        let Some(memory) = resources.memory.as_ref().filter(|m| m.check_before_update == Some(true)) else {
            return Ok(());
        };
        let limit = memory.limit.filter(|l| *l > 0);
        let usage = self.stats()?.memory.usage;
        match limit {
            Some(limit) if usage > limit as u64 => Err(Error::InUse { limit, usage }),
            _ => Ok(()),
        }
    }

    /// v2's devices: a new program is attached before the old one goes, so that there is no moment without one.
    fn filter_devices(&self, resources: &Resources) -> Result<()> {
        let rules = device::rules(resources)?;
        if rules.is_empty() || self.v1("devices").is_some() {
            return Ok(());
        }
        let Some(dir) = self.unified() else {
            return Err(Error::NoController { field: "devices", controller: "devices" });
        };
        attach_filter(dir, &device::program(&rules))
    }
}

/// Why a control file is not there.
fn missing(write: &Write, dir: &Dir) -> Error {
    let (field, controller) = (write.field, write.controller);
    if dir.hierarchy.unified {
        if let Some(reason) = barrier(dir, controller) {
            return Error::NotDelegated { field, controller, path: dir.path.clone(), reason };
        }
        if !has_word(dir.fd.as_fd(), "cgroup.controllers", controller) {
            return Error::NoController { field, controller };
        }
    }
    Error::NoFile { field, file: write.file.to_string() }
}

/// The group on the way down that does not hand a v2 controller on, and why. None where it arrives, or is not there at all.
fn barrier(dir: &Dir, controller: &str) -> Option<String> {
    let above: Vec<&Path> =
        dir.path.ancestors().skip(1).take_while(|path| path.starts_with(&dir.hierarchy.point)).collect();
    above.into_iter().rev().find_map(|path| {
        let group = file::open_dir(rustix::fs::CWD, path).ok()?;
        let group = group.as_fd();
        let stops = has_word(group, "cgroup.controllers", controller)
            && !has_word(group, "cgroup.subtree_control", controller);
        stops.then(|| {
            let path = path.display();
            let kind = file::read(group, "cgroup.type").unwrap_or_default();
            if kind.contains("threaded") || kind.contains("invalid") {
                return format!("because {path} is threaded: choose a cgroupsPath outside of it");
            }
            if file::read(group, "cgroup.procs").is_ok_and(|procs| !procs.trim().is_empty()) {
                return format!(
                    "because {path} has processes of its own, and v2 hands controllers only down from groups without: move \
                     them into a group below it, or choose another cgroupsPath"
                );
            }
            format!("because {path} does not hand it on: write +{controller} to its cgroup.subtree_control")
        })
    })
}

fn has_word(group: BorrowedFd<'_>, name: &str, word: &str) -> bool {
    file::read(group, name).is_ok_and(|text| text.split_whitespace().any(|there| there == word))
}

fn attach_filter(dir: &Dir, program: &[u64]) -> Result<()> {
    let fail = |action| move |source| Error::DeviceFilter { action, path: dir.path.clone(), source };
    let group = file::open_listing(dir.fd.as_fd(), ".").map_err(|e| fail("attach")(e.into()))?;
    let old = tare_sys::bpf::device_filters(&group).map_err(fail("list"))?;
    let new = tare_sys::bpf::load_device_filter(program).map_err(fail("load"))?;
    tare_sys::bpf::attach_device_filter(&group, &new).map_err(fail("attach"))?;
    old.iter()
        .try_for_each(|program| tare_sys::bpf::detach_device_filter(&group, program))
        .map_err(fail("detach"))
}

/// Controllers that v2 does not have under any name.
fn is_v1_only(controller: &str) -> bool {
    matches!(controller, "net_cls" | "net_prio")
}

/// The file that was written last: device rules go to one file, a line a write.
struct OpenFile {
    path: std::path::PathBuf,
    fd: std::os::fd::OwnedFd,
}

fn write_file(dir: &Dir, name: &str, value: &str, open: &mut Option<OpenFile>) -> Result<()> {
    let path = dir.path.join(name);
    let fail = |e| Error::file(format!("write {value:?} to"), &path, e);
    if open.as_ref().is_none_or(|file| file.path != path) {
        let fd = file::open_write(dir.fd.as_fd(), name).map_err(fail)?;
        *open = Some(OpenFile { path: path.clone(), fd });
    }
    match open {
        Some(file) => file::write_to(file.fd.as_fd(), value).map_err(fail),
        None => Ok(()),
    }
}
