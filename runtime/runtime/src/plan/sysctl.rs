use std::collections::BTreeMap;
use std::path::PathBuf;

use tare_sys::clone;

use super::Namespaces;
use crate::error::{Error, Result};

/// A kernel parameter of one of the container's own namespaces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sysctl {
    /// Below /proc, `sys/net/ipv4/ip_forward`.
    pub(crate) path: PathBuf,
    pub(crate) value: String,
    /// The clone flag of the kind of namespace that keeps it.
    pub(crate) namespace: u64,
}

const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

pub(crate) fn plan(list: &BTreeMap<String, String>, namespaces: &Namespaces) -> Result<Vec<Sysctl>> {
    list.iter().map(|(name, value)| one(name, value, namespaces)).collect()
}

fn one(name: &str, value: &str, namespaces: &Namespaces) -> Result<Sysctl> {
    let field = format!("linux.sysctl.{name}");
    let path = path(name);
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
        return Err(Error::spec(field, "is not the name of a kernel parameter"));
    }
    let (kind, what) = match path.as_str() {
        p if p.starts_with("net/") => (clone::NEW_NETWORK, "network"),
        p if p.starts_with("fs/mqueue/") || IPC.contains(&p) => (clone::NEW_IPC, "ipc"),
        "kernel/hostname" => return Err(Error::spec(field, "is set by the field hostname")),
        "kernel/domainname" => (clone::NEW_UTS, "uts"),
        _ => return Err(Error::spec(field, "is not kept per namespace: it would change the host")),
    };
    if !namespaces.has(kind) {
        let rule = format!("needs a {what} namespace in linux.namespaces: it would change the host");
        return Err(Error::spec(field, rule));
    }
    Ok(Sysctl { path: PathBuf::from(format!("sys/{path}")), value: value.to_owned(), namespace: kind })
}

/// As sysctl(8) reads names: whichever of `.` and `/` comes first separates, the other one stands for itself.
fn path(name: &str) -> String {
    if name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'/') {
        return name.to_owned();
    }
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}
