//! The ids of a new user namespace, written by who made it: user_namespaces(7).

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::plan::IdMaps;

/// Writes both maps. Whoever may map no other ids than the own two has the setuid programs newuidmap(1) and newgidmap(1)
/// write them, which know by /etc/subuid and /etc/subgid what the user has.
pub(crate) fn map(pid: i32, maps: &IdMaps) -> Result<()> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    match fs::write(proc.join("uid_map"), &maps.uid) {
        Err(e) if forbidden(&e) => by_helper("newuidmap", pid, &maps.uid),
        written => written.map_err(|e| Error::step("map user ids", e)),
    }?;
    match fs::write(proc.join("gid_map"), &maps.gid) {
        Err(e) if forbidden(&e) && is_own(&maps.gid) => own_group(&proc, &maps.gid),
        Err(e) if forbidden(&e) => by_helper("newgidmap", pid, &maps.gid),
        written => written.map_err(|e| Error::step("map group ids", e)),
    }
}

fn forbidden(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::PERM.raw_os_error())
}

/// Whether a map holds nothing but the caller's own group.
fn is_own(map: &str) -> bool {
    let gid = rustix::process::getegid().as_raw().to_string();
    matches!(map.split_whitespace().collect::<Vec<_>>()[..], [_, host, "1"] if host == gid)
}

/// A user may map the own group once nobody inside can drop a supplementary one: some are there to forbid.
fn own_group(proc: &Path, map: &str) -> Result<()> {
    fs::write(proc.join("setgroups"), "deny")
        .and_then(|()| fs::write(proc.join("gid_map"), map))
        .map_err(|e| Error::step("map the own group id", e))
}

fn by_helper(name: &str, pid: i32, map: &str) -> Result<()> {
    let Some(program) = in_path(name) else {
        let rule = format!(
            "map ids: {name} is not in $PATH: install it (Debian: uidmap), or map only the own user and group"
        );
        return Err(Failure::rule(rule).into());
    };
    let answer = Command::new(&program).arg(pid.to_string()).args(map.split_whitespace()).output();
    let answer = answer.map_err(|e| Error::step(&format!("run {}", program.display()), e))?;
    if answer.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&answer.stderr);
    let complaint = complaint.lines().next().unwrap_or("it does not say why");
    let file = if name == "newuidmap" { "/etc/subuid" } else { "/etc/subgid" };
    Err(Failure::rule(format!("map ids: {complaint}: {file} must give the ids to this user")).into())
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let places = env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    places.into_iter().find(|place| access(place, Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_alone_needs_no_helper() {
        let own = rustix::process::getegid().as_raw();
        assert!(is_own(&format!("0 {own} 1\n")));
        for other in [format!("0 {} 1\n", own + 1), format!("0 {own} 2\n"), format!("0 {own} 1\n1 9 1\n")] {
            assert!(!is_own(&other), "{other}");
        }
    }
}
