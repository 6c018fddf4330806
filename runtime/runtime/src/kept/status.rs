use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Kept, State, Status};
use crate::door;
use crate::error::{Error, Result};

impl Kept {
    /// Where it is in its life, as the kernel knows it.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn status(&self) -> Result<Status> {
        if self.init()?.is_none() {
            return Ok(Status::Stopped);
        }
        // The group goes when the container is deleted by somebody else.
        let paused = || self.cgroup().and_then(|group| Ok(group.is_frozen()?)).unwrap_or(false);
        Ok(self.status_alive(paused))
    }

    /// Of a container whose init is there. `paused` for who has opened the groups already: there are many with v1.
    pub(super) fn status_alive(&self, paused: impl FnOnce() -> bool) -> Status {
        if self.dir.join(door::START).exists() {
            return Status::Created;
        }
        if paused() { Status::Paused } else { Status::Running }
    }

    /// What `state` prints.
    ///
    /// # Errors
    /// As for [`Kept::status`].
    pub fn state(&self) -> Result<State> {
        Ok(self.state_as(self.status()?))
    }

    /// As the specification wants it told to hooks, too.
    pub(super) fn state_as(&self, status: Status) -> State {
        let record = self.record.clone();
        State {
            oci_version: record.oci_version,
            id: record.id,
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status,
            bundle: record.bundle,
            rootfs: Some(record.rootfs),
            created: Some(record.created),
            annotations: record.annotations,
            owner: statx(CWD, &self.dir, AtFlags::empty(), StatxFlags::UID)
                .ok()
                .map(|found| owner(found.stx_uid)),
        }
    }

    /// init, unless it has ended.
    pub(super) fn init(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.record.pid) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // The number has become a thread's, who is no process of its own (ENOENT since Linux 6.16).
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::step("open the container's init process", e)),
        };
        // Held by the descriptor, the number cannot change its owner any more.
        Ok((began(self.record.pid) == Some(self.record.began)).then_some(pidfd))
    }
}

fn owner(uid: u32) -> String {
    if uid == 0 { "root".to_owned() } else { uid.to_string() }
}

/// When a process began, in ticks since boot; none where it has ended.
pub(super) fn began(pid: i32) -> Option<u64> {
    let mut stat = String::with_capacity(1 << 10);
    File::open(format!("/proc/{pid}/stat")).ok()?.read_to_string(&mut stat).ok()?;
    began_in(&stat)
}

/// proc_pid_stat(5): the name, in parentheses, may hold anything.
fn began_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let ended = matches!(fields.next()?, "Z" | "X");
    let began = fields.nth(18)?.parse().ok()?;
    (!ended).then_some(began)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_begin_of_a_process_is_found_behind_any_name() {
        let rest = "1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 9 9";
        assert_eq!(began_in(&format!("7 (a) b (c) S {rest}")), Some(4711));
        assert_eq!(began_in(&format!("7 (x) Z {rest}")), None);
        assert_eq!(began_in("7 (x"), None);
        assert!(began(std::process::id() as i32).is_some());
    }
}
