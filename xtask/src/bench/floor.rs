//! What the kernel itself charges for a container: one clone3 with the namespaces, the mounts, and the program.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Result;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount,
};
use rustix::process::{WaitId, WaitIdOptions, chdir, pivot_root, waitid};
use tare_sys::clone::{self, Cloned, clone3};
use tare_sys::{exec, process};

const ALL: u64 = clone::NEW_MOUNT
    | clone::NEW_PID
    | clone::NEW_NETWORK
    | clone::NEW_IPC
    | clone::NEW_UTS
    | clone::NEW_CGROUP;

/// Makes it and waits for its end. The caller has one thread.
pub(super) fn run(root: &Path) -> Result<()> {
    match clone3(ALL, None)? {
        Cloned::Child => {
            let done = child(root);
            process::exit(u8::from(done.is_err()))
        }
        Cloned::Parent { pidfd, .. } => {
            let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            anyhow::ensure!(status.and_then(|s| s.exit_status()) == Some(0), "the bare container failed");
            Ok(())
        }
    }
}

fn child(root: &Path) -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount_bind_recursive(root, root)?;
    chdir(root)?;
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "proc", "proc", safe, None)?;
    mount("tmpfs", "dev", "tmpfs", MountFlags::NOSUID, Some(c"mode=755,size=65536k"))?;
    for name in ["dev/pts", "dev/shm", "dev/mqueue"] {
        rustix::fs::mkdir(name, rustix::fs::Mode::from_raw_mode(0o755))?;
    }
    mount("devpts", "dev/pts", "devpts", MountFlags::NOSUID, Some(c"newinstance,ptmxmode=0666,mode=0620"))?;
    mount("shm", "dev/shm", "tmpfs", safe, Some(c"mode=1777,size=65536k"))?;
    mount("mqueue", "dev/mqueue", "mqueue", safe, None)?;
    mount("sysfs", "sys", "sysfs", safe | MountFlags::RDONLY, None)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    Err(exec::execve(c"/bin/true", &[CString::from(c"true")], &[]))
}
