//! A container's place in the cgroup hierarchies.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use tare_cgroup::{Cgroup, Hierarchies};
use tare_oci::runtime::{IdMapping, Namespace, NamespaceKind};
use tare_runtime::{Running, Target};

use crate::world::{Bundle, childless, pipes, process, read, reap};

/// A group that goes with the test, also with one that failed.
struct Group(Cgroup);

impl Group {
    fn new() -> Self {
        let path = format!("/tare-runtime-test-{}", std::process::id());
        Self(Cgroup::create(&Hierarchies::detect().unwrap(), Path::new(&path)).unwrap())
    }

    /// Runs a bundle in it to its end: what it printed on both streams.
    fn run(&self, bundle: &Bundle) -> (String, String) {
        let (stdio, [stdout, stderr]) = pipes();
        let mut launch = bundle.launch(stdio);
        launch.cgroup = Some(&self.0);
        let running = tare_runtime::clone_init(launch)
            .and_then(|mut created| created.ready().and_then(|()| created.start()))
            .unwrap();
        let texts = (read(stdout), read(stderr));
        reap(&running.pidfd);
        texts
    }

    fn start(&self, bundle: &Bundle) -> (Running, std::os::fd::OwnedFd) {
        let (stdio, [stdout, _]) = pipes();
        let mut launch = bundle.launch(stdio);
        launch.cgroup = Some(&self.0);
        let mut created = tare_runtime::clone_init(launch).unwrap();
        created.ready().unwrap();
        (created.start().unwrap(), stdout)
    }

    fn cpuset(&self) -> Option<PathBuf> {
        self.0.mount_sources().into_iter().find(|source| source.name == "cpuset").map(|source| source.path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.remove();
    }
}

/// Whether every hierarchy of a /proc/PID/cgroup says so.
fn all_are(groups: &str, wanted: &str) -> bool {
    groups.lines().count() > 0 && groups.lines().all(|line| line.splitn(3, ':').nth(2) == Some(wanted))
}

pub(crate) fn cgroups_show_the_container_itself() {
    let mut bundle = Bundle::of(
        "cat /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null; echo > /sys/fs/cgroup/x",
    );
    bundle.mount("/sys/fs/cgroup", "cgroup", Path::new("cgroup"), &["nosuid", "noexec", "nodev", "ro"]);
    let (stdout, stderr) = Group::new().run(&bundle);
    assert!(
        stdout.lines().count() >= 1 && stdout.lines().all(|pid| pid.parse::<u32>().is_ok_and(|pid| pid < 10)),
        "{stdout}"
    );
    assert!(stderr.contains("Read-only file system"), "{stderr}");
}

pub(crate) fn its_group_is_the_root_of_its_cgroup_namespace() {
    let mut bundle = Bundle::of("cat /proc/self/cgroup");
    let (groups, _) = Group::new().run(&bundle);
    assert!(all_are(&groups, "/"), "{groups}");
    let map = vec![IdMapping { container_id: 0, host_id: 100_000, size: 65536 }];
    bundle.linux().namespaces.push(Namespace { kind: NamespaceKind::User, path: None });
    (bundle.linux().uid_mappings, bundle.linux().gid_mappings) = (map.clone(), map);
    for path in [bundle.dir.path().to_owned(), bundle.path("")] {
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    }
    let (groups, _) = Group::new().run(&bundle);
    assert!(all_are(&groups, "/"), "in a user namespace: {groups}");
}

pub(crate) fn exec_is_counted_with_the_container() {
    let group = Group::new();
    let bundle = Bundle::of("exec sleep 100");
    let (running, _) = group.start(&bundle);
    let host = fs::read_to_string(format!("/proc/{}/cgroup", running.pid)).unwrap();
    let name = format!("/tare-runtime-test-{}", std::process::id());
    assert!(all_are(&host, &name), "{host}");
    let (stdio, [stdout, _stderr]) = pipes();
    let target = Target {
        id: "test",
        bundle: bundle.dir.path(),
        pidfd: running.pidfd.as_fd(),
        spec: &bundle.spec,
        cgroup: Some(&group.0),
        seccomp_cache: None,
    };
    let entered = tare_runtime::exec(&target, &process(&["cat", "/proc/self/cgroup"]), stdio).unwrap();
    let inside = read(stdout);
    assert_eq!(reap(&entered.pidfd), 0);
    assert!(all_are(&inside, "/"), "{inside}");
    group.0.kill().unwrap();
    reap(&running.pidfd);
}

pub(crate) fn a_group_that_takes_nobody_is_named() {
    let group = Group::new();
    let Some(cpuset) = group.cpuset() else {
        println!("skipped: needs the cpuset controller of v1");
        return;
    };
    // The kernel lets nobody into a set without processors.
    fs::write(cpuset.join("cpuset.cpus"), "\n").unwrap();
    let bundle = Bundle::of("true");
    let mut launch = bundle.launch(tare_runtime::Stdio::Inherit);
    launch.cgroup = Some(&group.0);
    let error = tare_runtime::clone_init(launch).and_then(|mut created| created.ready()).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("enter cgroup") && message.contains("cpuset"), "{message}");
    assert_eq!(error.exit_code(), 125);
    assert!(childless());
    group.0.remove().unwrap();
    let mut launch = bundle.launch(tare_runtime::Stdio::Inherit);
    launch.cgroup = Some(&group.0);
    assert!(tare_runtime::clone_init(launch).is_err(), "a group that is gone");
    assert!(childless());
}
