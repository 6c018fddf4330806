//! What checkpoint and restore have in common: where the images are, what criu is asked to care for, and which parts of
//! a container come from outside of it.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use tare_cgroup::Cgroup;
use tare_oci::runtime::{NamespaceKind, Spec};

use crate::criu::{Message, Request, log_name};
use crate::error::{Error, Result};
use crate::plan::{self, InitPlan, MountKind};

/// The standard streams as they were, one text each; the name is the field's.
pub(super) const STREAMS: &str = "descriptors.json";

/// Where a container is written to, or read from, and by which program.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// criu: a name in $PATH, or a path.
    pub criu: &'a str,
    /// The directory of the images.
    pub dir: &'a Path,
    /// The directory of criu's log; none = that of the images.
    pub work: Option<&'a Path>,
    /// What is to be cared for.
    pub care: Care,
}

/// What criu leaves alone, or refuses, unless it is asked: criu(8).
#[derive(Clone, Copy, Debug, Default)]
pub struct Care {
    /// Open TCP connections.
    pub tcp_established: bool,
    /// Unix sockets whose other end is outside.
    pub external_sockets: bool,
    /// A terminal of the caller's.
    pub shell_job: bool,
    /// Locks on files.
    pub file_locks: bool,
    /// Memory comes when it is asked for.
    pub lazy_pages: bool,
    /// Pages that a later image has are taken out of the earlier one.
    pub auto_dedup: bool,
    /// The network namespace is made anew and empty.
    pub empty_network: bool,
    /// What becomes of cgroups.
    pub groups: GroupsMode,
}

/// `--manage-cgroups-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupsMode {
    /// They are not looked at.
    Ignore = 0,
    /// Those that are missing are made.
    #[default]
    Soft = 3,
    /// All are made, with their limits.
    Full = 4,
    /// All are made, and none may be there.
    Strict = 5,
}

/// Fields of criu_opts.
pub(super) mod names {
    pub(crate) const IMAGES: u32 = 1;
    pub(crate) const PID: u32 = 2;
    pub(crate) const LEAVE_RUNNING: u32 = 3;
    pub(crate) const EXTERNAL_SOCKETS: u32 = 4;
    pub(crate) const TCP_ESTABLISHED: u32 = 5;
    pub(crate) const EVASIVE_DEVICES: u32 = 6;
    pub(crate) const SHELL_JOB: u32 = 7;
    pub(crate) const FILE_LOCKS: u32 = 8;
    pub(crate) const LOG_LEVEL: u32 = 9;
    pub(crate) const LOG_FILE: u32 = 10;
    pub(crate) const PAGE_SERVER: u32 = 11;
    pub(crate) const NOTIFY: u32 = 12;
    pub(crate) const ROOT: u32 = 13;
    pub(crate) const PARENT: u32 = 14;
    pub(crate) const TRACK_MEMORY: u32 = 15;
    pub(crate) const AUTO_DEDUP: u32 = 16;
    pub(crate) const WORK: u32 = 17;
    pub(crate) const LINK_REMAP: u32 = 18;
    pub(crate) const FORCE_IRMAP: u32 = 21;
    pub(crate) const MANAGE_GROUPS: u32 = 24;
    pub(crate) const GROUP_ROOT: u32 = 25;
    pub(crate) const SIBLING: u32 = 26;
    pub(crate) const INHERIT: u32 = 27;
    pub(crate) const GROUPS_MODE: u32 = 34;
    pub(crate) const EXTERNAL: u32 = 37;
    pub(crate) const EMPTY_NAMESPACES: u32 = 38;
    pub(crate) const FREEZER: u32 = 44;
    pub(crate) const SKIP_IN_FLIGHT: u32 = 46;
    pub(crate) const LAZY_PAGES: u32 = 48;
    pub(crate) const STATUS: u32 = 49;
    pub(crate) const ORPHAN_TERMINAL: u32 = 50;
    pub(crate) const LABEL: u32 = 53;
    pub(crate) const MOUNT_LABEL: u32 = 63;
}

/// The directories, open for criu.
#[derive(Debug)]
pub(super) struct Dirs {
    pub(super) images: OwnedFd,
    pub(super) work: OwnedFd,
}

impl Images<'_> {
    /// Where criu's log is.
    pub(super) fn log_dir(&self) -> &Path {
        self.work.unwrap_or(self.dir)
    }

    pub(super) fn open(&self) -> Result<Dirs> {
        let open = |path: &Path| {
            let opened = File::open(path).map(OwnedFd::from);
            opened.map_err(|e| Error::step(&format!("open {}", path.display()), e))
        };
        Ok(Dirs { images: open(self.dir)?, work: open(self.log_dir())? })
    }

    /// What both requests say.
    pub(super) fn options(&self, dirs: &Dirs, request: Request) -> Message {
        let care = &self.care;
        let mut options = Message::default();
        options.number(names::IMAGES, dirs.images.as_raw_fd() as u64);
        options.number(names::WORK, dirs.work.as_raw_fd() as u64);
        options.number(names::LOG_LEVEL, 4);
        options.text(names::LOG_FILE, log_name(request).as_bytes());
        options.flag(names::EXTERNAL_SOCKETS, care.external_sockets);
        options.flag(names::TCP_ESTABLISHED, care.tcp_established);
        options.flag(names::EVASIVE_DEVICES, true);
        options.flag(names::SHELL_JOB, care.shell_job);
        options.flag(names::FILE_LOCKS, care.file_locks);
        options.flag(names::AUTO_DEDUP, care.auto_dedup);
        options.flag(names::LAZY_PAGES, care.lazy_pages);
        options.flag(names::NOTIFY, true);
        options.flag(names::ORPHAN_TERMINAL, true);
        options.flag(names::MANAGE_GROUPS, true);
        options.number(names::GROUPS_MODE, care.groups as u64);
        if care.empty_network {
            options.number(names::EMPTY_NAMESPACES, tare_sys::clone::NEW_NETWORK);
        }
        options
    }
}

/// Mounts whose source is the host's: where they are inside, and what is there outside.
pub(super) fn external_mounts(plan: &InitPlan, group: Option<&Cgroup>) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for mount in &plan.mounts {
        match &mount.kind {
            MountKind::Bind { source, .. } => found.push((mount.destination.clone(), source.clone())),
            MountKind::Cgroup => {
                let sources = group.map(Cgroup::mount_sources).unwrap_or_default();
                found.extend(sources.into_iter().map(|one| (mount.destination.join(one.name), one.path)));
            }
            _ => {}
        }
    }
    if plan.devices.bind && plan.devices.fill {
        found.extend(plan.devices.list.iter().map(|device| (device.path.clone(), device.path.clone())));
    }
    found.extend(plan.hidden.masked.iter().map(|path| (path.clone(), PathBuf::from("/dev/null"))));
    found
}

/// `mnt[KEY]:VALUE`.
pub(super) fn external(options: &mut Message, key: &Path, value: &Path) {
    let text = format!("mnt[{}]:{}", key.display(), value.display());
    options.text(names::EXTERNAL, text.as_bytes());
}

/// The namespaces of others that a container shares, which criu knows how to leave alone: the word for /proc/PID/ns, the
/// path that config.json gives, and the key that stands for it in the images, which is the field's.
pub(super) fn shared_namespaces(spec: &Spec) -> Vec<(&'static str, PathBuf, &'static str)> {
    let known =
        [(NamespaceKind::Network, "net", "extRootNetNS"), (NamespaceKind::Pid, "pid", "extRootPidNS")];
    let namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    let shared = namespaces.filter_map(|one| {
        let path = one.path.clone().filter(|path| !path.as_os_str().is_empty())?;
        known.into_iter().find(|(kind, _, _)| *kind == one.kind).map(|(_, name, key)| (name, path, key))
    });
    shared.collect()
}

/// The plan of a container that was made with this config.json.
pub(super) fn planned(spec: &Spec, bundle: &Path) -> Result<InitPlan> {
    plan::plan(spec, bundle)
}

/// What was written down of the standard streams.
pub(super) fn read_streams(dir: &Path) -> Result<Vec<String>> {
    let path = dir.join(STREAMS);
    let text = fs::read(&path).map_err(|e| super::unreadable(&path, &e))?;
    serde_json::from_slice(&text).map_err(|e| super::unreadable(&path, &e.into()))
}
