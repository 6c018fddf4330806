//! What security modules know a program by: an AppArmor profile or an SELinux context, in force from its execve on.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{FsWord, OFlags, statfs};
use rustix::io::Errno;
use rustix::process::getpid;
use tare_oci::runtime::Spec;
use tare_sys::path::open_without_links;

use crate::error::{Error, Result};
use crate::failure::{Failure, Step};
use crate::plan::Labels;
use crate::procfs;

/// `SELINUX_MAGIC`.
const SELINUX: FsWord = 0xf97c_ff8c;

/// A label is a promise: where the module that would keep it is not at work, or knows no such label, the container is not
/// made.
pub(crate) fn check(labels: &Labels, spec: &Spec) -> Result<()> {
    if let Some(profile) = &labels.apparmor {
        check_profile(profile)?;
    }
    let mount_label = spec.linux.as_ref().and_then(|linux| linux.mount_label.as_deref());
    let contexts = [
        ("process.selinuxLabel", labels.selinux.as_deref()),
        ("linux.mountLabel", mount_label.filter(|label| !label.is_empty())),
    ];
    contexts.into_iter().try_for_each(|(field, context)| match context {
        Some(context) => check_context(field, context),
        None => Ok(()),
    })
}

/// AppArmor answers whether this process could change to a profile, and does not change it. What else it may object to is
/// said when the program is there.
fn check_profile(profile: &str) -> Result<()> {
    const FIELD: &str = "process.apparmorProfile";
    if !apparmor() {
        return Err(Error::spec(FIELD, "needs AppArmor, which is not enabled on this machine"));
    }
    // The container has no part in this procfs.
    let file = ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"]
        .iter()
        .find_map(|path| File::options().write(true).open(path).ok());
    let answer = file.map(|file| rustix::io::write(&file, format!("permprofile {profile}").as_bytes()));
    match answer {
        Some(Err(Errno::NOENT)) => {
            Err(Error::spec(FIELD, format!("must be a profile that is loaded, which \"{profile}\" is not")))
        }
        _ => Ok(()),
    }
}

/// SELinux says which contexts its policy knows.
fn check_context(field: &str, context: &str) -> Result<()> {
    if !selinux() {
        return Err(Error::spec(field, "needs SELinux, which is not enabled on this machine"));
    }
    let file = File::options().read(true).write(true).open("/sys/fs/selinux/context").ok();
    match file.map(|file| rustix::io::write(&file, format!("{context}\0").as_bytes())) {
        Some(Err(Errno::INVAL)) => {
            Err(Error::spec(field, format!("must be a context of the policy, which \"{context}\" is not")))
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
