use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::capture;

/// What a daemon could have forgotten, as lines of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftovers(pub BTreeSet<String>);

impl Leftovers {
    /// Looks at mounts, processes and cgroups that name `dir` or an id of it, and at links and tables of the namespace.
    pub fn see(dir: &Path, ids: &[&str], wrap: &dyn Fn(&str) -> Command) -> Result<Self> {
        let mut found = BTreeSet::new();
        let dir = dir.to_string_lossy().into_owned();
        let names: Vec<&str> = ids.iter().copied().chain([dir.as_str()]).collect();
        let ours = |line: &str| names.iter().any(|name| line.contains(name));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        found.extend(mounts.lines().filter(|line| ours(line)).map(|line| format!("mount: {line}")));
        found.extend(processes(&|line| line.contains("tare-runtime") && ours(line))?);
        for id in ids {
            found.extend(cgroups(Path::new("/sys/fs/cgroup"), id, 5));
        }
        let links = capture(wrap("ip").args(["-br", "link"]))?;
        found.extend(links.out.lines().filter(|l| l.starts_with("tv")).map(|l| format!("link: {l}")));
        let rules = capture(wrap("nft").args(["list", "ruleset"]))?;
        found.extend(
            rules.out.lines().filter(|l| l.contains("elements")).map(|l| format!("nft: {}", l.trim())),
        );
        for folder in [
            "exec/containers",
            "data/content/ingest",
            "data/snapshots/writable",
            "data/containers",
            "data/build/tmp",
        ] {
            found.extend(
                entries(&Path::new(&dir).join(folder)).map(|path| format!("file: {}", path.display())),
            );
        }
        // The running daemon has a directory of its own there, for layers that are being unpacked.
        let unpacking =
            entries(&Path::new(&dir).join("data/snapshots/tmp")).flat_map(|session| entries(&session));
        found.extend(unpacking.map(|path| format!("file: {}", path.display())));
        Ok(Self(found))
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn processes(ours: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
    let entries = std::fs::read_dir("/proc")?.flatten();
    let lines = entries.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(format!(
            "process {}: {}",
            entry.file_name().display(),
            String::from_utf8_lossy(&line).replace('\0', " ")
        ))
    });
    Ok(lines.filter(|line| ours(line)).collect())
}

fn cgroups(dir: &Path, id: &str, depth: u32) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found = Vec::new();
    for folder in folders {
        if folder.file_name().to_string_lossy().contains(id) {
            found.push(format!("cgroup: {}", folder.path().display()));
        } else if depth > 0 {
            found.extend(cgroups(&folder.path(), id, depth - 1));
        }
    }
    found
}
