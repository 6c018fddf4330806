//! What security modules know a program by: an AppArmor profile or an SELinux context, in force from its execve on.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{FsWord, OFlags, statfs};
use rustix::process::getpid;
use tare_oci::runtime::Spec;
use tare_sys::path::open_without_links;

use crate::error::{Error, Result};
use crate::failure::{Failure, Step};
use crate::plan::Labels;
use crate::procfs;

/// `SELINUX_MAGIC`.
const SELINUX: FsWord = 0xf97c_ff8c;

/// A label is a promise: where the module that would keep it is not at work, the container is not made.
pub(crate) fn check(labels: &Labels, spec: &Spec) -> Result<()> {
    if labels.apparmor.is_some() && !apparmor() {
        return Err(Error::spec(
            "process.apparmorProfile",
            "needs AppArmor, which is not enabled on this machine",
        ));
    }
    let mount_label = spec.linux.as_ref().and_then(|linux| linux.mount_label.as_deref()).unwrap_or_default();
    let asked =
        [("process.selinuxLabel", labels.selinux.is_some()), ("linux.mountLabel", !mount_label.is_empty())];
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((field, _)) if !selinux() => {
            Err(Error::spec(field, "needs SELinux, which is not enabled on this machine"))
        }
        _ => Ok(()),
    }
}

fn apparmor() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn selinux() -> bool {
    statfs("/sys/fs/selinux").is_ok_and(|found| found.f_type == SELINUX)
}

/// Asks for the labels of the program to come.
pub(crate) fn ask(labels: &Labels) -> Result<(), Failure> {
    let Labels { apparmor, selinux } = labels;
    if let Some(profile) = apparmor {
        // The first is AppArmor's own since Linux 5.8; the other one belongs to the first module of several.
        write("set the AppArmor profile", &["attr/apparmor/exec", "attr/exec"], &format!("exec {profile}"))?;
    }
    if let Some(context) = selinux {
        write("set the SELinux label", &["attr/exec"], context)?;
    }
    Ok(())
}

fn write(step: &str, files: &[&str], text: &str) -> Result<(), Failure> {
    let proc = procfs::private().step(|| format!("{step}: mount a private procfs"))?;
    let own = PathBuf::from(getpid().as_raw_pid().to_string());
    let open = |file: &&str| open_without_links(proc.as_fd(), &own.join(file), OFlags::WRONLY);
    let file = files.iter().map(open).reduce(|found, next| found.or(next));
    let file = file.expect("a label has a file").at(step)?;
    rustix::io::write(&file, text.as_bytes()).at(step).map(drop)
}
