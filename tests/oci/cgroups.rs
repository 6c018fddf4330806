//! config-linux.md: where the container's groups are.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::{clauses, skip};
use crate::runtime::Runtime;

clauses! {
    "config-linux.md#cgroups-path" {
        an_absolute_path_starts_at_the_hierarchies "An absolute path starts at the mount points of the hierarchies"
        the_same_path_is_the_same_place "The same path leads to the same place each time, relative ones too"
        without_a_path_there_is_a_group "Without a path the runtime chooses one, another for each container"
        missing_groups_are_made "Groups that are missing are made"
        the_program_is_counted_there "The program and its children are in the group"
        exec_is_counted_there "A program that is run inside later is in the group"
        exec_follows_init_below "When init has divided the group and moved below it, a program that is run inside later follows it (v2)"
    }
    "config-linux.md#cgroup-ownership" {
        a_writable_group_is_the_programs "A group that is mounted writable belongs to the program's user: its directory and the files that the kernel names (v2)"
        other_groups_keep_their_owner "A group that is mounted read-only, or comes without a new cgroup namespace, keeps its owner"
    }
    "config-linux.md#control-groups" {
        cgroups_are_mounted_inside "A mount of type cgroup shows the container its own groups"
        a_read_only_mount_cannot_be_written "A mount of type cgroup with ro cannot be written"
    }
}

/// The directory of a group in the hierarchy of a controller; the unified one where there is no other.
pub(crate) fn directory(groups: &[(String, String)], controller: &str) -> Option<PathBuf> {
    let v1 = groups.iter().find(|(controllers, _)| controllers.split(',').any(|one| one == controller));
    let below = |top: &str, path: &str| Path::new(top).join(path.trim_start_matches('/'));
    if let Some((controllers, path)) = v1 {
        let tops = [controllers.as_str(), controller].map(|name| format!("/sys/fs/cgroup/{name}"));
        return tops.iter().map(|top| below(top, path)).find(|dir| dir.exists());
    }
    let (_, path) = groups.iter().find(|(controllers, _)| controllers.is_empty())?;
    let dir = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .iter()
        .map(|top| below(top, path))
        .find(|dir| dir.join("cgroup.procs").exists())?;
    let has = fs::read_to_string(dir.join("cgroup.controllers"))
        .is_ok_and(|list| list.split_whitespace().any(|one| one == controller));
    has.then_some(dir)
}

fn pids_of(bundle: &Bundle<'_>) -> String {
    let Some(dir) = directory(&bundle.groups(), "pids") else { skip("the pids controller") };
    dir.to_str().unwrap().to_owned()
}

fn an_absolute_path_starts_at_the_hierarchies(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "sleep 100");
    let path = format!("/tare-oci-top/{}", bundle.id);
    bundle.linux()["cgroupsPath"] = json!(path);
    bundle.create();
    assert!(pids_of(&bundle).ends_with(&path));
    drop(bundle);
    remove_top("tare-oci-top");
}

/// A group above the container's is not the container's own.
fn remove_top(name: &str) {
    for entry in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let _ = fs::remove_dir(entry.path().join(name));
    }
}

fn the_same_path_is_the_same_place(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "sleep 100");
    for path in [format!("/{}", bundle.id), bundle.id.clone()] {
        bundle.linux()["cgroupsPath"] = json!(path);
        bundle.create();
        let first = pids_of(&bundle);
        bundle.cli(&["delete", "--force", &bundle.id]).ok();
        bundle.create();
        assert_eq!(pids_of(&bundle), first, "{path}");
        bundle.cli(&["delete", "--force", &bundle.id]).ok();
    }
}

fn without_a_path_there_is_a_group(runtime: &Runtime) {
    let (one, two) = (Bundle::of(runtime, "sleep 100"), Bundle::of(runtime, "sleep 100"));
    one.create();
    two.create();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let (one, two) = (pids_of(&one), pids_of(&two));
    assert!(one != two && !own.contains(&one), "{one}, {two}");
}

fn missing_groups_are_made(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "sleep 100");
    let path = format!("/tare-oci-deep/a/b/{}", bundle.id);
    bundle.linux()["cgroupsPath"] = json!(path);
    bundle.create();
    assert!(Path::new(&pids_of(&bundle)).is_dir());
    drop(bundle);
    for name in ["tare-oci-deep/a/b", "tare-oci-deep/a", "tare-oci-deep"] {
        remove_top(name);
    }
}

fn the_program_is_counted_there(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100 & sleep 100 & echo ready; wait");
    bundle.start();
    bundle.hear("ready");
    let processes = fs::read_to_string(format!("{}/cgroup.procs", pids_of(&bundle))).unwrap();
    let pids: Vec<i32> = processes.lines().map(|line| line.parse().unwrap()).collect();
    assert!(pids.len() == 3 && pids.contains(&bundle.pid()), "{processes}");
}

fn exec_is_counted_there(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "sleep 100; true");
    bundle.without_namespace("cgroup");
    bundle.start();
    let of_init = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    let ran = bundle.cli(&["exec", &bundle.id, "/bin/cat", "/proc/self/cgroup"]);
    let pids = |text: &str| {
        text.lines().find(|line| line.contains(":pids:") || line.starts_with("0::")).unwrap().to_owned()
    };
    assert_eq!(pids(ran.ok()), pids(&of_init));
}

fn cgroups_are_mounted_inside(runtime: &Runtime) {
    let mut bundle =
        Bundle::of(runtime, "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max");
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    bundle.linux()["resources"]["pids"] = json!({"limit": 123});
    assert_eq!(bundle.text(), "123\n");
}

fn a_read_only_mount_cannot_be_written(runtime: &Runtime) {
    let mut bundle = Bundle::of(
        runtime,
        "d=/sys/fs/cgroup/pids; [ -d $d ] || d=/sys/fs/cgroup; mkdir $d/mine || echo 5 > $d/pids.max",
    );
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    let ran = bundle.run();
    assert!(ran.code != 0 && ran.err.contains("Read-only file system"), "{ran:?}");
}

/// The one hierarchy of a host that has no other.
const UNIFIED: &str = "/sys/fs/cgroup";

fn needs_unified() {
    if !Path::new(UNIFIED).join("cgroup.controllers").exists() {
        skip("cgroup v2 alone");
    }
}

/// A container whose user is 33 in a user namespace, and whose groups it sees with these options.
fn seeing_its_group<'r>(runtime: &'r Runtime, script: &str, option: &str) -> Bundle<'r> {
    let mut bundle = Bundle::of(runtime, script);
    bundle.map_ids();
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", option]);
    bundle.process()["user"] = json!({"uid": 33, "gid": 33});
    bundle
}

/// The owners of a group's directory and of its files.
fn owners(bundle: &Bundle<'_>) -> (u32, Vec<(String, u32)>) {
    let own = |path: &Path| fs::metadata(path).unwrap().uid();
    let dir = directory(&bundle.groups(), "pids").unwrap();
    let files = fs::read_dir(&dir).unwrap().flatten();
    (own(&dir), files.map(|file| (file.file_name().into_string().unwrap(), own(&file.path()))).collect())
}

fn exec_follows_init_below(runtime: &Runtime) {
    needs_unified();
    // Only with a controller that is not threaded may v2 refuse processes.
    let script = "cd /sys/fs/cgroup; mkdir init; echo 1 > init/cgroup.procs; echo +memory > cgroup.subtree_control; \
                  echo divided; exec sleep 100";
    let mut bundle = Bundle::of(runtime, script);
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "rw"]);
    bundle.start();
    bundle.hear("divided");
    let ran = bundle.cli(&["exec", &bundle.id, "/bin/cat", "/proc/self/cgroup"]);
    assert_eq!(ran.ok(), "0::/init");
    bundle.cli(&["delete", "--force", &bundle.id]).ok();
}

fn a_writable_group_is_the_programs(runtime: &Runtime) {
    needs_unified();
    let script = "cd /sys/fs/cgroup; mkdir mine; echo 1 > mine/cgroup.procs; cat /proc/self/cgroup; \
                  echo max > memory.max || echo limited; echo done; exec sleep 100";
    let bundle = seeing_its_group(runtime, script, "rw");
    bundle.start();
    bundle.hear("done");
    let lines: Vec<_> = bundle.output().lines().map(str::to_owned).collect();
    assert!(lines.contains(&"0::/mine".to_owned()) && lines.contains(&"limited".to_owned()), "{lines:?}");
    // init has moved on, so the group above is what counts.
    let (_, path) = bundle.groups().into_iter().find(|(controllers, _)| controllers.is_empty()).unwrap();
    let dir = Path::new(UNIFIED).join(path.trim_start_matches('/'));
    let dir = dir.parent().unwrap();
    let owner = |name: &str| fs::metadata(dir.join(name)).unwrap().uid();
    let delegated = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    for file in fs::read_dir(dir).unwrap().flatten().map(|file| file.file_name().into_string().unwrap()) {
        let wanted = if file == "mine" || delegated.lines().any(|name| name == file) { 100_033 } else { 0 };
        assert_eq!(owner(&file), wanted, "{file}");
    }
    assert_eq!(owner(""), 100_033);
    bundle.cli(&["delete", "--force", &bundle.id]).ok();
}

fn other_groups_keep_their_owner(runtime: &Runtime) {
    let read_only = seeing_its_group(runtime, "sleep 100", "ro");
    let mut without = seeing_its_group(runtime, "sleep 100", "rw");
    without.without_namespace("cgroup");
    for bundle in [read_only, without] {
        bundle.create();
        let (own, files) = owners(&bundle);
        assert!(own == 0 && files.iter().all(|(_, owner)| *owner == 0), "{own} {files:?}");
    }
}
