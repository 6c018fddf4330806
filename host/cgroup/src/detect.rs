//! Which hierarchies the host has, and where.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{FsWord, statfs};

use crate::error::{Error, Result};

/// Where systemd and everybody else has them.
const POINT: &str = "/sys/fs/cgroup";
/// statfs(2)'s.
const CGROUP2_SUPER_MAGIC: FsWord = 0x6367_7270;

/// How a host mounts its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy a controller, no v2.
    V1,
    /// v1 hierarchies with controllers, and a v2 one beside them.
    Hybrid,
    /// The unified hierarchy has the controllers.
    V2,
}

/// The mounted hierarchies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    pub(crate) list: Vec<Hierarchy>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// v1's controllers, or `name=…`; empty for v2, whose controllers come and go.
    pub(crate) controllers: Vec<String>,
    /// Whether it is cgroup2.
    pub(crate) unified: bool,
}

impl Hierarchies {
    /// Looks at `/sys/fs/cgroup`, as the field does, and where that is not v2 at what is mounted where.
    pub fn detect() -> Result<Self> {
        if statfs(POINT).is_ok_and(|found| found.f_type == CGROUP2_SUPER_MAGIC) {
            let unified = Hierarchy { point: POINT.into(), controllers: Vec::new(), unified: true };
            return Ok(Self { list: vec![unified] });
        }
        Self::read()
    }

    /// Reads `/proc/self/mountinfo`, which takes the longer the more is mounted.
    fn read() -> Result<Self> {
        const FILE: &str = "/proc/self/mountinfo";
        // The kernel goes through the mounts anew for every piece that is read: one is enough on most machines.
        let mut text = String::with_capacity(8 << 10);
        let read = File::open(FILE).and_then(|mut file| file.read_to_string(&mut text));
        read.map_err(|e| Error::file("read", FILE, e))?;
        let found = Self::parse(&text);
        if found.list.is_empty() { Err(Error::NoHierarchy) } else { Ok(found) }
    }

    /// Finds the hierarchies in the text of proc_pid_mountinfo(5).
    pub fn parse(mountinfo: &str) -> Self {
        let mut list: Vec<Hierarchy> = Vec::new();
        for found in mountinfo.lines().filter_map(hierarchy) {
            let known = list.iter().any(|h| h.unified == found.unified && h.controllers == found.controllers);
            if !known {
                list.push(found);
            }
        }
        Self { list }
    }

    /// How they are mounted.
    pub fn version(&self) -> Version {
        let controllers = self.list.iter().flat_map(|h| &h.controllers).any(|c| !c.starts_with("name="));
        match (controllers, self.list.iter().any(|h| h.unified)) {
            (true, true) => Version::Hybrid,
            (false, true) => Version::V2,
            (_, false) => Version::V1,
        }
    }
}

/// One line: `36 31 0:35 / /sys/fs/cgroup/blkio rw,relatime shared:9 - cgroup cgroup rw,blkio`.
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (mount, super_block) = line.split_once(" - ")?;
    let point = PathBuf::from(unescape(mount.split(' ').nth(4)?));
    let mut fields = super_block.splitn(3, ' ');
    let kind = fields.next()?;
    let options = fields.nth(1)?;
    match kind {
        "cgroup2" => Some(Hierarchy { point, controllers: Vec::new(), unified: true }),
        "cgroup" => Some(Hierarchy { point, controllers: controllers(options), unified: false }),
        _ => None,
    }
}

/// A v1 super block's options are its controllers and a few flags (cgroups(7)).
fn controllers(options: &str) -> Vec<String> {
    const FLAGS: [&str; 8] =
        ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "seclabel"];
    let is_controller = |option: &&str| !FLAGS.contains(option) && !option.starts_with("release_agent=");
    options.split(',').filter(is_controller).map(str::to_owned).collect()
}

/// Blanks, newlines and backslashes are octal in mountinfo.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(code.map_or('\\', char::from));
        rest = &rest[at + if code.is_some() { 4 } else { 1 }..];
    }
    plain.push_str(rest);
    plain
}

/// The path of a group below the hierarchies' roots, without its leading slash.
pub(crate) fn relative(path: &Path) -> Result<&Path> {
    use std::path::Component;
    let invalid = || Error::InvalidPath { path: path.to_owned() };
    let relative = path.strip_prefix("/").map_err(|_| invalid())?;
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && relative.components().next().is_some() { Ok(relative) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(found: &Hierarchies) -> Vec<(&str, String)> {
        found.list.iter().map(|h| (h.point.to_str().unwrap(), h.controllers.join(","))).collect()
    }

    #[test]
    fn a_v1_host() {
        let found = Hierarchies::parse(
            "24 18 0:21 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs ro,mode=755\n\
             25 24 0:22 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd\n\
             26 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n\
             27 24 0:24 /docker/abc /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,memory\n",
        );
        assert_eq!(found.version(), Version::V1);
        let wanted = [
            ("/sys/fs/cgroup/systemd", "name=systemd".to_owned()),
            ("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct".to_owned()),
            ("/sys/fs/cgroup/my memory", "memory".to_owned()),
        ];
        assert_eq!(points(&found), wanted);
    }

    #[test]
    fn a_hybrid_host_with_a_hierarchy_mounted_twice() {
        let found = Hierarchies::parse(
            "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
             99 31 0:32 / /mnt/memory rw,relatime - cgroup cgroup rw,memory\n",
        );
        assert_eq!(found.version(), Version::Hybrid);
        assert_eq!(
            points(&found),
            [("/sys/fs/cgroup/memory", "memory".to_owned()), ("/sys/fs/cgroup/unified", String::new())]
        );
    }

    #[test]
    fn a_v2_host() {
        let found = Hierarchies::parse(
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        assert_eq!(found.version(), Version::V2);
        assert!(found.list[0].unified);
    }

    #[test]
    fn nonsense_is_passed_over() {
        for text in ["", "\n\n", " - ", "a b c - cgroup", "1 2 3 4 /x\\9 rw - cgroup2 none rw", "- cgroup2 x"]
        {
            let _ = Hierarchies::parse(text);
        }
        assert_eq!(unescape("a\\040b\\134c\\"), "a b\\c\\");
    }

    #[test]
    fn paths_that_climb_are_refused() {
        for bad in ["", "/", "tare/x", "/tare/../x", "/..", "/./x/../.."] {
            assert!(relative(Path::new(bad)).is_err(), "{bad}");
        }
        assert_eq!(relative(Path::new("/tare/x")).unwrap(), Path::new("tare/x"));
    }
}
