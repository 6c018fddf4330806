use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use tare_model::Name;

use crate::{Error, Result};

/// Something that appears inside the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// Absolute, inside the container.
    pub target: PathBuf,
    /// What appears there.
    pub source: MountSource,
    /// Whether the container may not write to it.
    pub read_only: bool,
}

/// What appears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Absolute, on the host.
        path: PathBuf,
        /// A missing directory is made (`-v`), or is an error (`--mount`).
        create: bool,
        /// How later mounts travel.
        propagation: BindPropagation,
        /// What is mounted below the source stays out.
        non_recursive: bool,
    },
    /// A volume.
    Volume {
        /// Absent = anonymous: made for this container and removed with it.
        name: Option<Name>,
        /// Absent = `local`.
        driver: Option<String>,
        /// The driver's.
        options: BTreeMap<String, String>,
        /// Of a volume that has to be made.
        labels: BTreeMap<String, String>,
        /// What the image has there is not copied into an empty volume.
        no_copy: bool,
    },
    /// A temporary file system.
    Tmpfs(TmpfsOptions),
    /// Layers put together by overlayfs, for steps of builds alone.
    Overlay {
        /// `lowerdir=…` and the others, as mount(8) writes them.
        options: Vec<String>,
    },
}

/// How mounts made later travel between host and container (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BindPropagation {
    /// Neither way.
    Private,
    /// Neither way, below as well.
    #[default]
    RPrivate,
    /// Both ways.
    Shared,
    /// Both ways, below as well.
    RShared,
    /// From the host in.
    Slave,
    /// From the host in, below as well.
    RSlave,
}

/// A temporary file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TmpfsOptions {
    /// Bytes.
    pub size: Option<u64>,
    /// Permission bits of its root.
    pub mode: Option<u32>,
    /// Mount options in tmpfs(5)'s words; `noexec,nosuid,nodev` are there unless their opposites are named.
    pub options: Vec<String>,
}

impl BindPropagation {
    /// The mount option's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RPrivate => "rprivate",
            Self::Shared => "shared",
            Self::RShared => "rshared",
            Self::Slave => "slave",
            Self::RSlave => "rslave",
        }
    }
}

impl std::str::FromStr for BindPropagation {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let all = [Self::Private, Self::RPrivate, Self::Shared, Self::RShared, Self::Slave, Self::RSlave];
        let found = all.into_iter().find(|propagation| propagation.word() == word);
        found.ok_or_else(|| Error::InvalidSpec(format!("invalid bind propagation: '{word}'")))
    }
}

impl MountSpec {
    /// Reads Docker's `-v` text: `[SOURCE:]TARGET[:MODE]`, where an absolute source is a bind and any other a volume.
    pub fn parse_bind(text: &str) -> Result<Self> {
        let invalid = || Error::InvalidSpec(format!("invalid volume specification: '{text}'"));
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, mode) = match parts[..] {
            [target] => ("", target, ""),
            [source, target] if target.starts_with('/') => (source, target, ""),
            [target, mode] => ("", target, mode),
            [source, target, mode] => (source, target, mode),
            _ => return Err(invalid()),
        };
        if parts.len() > 1 && parts.iter().any(|part| part.is_empty()) {
            return Err(invalid());
        }
        let mode = BindMode::parse(mode, text)?;
        Ok(Self {
            target: check_target(target)?,
            source: mode.source(source, text)?,
            read_only: mode.read_only,
        })
    }

    /// Reads the options of Docker's `--tmpfs TARGET[:OPTIONS]`.
    pub fn parse_tmpfs(target: &str, options: &str) -> Result<Self> {
        let mut tmpfs = TmpfsOptions::default();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let word = option.split_once('=').map_or(option, |(word, _)| word);
            if !TMPFS_WORDS.contains(&word) {
                return Err(Error::InvalidSpec(format!("invalid tmpfs option [\"{option}\"]")));
            }
            tmpfs.options.push(option.to_owned());
        }
        Ok(Self { target: check_target(target)?, source: MountSource::Tmpfs(tmpfs), read_only: false })
    }
}

const TMPFS_WORDS: [&str; 22] = [
    "ro",
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "sync",
    "async",
    "size",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
];

/// Takes a mount point inside the container: absolute, not the root itself.
pub(crate) fn check_target(target: &str) -> Result<PathBuf> {
    let path = Path::new(target);
    if !path.is_absolute() {
        let message = format!("invalid mount path: '{target}' mount path must be absolute");
        return Err(Error::InvalidSpec(message));
    }
    let cleaned = clean(path);
    if cleaned == Path::new("/") {
        return Err(Error::InvalidSpec("invalid specification: destination can't be '/'".to_owned()));
    }
    if target.contains('\0') {
        return Err(Error::InvalidSpec("a mount path holds a zero byte".to_owned()));
    }
    Ok(cleaned)
}

/// Takes out `.`, `..` and doubled slashes by their letters alone, as Go's `path.Clean` does for an absolute path. What the
/// path means inside the container is the kernel's to say, later, with openat2(2).
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

#[derive(Default)]
struct BindMode {
    read_only: bool,
    no_copy: bool,
    propagation: Option<BindPropagation>,
}

impl BindMode {
    fn parse(mode: &str, whole: &str) -> Result<Self> {
        let mut parsed = Self::default();
        for word in mode.split(',').filter(|_| !mode.is_empty()) {
            match word {
                "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
                "ro" => parsed.read_only = true,
                "nocopy" => parsed.no_copy = true,
                other => match other.parse() {
                    Ok(propagation) => parsed.propagation = Some(propagation),
                    Err(_) => return Err(Error::InvalidSpec(format!("invalid mode: {mode} in '{whole}'"))),
                },
            }
        }
        Ok(parsed)
    }

    fn source(&self, source: &str, whole: &str) -> Result<MountSource> {
        if source.starts_with('/') {
            if self.no_copy {
                return Err(Error::InvalidSpec(format!(
                    "invalid mode: nocopy is for volumes, not for the bind '{whole}'"
                )));
            }
            let propagation = self.propagation.unwrap_or_default();
            return Ok(MountSource::Bind {
                path: clean(Path::new(source)),
                create: true,
                propagation,
                non_recursive: false,
            });
        }
        if self.propagation.is_some() {
            return Err(Error::InvalidSpec(format!(
                "invalid mode: propagation is for binds, not for the volume '{whole}'"
            )));
        }
        let name = (!source.is_empty()).then(|| source.parse::<Name>()).transpose();
        let name = name.map_err(|_| {
            Error::InvalidSpec(format!(
                "\"{source}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            ))
        })?;
        let (options, labels) = (BTreeMap::new(), BTreeMap::new());
        Ok(MountSource::Volume { name, driver: None, options, labels, no_copy: self.no_copy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_texts_become_binds_and_volumes() {
        let bind = MountSpec::parse_bind("/srv/a:/data:ro,z,rslave").unwrap();
        assert!(bind.read_only);
        assert!(matches!(
            bind.source,
            MountSource::Bind { create: true, propagation: BindPropagation::RSlave, .. }
        ));
        let named = MountSpec::parse_bind("db:/var/lib/db").unwrap();
        assert!(matches!(named.source, MountSource::Volume { name: Some(ref n), .. } if n.as_str() == "db"));
        let anonymous = MountSpec::parse_bind("/cache").unwrap();
        assert!(matches!(anonymous.source, MountSource::Volume { name: None, .. }));
        assert_eq!(MountSpec::parse_bind("/a:/b/../c//d").unwrap().target, Path::new("/c/d"));
    }

    #[test]
    fn nonsense_volume_texts_are_refused() {
        for bad in [
            "",
            "a:b",
            "/a:b:c:d",
            "/a:/",
            "/a:/..",
            "a/b:/c",
            "/a::ro",
            ":/a",
            "/a:/b:rx",
            "/a:/b:nocopy",
            "v:/b:rshared",
        ] {
            assert!(MountSpec::parse_bind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tmpfs_options_are_a_closed_list() {
        let mount = MountSpec::parse_tmpfs("/run", "rw,size=64m,mode=1777").unwrap();
        assert!(
            matches!(mount.source, MountSource::Tmpfs(TmpfsOptions { ref options, .. }) if options.len() == 3)
        );
        assert!(MountSpec::parse_tmpfs("/run", "lowerdir=/etc").is_err());
        assert!(MountSpec::parse_tmpfs("run", "").is_err());
    }
}
