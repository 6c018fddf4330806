//! Containers that outlive the process which made them, as the OCI command line has them: each is a directory below the
//! root of the runtime's state, with what is known of it (`state.json`), its own copy of `config.json`, and until its
//! start the door at which its init waits. There is no daemon: whoever asks looks at the kernel.

mod checkpoint;
mod console;
mod create;
mod delete;
mod enter;
mod group;
mod images;
mod kill;
mod list;
mod record;
mod restore;
mod start;
mod status;
mod unit;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{FileType, FlockOperation, flock, lstat, stat};
use rustix::process::geteuid;
use tare_cgroup::{Cgroup, Hierarchies, OomWatch, Stats};
use tare_oci::runtime::{self, Resources, Spec};

use crate::create::rdt;
use crate::error::{Error, Result};
use crate::plan;

pub use checkpoint::Checkpoint;
pub use console::hand_over;
pub use create::{Making, Request, create};
pub use delete::delete;
pub use enter::Entry;
pub use images::{Care, GroupsMode, Images};
pub use list::list;
pub use record::{Record, State, Status, replace};
pub use restore::{Restore, restore};

/// A container's configuration, as it was when it was made.
const CONFIG: &str = "config.json";
/// Compiled seccomp filters, beside the containers: a name that no container can have.
const FILTERS: &str = "~seccomp";

/// One container.
#[derive(Debug)]
pub struct Kept {
    dir: PathBuf,
    /// What was written down when it was made.
    pub record: Record,
}

impl Kept {
    /// Finds a container by its id.
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub fn open(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        let dir = root.join(id);
        check_owner(root, &dir)?;
        let record = Record::read(&dir)?;
        Ok(Self { dir, record })
    }

    /// Its configuration.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn spec(&self) -> Result<Spec> {
        read_spec(&self.dir.join(CONFIG))
    }

    /// Stops all processes, or lets them go on.
    ///
    /// # Errors
    /// When it does not run, or is not paused.
    pub fn pause(&self, paused: bool) -> Result<()> {
        match (self.status()?, paused) {
            (Status::Running | Status::Created, true) | (Status::Paused, false) => {
                Ok(self.cgroup()?.freeze(paused)?)
            }
            (_, true) => Err(Error::NotNow("container not running".to_owned())),
            (_, false) => Err(Error::NotNow("container not paused".to_owned())),
        }
    }

    /// Changes limits; what `changes` do not name stays as it is. They become part of its configuration, as if it had been
    /// made with them.
    ///
    /// # Errors
    /// The first limit that does not hold; those before it do then.
    pub fn update(&self, changes: &Resources) -> Result<()> {
        let _lock = self.lock()?;
        self.alive("update")?;
        let mut spec = self.spec()?;
        let linux = spec.linux.get_or_insert_default();
        let old = linux.resources.take().unwrap_or_default();
        let changed = old.changed(changes);
        self.cgroup()?.apply(&changed)?;
        linux.resources = Some(old.with(&changed));
        self.write_spec(&spec)
    }

    /// Changes the container's share of caches and of memory bandwidth, as lines of resctrl; one that is absent stays as it is.
    ///
    /// # Errors
    /// When this machine has no resctrl, or it does not take them.
    pub fn update_rdt(&self, l3_cache: Option<&str>, memory_bandwidth: Option<&str>) -> Result<()> {
        let _lock = self.lock()?;
        self.alive("update")?;
        let mut spec = self.spec()?;
        let share = spec.linux.get_or_insert_default().intel_rdt.get_or_insert_default();
        if let Some(line) = l3_cache {
            share.l3_cache_schema = line.to_owned();
        }
        if let Some(line) = memory_bandwidth {
            share.mem_bw_schema = line.to_owned();
        }
        if let Some(plan) = spec.linux.as_ref().map(plan::class_of_service).transpose()?.flatten() {
            let others =
                self.processes().unwrap_or_default().into_iter().filter(|pid| *pid != self.record.pid);
            let pids: Vec<i32> = std::iter::once(self.record.pid).chain(others).collect();
            rdt::change(&plan, &self.record.id, &pids)?;
        }
        self.write_spec(&spec)
    }

    fn write_spec(&self, spec: &Spec) -> Result<()> {
        let text = serde_json::to_vec(spec).map_err(|e| Error::step("write config.json", e))?;
        replace(&self.dir.join(CONFIG), &text, 0o600).map_err(|e| Error::step("write config.json", e))
    }

    /// Its processes, as the caller's process id namespace numbers them.
    ///
    /// # Errors
    /// When the group cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut processes = self.cgroup()?.processes()?;
        processes.sort_unstable();
        Ok(processes)
    }

    /// What it has used, as far as the kernel counts it.
    ///
    /// # Errors
    /// When it does not run, or the group cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        self.alive("read the figures of")?;
        Ok(self.cgroup()?.full_stats()?)
    }

    /// init, to wait for its end; none where it has ended.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn pidfd(&self) -> Result<Option<OwnedFd>> {
        self.init()
    }

    /// Watches for processes that the kernel ends for want of memory; none without a memory controller.
    ///
    /// # Errors
    /// When it does not run, or the group cannot be watched.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        self.alive("watch")?;
        Ok(self.cgroup()?.watch_oom()?)
    }

    /// How many processes the kernel has ended for want of memory.
    ///
    /// # Errors
    /// When the group cannot be read.
    pub fn oom_kills(&self) -> Result<u64> {
        Ok(self.cgroup()?.oom_kills()?)
    }

    fn alive(&self, verb: &str) -> Result<()> {
        match self.status()? {
            Status::Stopped => {
                Err(Error::NotNow(format!("cannot {verb} a stopped container: container not running")))
            }
            _ => Ok(()),
        }
    }

    fn cgroup(&self) -> Result<Cgroup> {
        let path =
            self.record.cgroup.as_ref().ok_or(Error::NoGroup { wanted: "pause, limits and figures" })?;
        let group = Cgroup::open(hierarchies()?, path)?;
        Ok(group.kept_by(self.record.unit.clone()))
    }

    /// One start or delete at a time.
    fn lock(&self) -> Result<File> {
        let dir = File::open(&self.dir).map_err(|e| missing_or(&self.dir, &e))?;
        rustix::io::retry_on_intr(|| flock(dir.as_fd(), FlockOperation::LockExclusive))
            .map_err(|e| Error::step("lock the container", e))?;
        // Whoever had the lock may have deleted it.
        if self.dir.join(record::FILE).exists() { Ok(dir) } else { Err(Error::NoContainer) }
    }
}

/// Found once for what one command does.
fn hierarchies() -> Result<&'static Hierarchies> {
    static FOUND: OnceLock<Hierarchies> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found);
    }
    let found = Hierarchies::detect()?;
    Ok(FOUND.get_or_init(|| found))
}

/// What is written there is believed, groups to be killed included: so it must be this user's own, in a place where
/// nobody else can put something under that name.
fn check_owner(root: &Path, dir: &Path) -> Result<()> {
    let own = geteuid().as_raw();
    let above = stat(root).map_err(|e| missing_or(root, &e.into()))?;
    let found = lstat(dir).map_err(|e| missing_or(dir, &e.into()))?;
    let foreign = |path: &Path, owner| Err(Error::Foreign { path: path.display().to_string(), owner });
    if above.st_uid != own && above.st_uid != 0 {
        return foreign(root, above.st_uid);
    }
    if found.st_uid != own {
        return foreign(dir, found.st_uid);
    }
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        Ok(())
    } else {
        Err(Error::NoContainer)
    }
}

/// An id becomes a name of a directory.
fn check_id(id: &str) -> Result<()> {
    let known = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.'));
    if known && !id.is_empty() && id.len() <= 255 && !matches!(id, "." | "..") {
        return Ok(());
    }
    Err(Error::spec("container id", "must be letters, digits and _ + - . only"))
}

/// More than any container needs, and no more than can be read at once.
const LARGEST_CONFIG: u64 = 16 << 20;

fn read_spec(path: &Path) -> Result<Spec> {
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let size = file.metadata().map_or(0, |found| found.len().min(LARGEST_CONFIG));
    let mut text = Vec::with_capacity(size as usize + 1);
    file.take(LARGEST_CONFIG + 1).read_to_end(&mut text).map_err(|e| unreadable(path, &e))?;
    if text.len() as u64 > LARGEST_CONFIG {
        return Err(Error::spec("config.json", "must be at most 16 MiB"));
    }
    parse(&text)
}

/// config.json, as far as its form goes.
pub(crate) fn parse(text: &[u8]) -> Result<Spec> {
    runtime::read(text).map_err(|misfit| match misfit.field.as_str() {
        "" => Error::spec("config.json", misfit.rule),
        _ => Error::spec(misfit.field, misfit.rule),
    })
}

fn unreadable(path: &Path, cause: &io::Error) -> Error {
    Error::Bundle { path: path.display().to_string(), reason: crate::failure::describe(cause) }
}

fn missing_or(path: &Path, cause: &io::Error) -> Error {
    if cause.kind() == io::ErrorKind::NotFound { Error::NoContainer } else { unreadable(path, cause) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_lead_anywhere() {
        for id in ["a", "web-1", "a+b_c.d", &"f".repeat(64)] {
            check_id(id).unwrap();
        }
        for id in ["", ".", "..", "a/b", "../a", "a b", "~seccomp", "a\0b", "ä", &"f".repeat(256)] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }
}
