use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use tare_oci::runtime::{IdMapping, Linux, NamespaceKind, TimeOffset};
use tare_sys::clone;

use crate::error::{Error, Result};

/// Which namespaces, and how init gets into each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespaces {
    /// Made by the one clone3.
    pub(crate) new: u64,
    /// Made by init itself: its root is the cgroup one is in at that moment, and the clone's caller is in another one.
    pub(crate) new_cgroup: bool,
    /// Of others.
    pub(crate) joined: Vec<Join>,
    /// Of a new user namespace.
    pub(crate) id_maps: Option<IdMaps>,
    /// What the maps of a joined user namespace must be, where config.json says so.
    pub(crate) known_maps: Option<IdMaps>,
    /// Of a new time namespace: then init makes it itself, since clone3 would freeze the offsets before they are written.
    pub(crate) time_offsets: Option<String>,
}

/// A namespace of others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Join {
    /// The clone flag of its kind.
    pub(crate) kind: u64,
    /// Absolute, on the host.
    pub(crate) path: PathBuf,
    /// `linux.namespaces[2].path`.
    pub(crate) field: String,
}

/// As the files of /proc/PID take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) uid: String,
    pub(crate) gid: String,
}

impl Namespaces {
    /// Whether the container has its own namespace of that kind, or joins one.
    pub(crate) fn has(&self, kind: u64) -> bool {
        self.new & kind != 0
            || self.joins(kind)
            || (kind == clone::NEW_CGROUP && self.new_cgroup)
            || (kind == clone::NEW_TIME && self.time_offsets.is_some())
    }

    /// What a user of the container's is called outside; none where that cannot be known, or there is no such user.
    pub(crate) fn host_user(&self, uid: u32) -> Option<u32> {
        if !self.has(clone::NEW_USER) {
            return Some(uid);
        }
        let maps = self.id_maps.as_ref().or(self.known_maps.as_ref())?;
        maps.uid.lines().find_map(|line| {
            let mut numbers = line.split(' ').map(|number| number.parse::<u32>().ok());
            let (inside, outside, size) = (numbers.next()??, numbers.next()??, numbers.next()??);
            let offset = uid.checked_sub(inside).filter(|offset| *offset < size)?;
            outside.checked_add(offset)
        })
    }

    /// Whether the container joins one of others.
    pub(crate) fn joins(&self, kind: u64) -> bool {
        self.joined.iter().any(|join| join.kind == kind)
    }
}

/// The clone flag of a kind.
pub(crate) fn flag(kind: NamespaceKind) -> u64 {
    match kind {
        NamespaceKind::Pid => clone::NEW_PID,
        NamespaceKind::Network => clone::NEW_NETWORK,
        NamespaceKind::Mount => clone::NEW_MOUNT,
        NamespaceKind::Ipc => clone::NEW_IPC,
        NamespaceKind::Uts => clone::NEW_UTS,
        NamespaceKind::User => clone::NEW_USER,
        NamespaceKind::Cgroup => clone::NEW_CGROUP,
        NamespaceKind::Time => clone::NEW_TIME,
    }
}

pub(crate) fn plan(linux: &Linux) -> Result<Namespaces> {
    let mut plan = Namespaces::default();
    for (i, namespace) in linux.namespaces.iter().enumerate() {
        let field = format!("linux.namespaces[{i}]");
        let kind = flag(namespace.kind);
        if plan.has(kind) {
            return Err(Error::spec(field, "is of a kind that was listed before"));
        }
        match namespace.path.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            None if kind == clone::NEW_CGROUP => plan.new_cgroup = true,
            None => plan.new |= kind,
            Some(path) if !path.is_absolute() => {
                return Err(Error::spec(field + ".path", "must be absolute"));
            }
            Some(path) if path.as_os_str().as_encoded_bytes().contains(&0) => {
                return Err(Error::spec(field + ".path", "must hold no NUL"));
            }
            Some(path) => plan.joined.push(Join { kind, path: path.clone(), field: field + ".path" }),
        }
    }
    match id_maps(linux, &plan)? {
        maps if plan.joins(clone::NEW_USER) => plan.known_maps = maps,
        maps => plan.id_maps = maps,
    }
    plan.time_offsets = time_offsets(&linux.time_offsets, &plan)?;
    if plan.time_offsets.is_some() {
        plan.new &= !clone::NEW_TIME;
    }
    Ok(plan)
}

fn id_maps(linux: &Linux, plan: &Namespaces) -> Result<Option<IdMaps>> {
    let lists = [("linux.uidMappings", &linux.uid_mappings), ("linux.gidMappings", &linux.gid_mappings)];
    match lists.iter().find(|(_, list)| !list.is_empty()) {
        Some((field, _)) if !plan.has(clone::NEW_USER) => {
            return Err(Error::spec(*field, "needs a user namespace in linux.namespaces"));
        }
        None if plan.new & clone::NEW_USER == 0 => return Ok(None),
        _ => {}
    }
    let [uid, gid] = lists.map(|(field, list)| id_map(field, list));
    Ok(Some(IdMaps { uid: uid?, gid: gid? }))
}

/// The kernel's own limit: user_namespaces(7).
const MOST_RANGES: usize = 340;

pub(super) fn id_map(field: &str, list: &[IdMapping]) -> Result<String> {
    if list.is_empty() {
        return Err(Error::spec(field, "must map some ids into the user namespace"));
    }
    if list.len() > MOST_RANGES {
        return Err(Error::spec(field, format!("must hold at most {MOST_RANGES} ranges")));
    }
    let mut text = String::new();
    for (i, IdMapping { container_id, host_id, size }) in list.iter().enumerate() {
        let fits = |first: u32| first.checked_add(*size).is_some();
        if *size == 0 || !fits(*container_id) || !fits(*host_id) {
            return Err(Error::spec(
                format!("{field}[{i}].size"),
                "must be positive and stay within 32 bits",
            ));
        }
        let overlaps = |a: u32, b: u32, b_size: u32| {
            u64::from(a) < u64::from(b) + u64::from(b_size) && u64::from(b) < u64::from(a) + u64::from(*size)
        };
        if list[..i]
            .iter()
            .any(|o| overlaps(*container_id, o.container_id, o.size) || overlaps(*host_id, o.host_id, o.size))
        {
            return Err(Error::spec(format!("{field}[{i}]"), "overlaps a mapping before it"));
        }
        writeln!(text, "{container_id} {host_id} {size}").expect("a String takes everything");
    }
    Ok(text)
}

fn time_offsets(offsets: &BTreeMap<String, TimeOffset>, plan: &Namespaces) -> Result<Option<String>> {
    if offsets.is_empty() {
        return Ok(None);
    }
    if plan.new & clone::NEW_TIME == 0 {
        return Err(Error::spec("linux.timeOffsets", "needs a new time namespace in linux.namespaces"));
    }
    let mut text = String::new();
    for (clock, TimeOffset { secs, nanosecs }) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::spec(
                "linux.timeOffsets",
                format!("knows monotonic and boottime, not \"{clock}\""),
            ));
        }
        if *nanosecs >= 1_000_000_000 {
            return Err(Error::spec(
                format!("linux.timeOffsets.{clock}.nanosecs"),
                "must be below 1000000000",
            ));
        }
        writeln!(text, "{clock} {secs} {nanosecs}").expect("a String takes everything");
    }
    Ok(Some(text))
}
