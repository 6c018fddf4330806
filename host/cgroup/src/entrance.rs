//! The quick way into a group.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::file;
use crate::group::Cgroup;

/// The group's v1 hierarchies, open for a process to let itself in.
///
/// Moving a process waits for all forks and exits of the machine (`cgroup_threadgroup_rwsem`), which after a quiet moment
/// is an RCU grace period: 5 to 20 ms. Two ways need no such wait: a clone with `CLONE_INTO_CGROUP`, for v2, and a thread
/// that moves itself alone by writing 0 to v1's `tasks`, for a process that has no other thread.
#[derive(Debug)]
pub struct Entrance {
    files: Vec<(OwnedFd, PathBuf)>,
}

impl Cgroup {
    /// Opens the way in for [`Entrance::enter`]; the kernel checks the permission of who opens, not of who enters.
    pub fn entrance(&self) -> Result<Entrance> {
        let v1 = self.dirs.iter().filter(|dir| !dir.hierarchy.unified);
        let open = |dir: &crate::group::Dir| match file::open_write(dir.fd.as_fd(), "tasks") {
            Ok(fd) => Ok((fd, dir.path.clone())),
            Err(e) => Err(Error::file("open", dir.path.join("tasks"), e)),
        };
        Ok(Entrance { files: v1.map(open).collect::<Result<_>>()? })
    }
}

impl Entrance {
    /// Moves the calling thread, which must be its process's only one, into the group in all v1 hierarchies. To be called
    /// by the new process itself, before it makes a cgroup namespace. [`Cgroup::v2_dir`] is entered by the clone.
    pub fn enter(&self) -> Result<()> {
        self.files.iter().try_for_each(|(tasks, path)| {
            file::write_to(tasks.as_fd(), "0").map_err(|e| Error::file("enter cgroup", path.clone(), e))
        })
    }

    /// The descriptors, for a process that closes all others before it enters.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.files.iter().map(|(tasks, _)| tasks.as_fd())
    }
}
