//! A v2 group becomes a container's own: its user may divide it, and cannot lift its limits.

use std::fs;

use rustix::fs::{AtFlags, Uid, chownat};
use rustix::io::Errno;

use crate::detect::Version;
use crate::error::{Error, Result};
use crate::group::Cgroup;

/// The files that go with a group to whom it is handed over, as the kernel has it (since Linux 4.15).
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";
/// Where it does not say: runtime-spec, config-linux.md, "Cgroup ownership".
const FILES: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Gives the group to a user of the host: its directory and the files that the kernel names for that, no other. Limits
    /// stay where they are. Nothing happens on v1 and hybrid hosts: v1's groups are not safe in other hands (cgroups(7)).
    ///
    /// # Errors
    /// `EPERM` for who may not give files away.
    pub fn give(&self, owner: u32) -> Result<()> {
        let Some(dir) = self.unified().filter(|_| self.version == Version::V2) else { return Ok(()) };
        let names = fs::read_to_string(DELEGATE).unwrap_or_else(|_| FILES.to_owned());
        for name in std::iter::once("").chain(names.lines()) {
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
            match chownat(&dir.fd, name, Some(Uid::from_raw(owner)), None, flags) {
                // The kernel names files of controllers that this group may not have.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => {
                    return Err(Error::file(format!("give to user {owner}"), dir.path.join(name), e));
                }
            }
        }
        Ok(())
    }
}
