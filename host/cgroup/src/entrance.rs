//! The quick way into a group.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;

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

impl Cgroup {
    /// Whether [`Cgroup::add`] can have systemd move a process.
    pub fn is_kept_by_systemd(&self) -> bool {
        self.unit.is_some()
    }

    /// Which of v2's rules is behind the kernel's answer to a clone or a move into the group, and what to do.
    pub fn refusal(&self, answer: &io::Error) -> Option<Error> {
        let dir = self.unified()?;
        let read = |name: &str| file::read(dir.fd.as_fd(), name).unwrap_or_default().trim().to_owned();
        let reason = match Errno::from_io_error(answer)? {
            Errno::OPNOTSUPP if read("cgroup.type") == "threaded" => {
                "it is threaded, and takes only threads of processes above it: choose another cgroupsPath"
                    .to_owned()
            }
            Errno::OPNOTSUPP => {
                "a group above it is threaded: choose a cgroupsPath outside of that one".to_owned()
            }
            Errno::BUSY => format!(
                "it hands controllers ({}) down to groups below it, and v2 wants processes only where nothing is handed \
                 down: choose a group below it, or take them off its cgroup.subtree_control",
                read("cgroup.subtree_control")
            ),
            Errno::AGAIN if reached(&read("pids.current"), &read("pids.max")) => {
                format!("its limit of {} processes is reached", read("pids.max"))
            }
            _ => return None,
        };
        Some(Error::TakesNobody { path: dir.path.clone(), reason })
    }
}

/// Whether a count is at its limit; "max" is never.
fn reached(count: &str, limit: &str) -> bool {
    matches!((count.parse::<u64>(), limit.parse::<u64>()), (Ok(count), Ok(limit)) if count >= limit)
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
