use std::ffi::CString;
use std::path::PathBuf;

use rustix::process::Resource;
use tare_model::Capability;
use tare_oci::runtime::{Capabilities, Process, User};

use super::schedule::{self, Schedule};
use crate::error::{Error, Result};

/// A program, and everything that it is allowed.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    pub(crate) args: Vec<CString>,
    pub(crate) env: Vec<CString>,
    /// Absolute, as the image or the user wrote it.
    pub(crate) cwd: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) capabilities: CapabilitySets,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) no_new_privileges: bool,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) schedule: Schedule,
    pub(crate) labels: Labels,
    /// What config.json asks for in vain.
    pub(crate) warnings: Vec<String>,
}

/// What security modules know it by.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    /// An AppArmor profile.
    pub(crate) apparmor: Option<String>,
    /// An SELinux context.
    pub(crate) selinux: Option<String>,
}

/// Who it runs as, in the container's user namespace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Exactly these.
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: u32,
}

/// The five sets as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CapabilitySets {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

/// One limit.
#[derive(Debug)]
pub(crate) struct Rlimit {
    pub(crate) name: &'static str,
    pub(crate) resource: Resource,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

pub(crate) fn plan(process: &Process) -> Result<ProcessPlan> {
    if process.args.first().is_none_or(String::is_empty) {
        return Err(Error::spec("process.args", "must name a program"));
    }
    if !process.cwd.is_absolute() || process.cwd.as_os_str().as_encoded_bytes().contains(&0) {
        let rule = format!("must be an absolute path, not \"{}\"", process.cwd.display());
        return Err(Error::spec("process.cwd", rule));
    }
    Ok(ProcessPlan {
        args: strings("process.args", &process.args)?,
        env: strings("process.env", &process.env)?,
        cwd: process.cwd.clone(),
        identity: identity(&process.user)?,
        capabilities: process.capabilities.as_ref().map(capabilities).transpose()?.unwrap_or_default(),
        rlimits: rlimits(process)?,
        no_new_privileges: process.no_new_privileges,
        oom_score_adj: oom_score_adj(process)?,
        schedule: schedule::plan(process)?,
        labels: labels(process)?,
        warnings: unknown_capabilities(process),
    })
}

fn labels(process: &Process) -> Result<Labels> {
    let text = |field: &str, label: &Option<String>| {
        let label = label.clone().filter(|label| !label.is_empty());
        match label {
            Some(label) if label.contains(['\0', '\n']) => {
                Err(Error::spec(field, "must be one line without NUL"))
            }
            label => Ok(label),
        }
    };
    let apparmor = text("process.apparmorProfile", &process.apparmor_profile)?;
    Ok(Labels {
        apparmor: apparmor.filter(|profile| profile != "unconfined"),
        selinux: text("process.selinuxLabel", &process.selinux_label)?,
    })
}

/// Names that no kernel of today has are granted by none, and said.
fn unknown_capabilities(process: &Process) -> Vec<String> {
    let unknown = process.capabilities.iter().map(|sets| &sets.unknown).filter(|names| !names.is_empty());
    unknown
        .map(|names| format!("ignoring unknown or unavailable capabilities: {}", names.join(", ")))
        .collect()
}

fn strings(field: &str, list: &[String]) -> Result<Vec<CString>> {
    let one = |(i, text): (usize, &String)| {
        CString::new(text.as_str()).map_err(|_| Error::spec(format!("{field}[{i}]"), "must hold no NUL"))
    };
    list.iter().enumerate().map(one).collect()
}

/// The kernel takes −1 for "leave it as it is", which would be the caller's root.
fn identity(user: &User) -> Result<Identity> {
    let groups = user.additional_gids.iter().map(|gid| ("process.user.additionalGids", *gid));
    let ids = [("process.user.uid", user.uid), ("process.user.gid", user.gid)].into_iter().chain(groups);
    if let Some((field, _)) = ids.into_iter().find(|(_, id)| *id == u32::MAX) {
        return Err(Error::spec(field, "must be below 4294967295"));
    }
    let umask = user.umask.unwrap_or(0o022);
    if umask > 0o777 {
        return Err(Error::spec("process.user.umask", "must be at most 0777"));
    }
    Ok(Identity { uid: user.uid, gid: user.gid, groups: user.additional_gids.clone(), umask })
}

fn capabilities(sets: &Capabilities) -> Result<CapabilitySets> {
    let bits = |list: &[Capability]| list.iter().fold(0, |all, one| all | one.bit());
    let permitted = bits(&sets.permitted);
    if let Some(extra) = sets.effective.iter().find(|one| permitted & one.bit() == 0) {
        return Err(Error::spec(
            "process.capabilities.effective",
            format!("holds {extra}, which is not permitted"),
        ));
    }
    let inheritable = bits(&sets.inheritable);
    Ok(CapabilitySets {
        bounding: bits(&sets.bounding),
        effective: bits(&sets.effective),
        permitted,
        inheritable,
        // The kernel keeps nothing else in the ambient set: capabilities(7).
        ambient: bits(&sets.ambient) & permitted & inheritable,
    })
}

const RESOURCES: [(&str, Resource); 16] = [
    ("RLIMIT_CPU", Resource::Cpu),
    ("RLIMIT_FSIZE", Resource::Fsize),
    ("RLIMIT_DATA", Resource::Data),
    ("RLIMIT_STACK", Resource::Stack),
    ("RLIMIT_CORE", Resource::Core),
    ("RLIMIT_RSS", Resource::Rss),
    ("RLIMIT_NPROC", Resource::Nproc),
    ("RLIMIT_NOFILE", Resource::Nofile),
    ("RLIMIT_MEMLOCK", Resource::Memlock),
    ("RLIMIT_AS", Resource::As),
    ("RLIMIT_LOCKS", Resource::Locks),
    ("RLIMIT_SIGPENDING", Resource::Sigpending),
    ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("RLIMIT_NICE", Resource::Nice),
    ("RLIMIT_RTPRIO", Resource::Rtprio),
    ("RLIMIT_RTTIME", Resource::Rttime),
];

fn rlimits(process: &Process) -> Result<Vec<Rlimit>> {
    let mut plan: Vec<Rlimit> = Vec::new();
    for (i, limit) in process.rlimits.iter().enumerate() {
        let field = |name: &str| format!("process.rlimits[{i}].{name}");
        let Some((name, resource)) = RESOURCES.into_iter().find(|(name, _)| *name == limit.kind) else {
            return Err(Error::spec(
                field("type"),
                format!("is no limit of this kernel: \"{}\"", limit.kind),
            ));
        };
        if plan.iter().any(|other| other.name == name) {
            return Err(Error::spec(field("type"), format!("{name} is listed twice")));
        }
        if limit.soft > limit.hard {
            return Err(Error::spec(field("soft"), "must not be above hard"));
        }
        plan.push(Rlimit { name, resource, soft: limit.soft, hard: limit.hard });
    }
    Ok(plan)
}

fn oom_score_adj(process: &Process) -> Result<Option<i32>> {
    match process.oom_score_adj {
        Some(value) if !(-1000..=1000).contains(&value) => {
            Err(Error::spec("process.oomScoreAdj", "must be between -1000 and 1000"))
        }
        value => Ok(value),
    }
}
