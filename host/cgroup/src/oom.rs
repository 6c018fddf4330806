//! The kernel's out-of-memory killings.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::file;
use crate::group::{Cgroup, Dir};

/// A descriptor that becomes ready when the group runs out of memory. It may become ready for nothing (a v1 group that
/// is removed does so): [`Cgroup::oom_kills`] tells.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    unified: bool,
}

impl OomWatch {
    /// What to poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What to poll it for.
    pub fn flags(&self) -> PollFlags {
        if self.unified { PollFlags::PRI } else { PollFlags::IN }
    }

    /// Takes the event, so that only the next one makes the descriptor ready again.
    pub fn acknowledge(&self) {
        let mut count = [0; 8];
        // Either answer leaves the descriptor quiet, and there is nobody to tell.
        let _ = if self.unified {
            file::read_from_start(self.fd.as_fd()).map(drop)
        } else {
            rustix::io::read(&self.fd, &mut count).map(drop)
        };
    }
}

impl Cgroup {
    /// How many processes of the group the kernel has ended for want of memory, since the group was made.
    pub fn oom_kills(&self) -> Result<u64> {
        let (dir, name) = match (self.v1("memory"), self.unified()) {
            (Some(dir), _) => (dir, "memory.oom_control"),
            (None, Some(dir)) => (dir, "memory.events"),
            (None, None) => return Ok(0),
        };
        match file::read(dir.fd.as_fd(), name) {
            Ok(text) => Ok(file::keyed(&text, "oom_kill").unwrap_or(0)),
            Err(Errno::NOENT) => Ok(0),
            Err(e) => Err(Error::file("read", dir.path.join(name), e)),
        }
    }

    /// Watches for killings; none where no memory controller is there.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        let watched = match (self.v1("memory"), self.unified()) {
            (Some(dir), _) => watch_v1(dir),
            (None, Some(dir)) => watch_v2(dir),
            (None, None) => return Ok(None),
        };
        match watched {
            Ok(watch) => Ok(Some(watch)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::file("watch the memory of", self.dirs[0].path.clone(), e)),
        }
    }
}

/// v1: an eventfd is registered with `cgroup.event_control` (kernel documentation, cgroup-v1/memory, "OOM Control").
fn watch_v1(dir: &Dir) -> rustix::io::Result<OomWatch> {
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let control = file::open_read(dir.fd.as_fd(), "memory.oom_control")?;
    let line = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
    file::write(dir.fd.as_fd(), "cgroup.event_control", &line)?;
    Ok(OomWatch { fd, unified: false })
}

fn watch_v2(dir: &Dir) -> rustix::io::Result<OomWatch> {
    let watch = OomWatch { fd: file::open_read(dir.fd.as_fd(), "memory.events")?, unified: true };
    // Changes are reported since the last reading.
    watch.acknowledge();
    Ok(watch)
}
