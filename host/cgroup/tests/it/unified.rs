//! What v2 alone refuses, and how that is said.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tare_cgroup::{Cgroup, Error, Hierarchies, Version};
use tare_model::{HasKind, Kind};

use super::Group;

/// None, with a word why, where v1 has controllers.
fn group(name: &str) -> Option<Group> {
    if Hierarchies::detect().unwrap().version() != Version::V2 {
        println!("skipped: needs cgroup v2 alone");
        return None;
    }
    Some(Group::new(name))
}

impl Group {
    fn above(&self) -> PathBuf {
        PathBuf::from(format!("/sys/fs/cgroup{}", self.parent.display()))
    }

    /// Takes controllers away from all below the group above.
    fn take_back(&self, which: &dyn Fn(&str) -> bool) {
        let file = self.above().join("cgroup.subtree_control");
        let there = std::fs::read_to_string(&file).unwrap();
        for controller in there.split_whitespace().filter(|name| which(name)) {
            std::fs::write(&file, format!("-{controller}")).unwrap();
        }
    }
}

/// Ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_controller_that_stops_above_is_named_with_the_place() {
    let Some(group) = group("stops") else { return };
    group.take_back(&|name| name == "pids");
    let error = group.apply(r#"{"pids": {"limit": 5}}"#).unwrap_err();
    let above = group.above().display().to_string();
    let wanted = format!("because {above} does not hand it on: write +pids to its cgroup.subtree_control");
    assert!(error.to_string().contains(&wanted), "{error}");
    assert!(matches!(error, Error::NotDelegated { .. }) && error.kind() == Kind::NotSupported);
}

#[test]
fn processes_above_keep_controllers_from_coming_down() {
    let Some(group) = group("above") else { return };
    group.take_back(&|_| true);
    let sleeper = Sleeper::new();
    std::fs::write(group.above().join("cgroup.procs"), sleeper.pid().to_string()).unwrap();
    let error = group.apply(r#"{"memory": {"limit": 50000000}}"#).unwrap_err().to_string();
    assert!(
        error.contains("memory.limit cannot be limited") && error.contains("has processes of its own"),
        "{error}"
    );
}

#[test]
fn a_group_that_hands_down_takes_nobody() {
    let Some(group) = group("divided") else { return };
    let file = group.above().join("group/cgroup.subtree_control");
    std::fs::write(&file, "+memory").unwrap();
    let sleeper = Sleeper::new();
    let error = group.group.add(sleeper.pid()).unwrap_err();
    assert!(error.to_string().contains("it hands controllers (memory) down to groups below it"), "{error}");
    assert!(matches!(error, Error::TakesNobody { .. }) && error.kind() == Kind::Conflict);
    // Nobody has gone below, so there is no other place either.
    assert!(group.group.around(std::process::id() as i32).unwrap().is_none());
    let below = group.above().join("group/below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("cgroup.procs"), sleeper.pid().to_string()).unwrap();
    let other = Sleeper::new();
    group.group.around(sleeper.pid()).unwrap().unwrap().add(other.pid()).unwrap();
    let there = std::fs::read_to_string(format!("/proc/{}/cgroup", other.pid())).unwrap();
    assert_eq!(there.trim(), format!("0::{}/group/below", group.parent.display()));
}

#[test]
fn a_group_below_a_threaded_one_takes_no_process() {
    let Some(group) = group("threaded") else { return };
    group.take_back(&|_| true);
    let threaded = group.above().join("group");
    std::fs::write(threaded.join("cgroup.type"), "threaded").unwrap();
    std::fs::create_dir(threaded.join("below")).unwrap();
    let below = Cgroup::open(&group.hierarchies, &group.parent.join("group/below")).unwrap();
    let sleeper = Sleeper::new();
    let error = below.add(sleeper.pid()).unwrap_err().to_string();
    assert!(
        error.contains("a group above it is threaded: choose a cgroupsPath outside of that one"),
        "{error}"
    );
    let error =
        below.apply(&serde_json::from_str(r#"{"memory": {"limit": 50000000}}"#).unwrap()).unwrap_err();
    assert!(error.to_string().contains("is threaded: choose a cgroupsPath outside of it"), "{error}");
    below.remove().unwrap();
}

#[test]
fn a_group_is_handed_over_with_the_files_for_that_alone() {
    use std::os::unix::fs::MetadataExt;
    let Some(group) = group("given") else { return };
    group.group.give(54_321).unwrap();
    let dir = group.above().join("group");
    let owner = |path: PathBuf| std::fs::metadata(path).unwrap().uid();
    assert_eq!(owner(dir.clone()), 54_321);
    let delegated = std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    for entry in std::fs::read_dir(&dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let wanted = if delegated.lines().any(|line| line == name) { 54_321 } else { 0 };
        assert_eq!(owner(entry.path()), wanted, "{name}");
    }
    assert_eq!(owner(group.above()), 0);
}
