//! Groups on this machine's real hierarchies, below `/tare-test-<pid>-<name>`; every test removes what it made.

#![cfg(test)]

use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tare_cgroup::{Cgroup, Error, Hierarchies};
use tare_model::{HasKind, Kind};
use tare_oci::runtime::Resources;

mod limits;
mod unified;

/// A group that is gone, with its parent and its processes, when the test ends.
struct Group {
    group: Cgroup,
    parent: PathBuf,
    hierarchies: Hierarchies,
}

impl Group {
    fn new(name: &str) -> Self {
        Self::in_hierarchies(name, Hierarchies::detect().unwrap())
    }

    fn in_hierarchies(name: &str, hierarchies: Hierarchies) -> Self {
        let parent = PathBuf::from(format!("/tare-test-{}-{name}", std::process::id()));
        let group = Cgroup::create(&hierarchies, &parent.join("group")).unwrap();
        Self { group, parent, hierarchies }
    }

    fn apply(&self, json: &str) -> tare_cgroup::Result<()> {
        self.group.apply(&serde_json::from_str::<Resources>(json).unwrap())
    }

    /// A shell in the group that runs `script` from its first breath on.
    fn spawn(&self, script: &str) -> Child {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.group.add(child.id() as i32).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.group.kill();
        let _ = self.group.remove();
        let removed = Cgroup::open(&self.hierarchies, &self.parent).and_then(|parent| parent.remove());
        assert!(std::thread::panicking() || removed.is_ok(), "{removed:?}");
    }
}

#[test]
fn a_group_is_in_every_hierarchy_and_gone_from_all() {
    let group = Group::new("everywhere");
    let sources = group.group.mount_sources();
    assert_eq!(sources.len(), std::fs::read_to_string("/proc/self/cgroup").unwrap().lines().count());
    assert!(sources.iter().all(|source| source.path.join("cgroup.procs").exists()));
    let mut child = group.spawn("exec sleep 60");
    let seen = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    let path = group.parent.join("group");
    assert!(seen.lines().all(|line| line.ends_with(path.to_str().unwrap())), "{seen}");
    assert_eq!(group.group.processes().unwrap(), [child.id() as i32]);
    let busy = group.group.remove().unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }) && busy.kind() == Kind::Conflict, "{busy}");
    group.group.kill().unwrap();
    child.wait().unwrap();
    group.group.remove().unwrap();
    assert!(sources.iter().all(|source| !source.path.exists()));
    group.group.remove().unwrap();
}

/// The one test process that has a single thread is this crate's example.
#[test]
fn a_process_lets_itself_in() {
    let group = Group::new("entrance");
    let program = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/enter");
    let mut child = Command::new(program)
        .arg(group.parent.join("group"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    let seen = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    let path = group.parent.join("group");
    assert!(
        seen.lines()
            .filter(|line| !line.starts_with("0:"))
            .all(|line| line.ends_with(path.to_str().unwrap())),
        "{seen}"
    );
    assert_eq!(line, "in\n");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_failure_half_way_leaves_no_group() {
    let line = |kind: &str, point: &str, options: &str| {
        format!("1 1 0:1 / {point} rw - {kind} {kind} rw{options}\n")
    };
    let good = Hierarchies::detect().unwrap();
    let point = Cgroup::create(&good, Path::new("/tare-test-probe")).map(|probe| {
        let point = probe.mount_sources()[0].path.parent().unwrap().to_owned();
        probe.remove().unwrap();
        point
    });
    let text = line("cgroup", point.unwrap().to_str().unwrap(), ",name=first")
        + &line("cgroup", "/nowhere", ",name=second");
    let name = format!("/tare-test-{}-half", std::process::id());
    let error = Cgroup::create(&Hierarchies::parse(&text), Path::new(&name)).unwrap_err();
    assert!(error.to_string().contains("/nowhere"), "{error}");
    assert!(Cgroup::open(&good, Path::new(&name)).is_err());
}

#[test]
fn a_leftover_is_replaced_and_a_living_group_is_not() {
    let mut group = Group::new("leftover");
    let path = group.parent.join("group");
    for source in group.group.mount_sources() {
        std::fs::create_dir_all(source.path.join("below/deeper")).unwrap();
    }
    group.group = Cgroup::create(&group.hierarchies, &path).unwrap();
    assert!(group.group.mount_sources().iter().all(|source| !source.path.join("below").exists()));
    let mut child = group.spawn("exec sleep 60");
    assert!(matches!(Cgroup::create(&group.hierarchies, &path), Err(Error::Busy { .. })));
    assert!(group.group.processes().unwrap().contains(&(child.id() as i32)));
    group.group.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_sweep_ends_what_is_there_and_minds_nothing_else() {
    let group = Group::new("sweep");
    let path = group.parent.join("group");
    let mut child = group.spawn("exec sleep 60");
    Cgroup::sweep(&group.hierarchies, &path).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(Cgroup::open(&group.hierarchies, &path).is_err());
    Cgroup::sweep(&group.hierarchies, &path).unwrap();
}

#[test]
fn kill_ends_a_crowd_in_sub_groups() {
    let group = Group::new("crowd");
    let mut child = group.spawn("for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; wait");
    while group.group.processes().unwrap().len() < 9 {
        std::thread::yield_now();
    }
    let below = group
        .group
        .mount_sources()
        .into_iter()
        .find(|source| source.unified || source.options == "pids")
        .unwrap();
    std::fs::create_dir(below.path.join("below")).unwrap();
    std::fs::write(below.path.join("below/cgroup.procs"), child.id().to_string()).unwrap();
    assert_eq!(group.group.processes().unwrap().len(), 9);
    group.group.kill().unwrap();
    assert!(group.group.processes().unwrap().is_empty());
    child.wait().unwrap();
}

/// systemd removes a scope's group when its last process ends, whoever is about to kill and remove it.
#[test]
fn a_group_that_somebody_else_removes_is_killed_and_gone() {
    let group = Group::new("removed");
    for source in group.group.mount_sources() {
        std::fs::remove_dir(&source.path).unwrap();
    }
    group.group.kill().unwrap();
    group.group.remove().unwrap();
}

#[test]
fn a_frozen_group_stands_still_and_can_be_killed() {
    let group = Group::new("freeze");
    let mut child = group.spawn("while :; do :; done");
    let used = || group.group.stats().unwrap().cpu.total;
    while used() == 0 {
        std::thread::yield_now();
    }
    group.group.freeze(true).unwrap();
    // A thread is frozen before it leaves its processor: the last of its time may still be counted.
    let before = (0..100).find_map(|_| {
        let before = used();
        std::thread::sleep(Duration::from_millis(60));
        (used() == before).then_some(before)
    });
    let before = before.expect("it stands still");
    group.group.freeze(false).unwrap();
    while used() == before {
        std::thread::yield_now();
    }
    group.group.freeze(true).unwrap();
    group.group.kill().unwrap();
    child.wait().unwrap();
}

/// Not an assertion on time, which belongs to the bench: prints what a start costs here.
#[test]
fn the_cost_of_a_group_is_told() {
    let hierarchies = Hierarchies::detect().unwrap();
    let parent = PathBuf::from(format!("/tare-test-{}-cost", std::process::id()));
    let resources: Resources = serde_json::from_str(
        r#"{"memory": {"limit": 104857600, "swap": 104857600}, "pids": {"limit": 100}, "cpu": {"shares": 512},
            "devices": [{"allow": false, "access": "rwm"}]}"#,
    )
    .unwrap();
    let mut costs: Vec<Duration> = Vec::new();
    for round in 0..50 {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let begin = Instant::now();
        let group = Cgroup::create(&hierarchies, &parent.join(round.to_string())).unwrap();
        group.apply(&resources).unwrap();
        group.add(child.id() as i32).unwrap();
        costs.push(begin.elapsed());
        group.kill().unwrap();
        child.wait().unwrap();
        group.remove().unwrap();
    }
    costs.sort_unstable();
    println!("create, limits and attach: median {:?}, best {:?}", costs[25], costs[0]);
    Cgroup::open(&hierarchies, &parent).unwrap().remove().unwrap();
}

/// A container that was given its group may do so.
#[test]
fn groups_nested_by_the_thousand_are_listed_and_removed_with_few_descriptors() {
    let group = Group::new("nested");
    let sources = group.group.mount_sources();
    let looked_at = sources.iter().find(|source| source.unified).unwrap_or(&sources[0]);
    let mut at = OwnedFd::from(fs::File::open(&looked_at.path).unwrap());
    for _ in 0..600 {
        for name in ["beside", "d"] {
            rustix::fs::mkdirat(&at, name, rustix::fs::Mode::RWXU).unwrap();
        }
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        at = rustix::fs::openat(&at, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let procs = format!("/proc/self/fd/{}/cgroup.procs", at.as_raw_fd());
    fs::write(procs, child.id().to_string()).unwrap();
    drop(at);
    let open = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 300), ..before }).unwrap();
    let found = group.group.processes();
    child.kill().unwrap();
    child.wait().unwrap();
    let removed = group.group.remove();
    setrlimit(Resource::Nofile, before).unwrap();
    assert_eq!(found.unwrap(), [child.id() as i32]);
    removed.unwrap();
}
