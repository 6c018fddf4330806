//! Who may lean on whom, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The floors, lowest first. A room leans only on floors below its own.
const FLOORS: [&str; 8] = ["base", "api", "host", "runtime", "engine", "cluster", "frontend", "client"];
/// Above all floors: doors into the house, and what looks at it from outside.
const ROOF: [&str; 3] = ["bin", "xtask", "tests"];

/// The doors between rooms of one floor; every other one is refused.
const SIDEWAYS: &[(&str, &[&str])] = &[
    ("oci", &["model"]),
    ("dockerfile", &["model"]),
    ("cgroup", &["sys"]),
    ("netlink", &["sys"]),
    ("shim", &["runtime", "protocol"]),
    ("image", &["registry", "snapshot", "store"]),
    ("snapshot", &["store"]),
    ("network", &["store"]),
    ("volume", &["store"]),
    ("container", &["image", "snapshot", "network", "volume", "store"]),
    ("build", &["container", "image", "snapshot", "registry", "store"]),
    ("docker", &["http"]),
    ("distribution", &["http"]),
];

/// What a running container must not carry, by crate name.
const NOT_IN_THE_RUNTIME: &[&str] =
    &["tokio", "regex", "hyper", "reqwest", "rustls", "aws-lc-rs", "clap", "redb"];
const BANNED_CRATES: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls", "chrono", "serde_yaml"];
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "bzip2-1.0.6",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "0BSD",
    "CC0-1.0",
    "BSL-1.0",
    "Unlicense",
    "CDLA-Permissive-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT-0",
];

#[derive(Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
    workspace_root: String,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Metadata {
    pub(super) fn read() -> Result<Self> {
        let host = "x86_64-unknown-linux-gnu";
        let asked = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--filter-platform", host])
            .output()?;
        ensure!(asked.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&asked.stderr));
        serde_json::from_slice(&asked.stdout).context("cargo metadata printed what this check cannot read")
    }

    pub(super) fn rooms(&self) -> usize {
        self.workspace_members.len()
    }

    /// `engine/network` for a package of ours.
    fn place<'a>(&'a self, package: &'a Package) -> &'a str {
        let folder = package.manifest_path.trim_end_matches("/Cargo.toml");
        folder.strip_prefix(&self.workspace_root).unwrap_or(folder).trim_start_matches('/')
    }

    fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}

pub(super) fn check(metadata: &Metadata) -> Result<Vec<String>> {
    let mut wrong = edges(metadata);
    wrong.extend(runtime_closure(metadata));
    wrong.extend(foreign_crates()?);
    Ok(wrong)
}

fn floor_and_room(place: &str) -> (&str, &str) {
    place.split_once('/').unwrap_or((place, place))
}

fn edges(metadata: &Metadata) -> Vec<String> {
    let places: BTreeMap<&str, &str> =
        metadata.ours().map(|p| (p.name.as_str(), metadata.place(p))).collect();
    let mut wrong = Vec::new();
    for package in metadata.ours() {
        let from = metadata.place(package);
        let doors =
            package.dependencies.iter().filter(|d| d.path.is_some() && d.kind.as_deref() != Some("dev"));
        for door in doors {
            let Some(to) = places.get(door.name.as_str()) else { continue };
            if !allowed(from, to) {
                wrong.push(format!("{from} leans on {to}: no such door in ARCHITECTURE.md"));
            }
        }
    }
    wrong
}

fn allowed(from: &str, to: &str) -> bool {
    let ((from_floor, from_room), (to_floor, to_room)) = (floor_and_room(from), floor_and_room(to));
    if ROOF.contains(&from_floor) {
        return to_floor != "bin";
    }
    let level = |floor: &str| FLOORS.iter().position(|known| *known == floor);
    match (level(from_floor), level(to_floor)) {
        (Some(above), Some(below)) if above > below => {
            from_floor != "client" || ["base", "api"].contains(&to_floor)
        }
        (Some(same), Some(other)) if same == other => {
            SIDEWAYS.iter().any(|(room, doors)| *room == from_room && doors.contains(&to_room))
        }
        _ => false,
    }
}

/// Everything that is linked into the binary that stays in memory beside each container.
fn runtime_closure(metadata: &Metadata) -> Vec<String> {
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
    let start = metadata.ours().find(|p| p.name == "tare-runtime-cli").map(|p| p.id.as_str());
    let mut seen = BTreeSet::new();
    let mut next: Vec<&str> = start.into_iter().collect();
    while let Some(id) = next.pop() {
        if !seen.insert(id) {
            continue;
        }
        let linked = |edge: &&Edge| edge.dep_kinds.iter().any(|k| k.kind.is_none());
        next.extend(nodes[id].deps.iter().filter(linked).map(|edge| edge.pkg.as_str()));
    }
    let found = seen.iter().filter_map(|id| names.get(id)).filter(|name| NOT_IN_THE_RUNTIME.contains(name));
    found.map(|name| format!("bin/tare-runtime links {name}: the runtime tier stays free of it")).collect()
}

/// Asks `cargo tree`, since `cargo metadata` also lists what only features that are off would link.
fn foreign_crates() -> Result<Vec<String>> {
    let mut asked = Command::new(env!("CARGO"));
    asked.args([
        "tree",
        "--workspace",
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
        "--edges",
        "normal,build,dev",
    ]);
    let tree = asked.output()?;
    ensure!(tree.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&tree.stderr));
    let lines: BTreeSet<String> = String::from_utf8(tree.stdout)?.lines().map(str::to_owned).collect();
    Ok(lines.iter().filter_map(|line| foreign_fault(line)).collect())
}

/// What is wrong with `name vX.Y.Z (path)|licence`.
fn foreign_fault(line: &str) -> Option<String> {
    let (package, licence) = line.split_once('|')?;
    let name = package.split(' ').next()?;
    if BANNED_CRATES.contains(&name) {
        return Some(format!("crate {name} is banned"));
    }
    let licence = licence.trim_end_matches(" (*)");
    (!permissive(licence))
        .then(|| format!("crate {name} has the licence \"{licence}\", which is not on the list"))
}

/// Whether an SPDX expression can be satisfied from the list: each AND part by one of its OR parts.
fn permissive(expression: &str) -> bool {
    let known = |licence: &str| LICENCES.contains(&licence.trim().trim_matches(['(', ')']).trim());
    expression.replace('/', " OR ").split(" AND ").all(|part| part.split(" OR ").any(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gravity_rules() {
        assert!(allowed("engine/container", "runtime/protocol"));
        assert!(allowed("engine/container", "engine/image"));
        assert!(!allowed("engine/image", "engine/container"));
        assert!(!allowed("runtime/shim", "engine/store"));
        assert!(!allowed("host/sys", "host/cgroup"));
        assert!(!allowed("client/client", "engine/image"));
        assert!(allowed("client/client", "api/docker-api"));
        assert!(allowed("bin/tared", "frontend/docker"));
    }

    #[test]
    fn foreign_crates_are_judged_by_name_and_licence() {
        assert_eq!(foreign_fault("serde v1.0.0|MIT OR Apache-2.0"), None);
        assert_eq!(foreign_fault("serde v1.0.0|MIT OR Apache-2.0 (*)"), None);
        assert!(foreign_fault("ring v0.17.14|Apache-2.0 AND ISC").unwrap().contains("banned"));
        assert!(foreign_fault("copyleft v1.0.0|GPL-3.0").unwrap().contains("GPL-3.0"));
    }

    #[test]
    fn licences_are_read_as_expressions() {
        assert!(permissive("MIT OR Apache-2.0"));
        assert!(permissive("MIT/Apache-2.0"));
        assert!(permissive("ISC AND (Apache-2.0 OR ISC)"));
        assert!(!permissive("GPL-3.0"));
        assert!(!permissive("MIT AND GPL-2.0"));
    }

    #[test]
    fn the_house_as_it_stands_obeys() {
        let wrong = check(&Metadata::read().unwrap()).unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
