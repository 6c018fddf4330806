use std::path::{Path, PathBuf};

use tare_oci::runtime;
use tare_sys::mount::{self, Propagation};

use super::inside;
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

pub(crate) fn plan(mounts: &[runtime::Mount]) -> Result<Vec<Mount>> {
    mounts.iter().enumerate().map(|(i, mount)| one(&format!("mounts[{i}]"), mount)).collect()
}

#[derive(Default)]
struct Options {
    attributes: Attributes,
    recursive: Attributes,
    propagation: Option<Propagation>,
    bind: Option<bool>,
    copy_up: bool,
    rest: Vec<(String, Option<String>)>,
}

fn one(field: &str, mount: &runtime::Mount) -> Result<Mount> {
    let destination = inside(&format!("{field}.destination"), &mount.destination)?;
    if destination == Path::new("/") {
        return Err(Error::spec(format!("{field}.destination"), "must be below the root"));
    }
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Err(Error::NotSupported { what: format!("{field}.uidMappings: id-mapped mounts") });
    }
    let options = options(&format!("{field}.options"), &mount.options)?;
    let kind = kind(field, mount, &options)?;
    check_proc(field, &destination, &kind)?;
    let Options { attributes, recursive, propagation, .. } = options;
    let propagation = propagation.unwrap_or(Propagation::Private);
    Ok(Mount { destination, kind, attributes, recursive, propagation })
}

fn kind(field: &str, mount: &runtime::Mount, options: &Options) -> Result<MountKind> {
    let fs = mount.kind.as_deref().unwrap_or_default();
    let source = mount.source.as_deref();
    if fs == "bind" || options.bind.is_some() {
        let source = source.filter(|path| !path.as_os_str().is_empty());
        let source =
            source.ok_or_else(|| Error::spec(format!("{field}.source"), "is required for a bind mount"))?;
        if !source.is_absolute() {
            return Err(Error::spec(format!("{field}.source"), "must be absolute"));
        }
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
        MountKind::New { .. } | MountKind::Cgroup => false,
    };
    if allowed {
        Ok(())
    } else {
        Err(Error::spec(format!("{field}.destination"), "must not be inside /proc"))
    }
}

fn options(field: &str, list: &[String]) -> Result<Options> {
    let mut options = Options::default();
    for option in list.iter().flat_map(|option| option.split(',')).filter(|option| !option.is_empty()) {
        if option.contains('\0') {
            return Err(Error::spec(field, "must hold no NUL"));
        }
        let known = attribute(&mut options.attributes, option)
            || option.strip_prefix('r').is_some_and(|rest| attribute(&mut options.recursive, rest));
        if !known && !other(&mut options, option) {
            return Err(Error::NotSupported { what: format!("{field}: \"{option}\"") });
        }
    }
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

fn other(options: &mut Options, option: &str) -> bool {
    match option {
        "bind" => options.bind = Some(options.bind.unwrap_or(false)),
        "rbind" => options.bind = Some(true),
        "private" | "rprivate" => options.propagation = Some(Propagation::Private),
        "slave" | "rslave" => options.propagation = Some(Propagation::Slave),
        "shared" | "rshared" => options.propagation = Some(Propagation::Shared),
        "unbindable" | "runbindable" => options.propagation = Some(Propagation::Unbindable),
        "tmpcopyup" => options.copy_up = true,
        "defaults" | "async" | "loud" | "nomand" | "noiversion" => {}
        "remount" | "idmap" | "ridmap" => return false,
        _ => {
            let (name, value) =
                option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v.to_owned())));
            options.rest.push((name.to_owned(), value));
        }
    }
    true
}
