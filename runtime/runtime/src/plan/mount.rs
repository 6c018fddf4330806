use std::path::{Path, PathBuf};

use tare_oci::runtime;
use tare_sys::clone;
use tare_sys::mount::{self, Propagation};

use super::inside;
use super::namespace::{IdMaps, Namespaces, id_map};
use crate::error::{Error, Result};

/// Something mounted inside the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Absolute inside the root, without `.` and `..`.
    pub(crate) destination: PathBuf,
    pub(crate) kind: MountKind,
    /// Of the mount itself.
    pub(crate) attributes: Attributes,
    /// Of the mount and all below it.
    pub(crate) recursive: Attributes,
    /// Of the mount and all below it: a mount below that kept another relation to the host would be a way there.
    pub(crate) propagation: Propagation,
    /// Shows its files with other owners.
    pub(crate) id_map: Option<IdMap>,
}

impl Mount {
    /// Gives an SELinux context to a new file system whose files have none of their own.
    pub(super) fn label(&mut self, label: &str) {
        if let MountKind::New { fs, parameters, .. } = &mut self.kind
            && !matches!(fs.as_str(), "proc" | "sysfs" | "mqueue")
            && !parameters.iter().any(|(name, _)| name == "context")
        {
            parameters.push(("context".to_owned(), Some(label.to_owned())));
        }
    }
}

/// Which owners a mount's files are shown with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdMap {
    /// None: those of the user namespace that is joined.
    pub(crate) maps: Option<IdMaps>,
    /// Of all that is mounted below as well.
    pub(crate) recursive: bool,
}

/// Where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MountKind {
    /// A file system of its own.
    New {
        fs: String,
        source: String,
        /// The file system's own parameters.
        parameters: Vec<(String, Option<String>)>,
        /// Starts with a copy of what it covers.
        copy_up: bool,
    },
    /// A tree of the host.
    Bind { source: PathBuf, recursive: bool },
    /// The container's cgroups.
    Cgroup,
    /// What is mounted there already, with these attributes and no others; parameters are for its file system.
    Remount { parameters: Vec<(String, Option<String>)> },
}

/// Bits of `MOUNT_ATTR_…`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl Attributes {
    fn set(&mut self, bit: u64) {
        self.set |= bit;
        self.clear &= !bit;
    }

    fn clear(&mut self, bit: u64) {
        self.clear |= bit;
        self.set &= !bit;
    }

    /// Access times are one field of several bits.
    fn atime(&mut self, value: u64) {
        self.set = self.set & !mount::ATIME | value;
        self.clear |= mount::ATIME;
    }

    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// Relative sources of bind mounts start at the bundle.
pub(crate) fn plan(mounts: &[runtime::Mount], namespaces: &Namespaces, bundle: &Path) -> Result<Vec<Mount>> {
    let one = |(i, mount)| {
        let mut planned = one(&format!("mounts[{i}]"), mount, namespaces)?;
        if let MountKind::Bind { source, .. } = &mut planned.kind {
            *source = bundle.join(&source);
        }
        Ok(planned)
    };
    mounts.iter().enumerate().map(one).collect()
}

#[derive(Default)]
struct Options {
    attributes: Attributes,
    recursive: Attributes,
    propagation: Option<Propagation>,
    bind: Option<bool>,
    copy_up: bool,
    remount: bool,
    /// Whether recursive.
    id_map: Option<bool>,
    rest: Vec<(String, Option<String>)>,
}

fn one(field: &str, mount: &runtime::Mount, namespaces: &Namespaces) -> Result<Mount> {
    let destination = inside(&format!("{field}.destination"), &mount.destination)?;
    if destination == Path::new("/") {
        return Err(Error::spec(format!("{field}.destination"), "must be below the root"));
    }
    let options = options(&format!("{field}.options"), &mount.options, mount.kind.as_deref())?;
    let kind = kind(field, mount, &options)?;
    check_proc(field, &destination, &kind)?;
    let id_map = mapped(field, mount, &options, namespaces)?;
    if id_map.is_some() && !matches!(kind, MountKind::Bind { .. }) {
        return Err(Error::spec(format!("{field}.options"), "only a bind mount can be id-mapped"));
    }
    let Options { attributes, recursive, propagation, .. } = options;
    let propagation = propagation.unwrap_or(Propagation::Private);
    Ok(Mount { destination, kind, attributes, recursive, propagation, id_map })
}

/// With the mount's own maps, else with those of the container's user namespace.
fn mapped(
    field: &str,
    mount: &runtime::Mount,
    options: &Options,
    namespaces: &Namespaces,
) -> Result<Option<IdMap>> {
    let lists = [("uidMappings", &mount.uid_mappings), ("gidMappings", &mount.gid_mappings)];
    let given = lists.iter().any(|(_, list)| !list.is_empty());
    let Some(recursive) = options.id_map.or(given.then_some(false)) else { return Ok(None) };
    if given {
        let [uid, gid] = lists.map(|(name, list)| id_map(&format!("{field}.{name}"), list));
        return Ok(Some(IdMap { maps: Some(IdMaps { uid: uid?, gid: gid? }), recursive }));
    }
    if !namespaces.has(clone::NEW_USER) {
        let rule = "idmap needs uidMappings and gidMappings, or a user namespace in linux.namespaces";
        return Err(Error::spec(format!("{field}.options"), rule));
    }
    Ok(Some(IdMap { maps: namespaces.id_maps.clone(), recursive }))
}

fn kind(field: &str, mount: &runtime::Mount, options: &Options) -> Result<MountKind> {
    let fs = mount.kind.as_deref().unwrap_or_default();
    let source = mount.source.as_deref();
    if [fs].into_iter().chain(source.and_then(Path::to_str)).any(|text| text.contains('\0')) {
        return Err(Error::spec(format!("{field}.source"), "must hold no NUL"));
    }
    if options.remount {
        return remount(field, fs == "bind" || options.bind.is_some(), options);
    }
    if fs == "bind" || options.bind.is_some() {
        let source = source.filter(|path| !path.as_os_str().is_empty());
        let source =
            source.ok_or_else(|| Error::spec(format!("{field}.source"), "is required for a bind mount"))?;
        if let Some((name, _)) = options.rest.first() {
            return Err(Error::spec(
                format!("{field}.options"),
                format!("\"{name}\" means nothing for a bind mount"),
            ));
        }
        return Ok(MountKind::Bind { source: source.to_owned(), recursive: options.bind.unwrap_or(false) });
    }
    match fs {
        "" => Err(Error::spec(format!("{field}.type"), "is required")),
        "cgroup" | "cgroup2" => Ok(MountKind::Cgroup),
        _ if options.copy_up && fs != "tmpfs" => {
            Err(Error::spec(format!("{field}.options"), "tmpcopyup needs a tmpfs"))
        }
        _ => Ok(MountKind::New {
            fs: fs.to_owned(),
            source: source.map_or_else(|| fs.to_owned(), |s| s.to_string_lossy().into_owned()),
            parameters: options.rest.clone(),
            copy_up: options.copy_up,
        }),
    }
}

fn remount(field: &str, bind: bool, options: &Options) -> Result<MountKind> {
    let field = format!("{field}.options");
    if options.copy_up {
        return Err(Error::spec(field, "tmpcopyup needs a new tmpfs"));
    }
    match options.rest.first() {
        Some((name, _)) if bind => {
            Err(Error::spec(field, format!("\"{name}\" means nothing for a bind mount")))
        }
        _ => Ok(MountKind::Remount { parameters: options.rest.clone() }),
    }
}

/// What may be covered in /proc without hiding or faking what the runtime and security modules rely on: the files that
/// lxcfs serves (CVE-2019-16884, CVE-2019-19921).
const COVERABLE: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

fn check_proc(field: &str, destination: &Path, kind: &MountKind) -> Result<()> {
    let proc = Path::new("/proc");
    let allowed = match kind {
        _ if !destination.starts_with(proc) => true,
        MountKind::New { fs, .. } if fs == "proc" => destination == proc,
        // That the tree is procfs is verified when it is opened.
        MountKind::Bind { .. } => {
            destination == proc || COVERABLE.iter().any(|path| destination == Path::new(path))
        }
        // Nothing is covered by it.
        MountKind::Remount { .. } => true,
        MountKind::New { .. } | MountKind::Cgroup => false,
    };
    if allowed {
        Ok(())
    } else {
        Err(Error::spec(format!("{field}.destination"), "must not be inside /proc"))
    }
}

/// Parameters of every file system.
const GENERIC: [&str; 5] = ["sync", "async", "dirsync", "lazytime", "nolazytime"];

fn options(field: &str, list: &[String], kind: Option<&str>) -> Result<Options> {
    let mut options = Options::default();
    for option in list.iter().flat_map(|option| option.split(',')).filter(|option| !option.is_empty()) {
        if option.contains('\0') {
            return Err(Error::spec(field, "must hold no NUL"));
        }
        let known = attribute(&mut options.attributes, option)
            || option.strip_prefix('r').is_some_and(|rest| attribute(&mut options.recursive, rest));
        if !known {
            other(&mut options, option);
        }
    }
    let bind = options.bind.is_some() || kind == Some("bind");
    // The kernel knows them for every file system and passes over them for a bind mount.
    options.rest.retain(|(name, _)| !(bind && GENERIC.contains(&name.as_str())));
    Ok(options)
}

fn attribute(attributes: &mut Attributes, option: &str) -> bool {
    match option {
        "ro" => attributes.set(mount::READ_ONLY),
        "rw" => attributes.clear(mount::READ_ONLY),
        "nosuid" => attributes.set(mount::NO_SUID),
        "suid" => attributes.clear(mount::NO_SUID),
        "nodev" => attributes.set(mount::NO_DEV),
        "dev" => attributes.clear(mount::NO_DEV),
        "noexec" => attributes.set(mount::NO_EXEC),
        "exec" => attributes.clear(mount::NO_EXEC),
        "nosymfollow" => attributes.set(mount::NO_SYMFOLLOW),
        "symfollow" => attributes.clear(mount::NO_SYMFOLLOW),
        "nodiratime" => attributes.set(mount::NO_DIRATIME),
        "diratime" => attributes.clear(mount::NO_DIRATIME),
        "noatime" => attributes.atime(mount::NO_ATIME),
        "strictatime" => attributes.atime(mount::STRICT_ATIME),
        "atime" | "relatime" | "norelatime" | "nostrictatime" => attributes.atime(0),
        _ => return false,
    }
    true
}

fn other(options: &mut Options, option: &str) {
    match option {
        "bind" => options.bind = Some(options.bind.unwrap_or(false)),
        "rbind" => options.bind = Some(true),
        "private" | "rprivate" => options.propagation = Some(Propagation::Private),
        "slave" | "rslave" => options.propagation = Some(Propagation::Slave),
        "shared" | "rshared" => options.propagation = Some(Propagation::Shared),
        "unbindable" | "runbindable" => options.propagation = Some(Propagation::Unbindable),
        "tmpcopyup" => options.copy_up = true,
        "remount" => options.remount = true,
        "idmap" => options.id_map = Some(options.id_map.unwrap_or(false)),
        "ridmap" => options.id_map = Some(true),
        // Mandatory locks are gone since Linux 5.15, versions are counted where the file system can, and nothing is
        // logged here that "silent" could silence.
        "defaults" | "loud" | "silent" | "mand" | "nomand" | "iversion" | "noiversion" => {}
        _ => {
            let (name, value) =
                option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v.to_owned())));
            options.rest.push((name.to_owned(), value));
        }
    }
}
